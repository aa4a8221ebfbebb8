//! What an instance asks of PostgreSQL and Redis: for a create, a join, and a poll that finds nothing new.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::time::{Instant, sleep};

use crate::pool::{Plan, Pool, Size};
use crate::postgres::Postgres;
use crate::process::get;
use crate::redis::Redis;
use crate::requests::{path, room};
use crate::table::{Row, Table, note};

const SIZE: Size = Size { nodes: 10, meetings_per_node: 100, attendees_per_meeting: 10 };
/// No poll comes in between.
const NEVER: &str = "{ interval: 10m, timeout: 60s }";
const OFTEN: &str = "{ interval: 1s }";
/// By then what the first poll has found is in the store, and told.
const SETTLED: Duration = Duration::from_secs(10);
const WINDOW: Duration = Duration::from_secs(10);
const CREATES: usize = 200;
const JOINS: usize = 1_000;
/// What Redis counts beside the scripts of ours that it runs within.
const WITHIN: [&str; 12] = [
    "xadd",
    "xrange",
    "xtrim",
    "zadd",
    "zrange",
    "zrem",
    "zremrangebyscore",
    "time",
    "get",
    "set",
    "del",
    "pexpire",
];

/// A PostgreSQL and a Redis of our own.
pub(crate) struct Servers {
    postgres: Postgres,
    database: String,
    redis: Redis,
}

/// Statements and commands so far.
#[derive(Clone, Copy)]
struct Counts {
    statements: usize,
    commands: usize,
}

impl Servers {
    pub(crate) fn start() -> Self {
        let postgres = Postgres::start_as(true);
        let database = postgres.create_database();
        Self { postgres, database, redis: Redis::start_new() }
    }

    /// The lines of a configuration that uses them.
    pub(crate) fn settings(&self) -> String {
        let (postgres, redis) = (self.postgres.url(&self.database), self.redis.url());
        format!("store: {{ kind: postgres, url: '{postgres}' }}\nredis: {{ url: '{redis}' }}\n")
    }

    /// Lets PostgreSQL write down every statement from now on.
    fn listen(&self) {
        self.postgres.sql("postgres", "ALTER SYSTEM SET log_statement = 'all'");
        self.postgres.sql("postgres", "SELECT pg_reload_conf()");
    }

    fn log(&self) -> PathBuf {
        self.postgres.file("log")
    }

    fn counts(&self) -> anyhow::Result<Counts> {
        let log = std::fs::read_to_string(self.log()).context("PostgreSQL's log")?;
        let is_statement =
            |line: &&str| line.contains("LOG:  statement:") || line.contains("LOG:  execute ");
        let stats = self.redis.ask("INFO commandstats").context("Redis answers")?;
        let commands = stats.lines().filter_map(|line| {
            let (name, figures) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            let calls: usize = figures.split(',').next()?.parse().ok()?;
            (!WITHIN.contains(&name) && !["info", "auth", "quit"].contains(&name)).then_some(calls)
        });
        Ok(Counts {
            statements: log.lines().filter(is_statement).count(),
            commands: commands.sum(),
        })
    }
}

pub(crate) async fn measure(table: &mut Table) -> anyhow::Result<()> {
    note("statements and commands for a create and a join");
    let servers = Servers::start();
    let pool = start(&servers, NEVER).await?;
    servers.listen();
    let idle = idle_per_second(&servers).await?;
    // Every create has somebody to tell.
    let creates = (0..CREATES).map(|number| {
        let query = format!(
            "name=Algebra&meetingID=new-{number}&meta_endCallbackUrl=https%3A%2F%2Fmoodle.example.org%2Fend"
        );
        path("create", &query)
    });
    let joins = (0..JOINS).map(|number| {
        let meeting = room(number % SIZE.meetings());
        path("join", &format!("fullName=Student&meetingID={meeting}&password=kWn3Jm0v"))
    });
    let creates = (creates.collect::<Vec<_>>(), "<returncode>SUCCESS");
    let joins = (joins.collect::<Vec<_>>(), "HTTP/1.1 302");
    for (what, (requests, expected)) in [("create", creates), ("join", joins)] {
        let (before, begun) = (servers.counts()?, Instant::now());
        for request in &requests {
            let answer = get(pool.public, request)?;
            ensure!(answer.contains(expected), "{what} is answered with {answer}");
        }
        tell(table, what, requests.len(), &servers, before, begun, idle)?;
    }
    drop(pool);

    for meetings_per_node in [0, SIZE.meetings_per_node] {
        let size = Size { meetings_per_node, ..SIZE };
        note(&format!(
            "statements and commands for a poll, {meetings_per_node} meetings on each node"
        ));
        let servers = Servers::start();
        let _pool = start_of(size, &servers, OFTEN).await?;
        sleep(SETTLED).await;
        servers.listen();
        let (before, begun) = (servers.counts()?, Instant::now());
        sleep(WINDOW).await;
        let polls = SIZE.nodes * usize::try_from(WINDOW.as_secs())?;
        let what =
            format!("poll of {meetings_per_node} unchanged meetings, signs of life among it");
        tell(table, &what, polls, &servers, before, begun, (0.0, 0.0))?;
    }
    Ok(())
}

async fn start(servers: &Servers, polling: &'static str) -> anyhow::Result<Pool> {
    start_of(SIZE, servers, polling).await
}

async fn start_of(size: Size, servers: &Servers, polling: &'static str) -> anyhow::Result<Pool> {
    let mut plan = Plan::new(size, polling)?;
    plan.settings = servers.settings();
    plan.start().await
}

/// What is asked while nothing happens, in a second.
async fn idle_per_second(servers: &Servers) -> anyhow::Result<(f64, f64)> {
    sleep(SETTLED).await;
    let (before, begun) = (servers.counts()?, Instant::now());
    sleep(WINDOW).await;
    let (after, seconds) = (servers.counts()?, begun.elapsed().as_secs_f64());
    let rate = |after: usize, before: usize| as_f64(after - before) / seconds;
    Ok((rate(after.statements, before.statements), rate(after.commands, before.commands)))
}

fn tell(
    table: &mut Table,
    what: &str,
    times: usize,
    servers: &Servers,
    before: Counts,
    begun: Instant,
    idle: (f64, f64),
) -> anyhow::Result<()> {
    let (after, seconds) = (servers.counts()?, begun.elapsed().as_secs_f64());
    for (name, after, before, idle) in [
        ("SQL statements", after.statements, before.statements, idle.0),
        ("Redis commands", after.commands, before.commands, idle.1),
    ] {
        let each = (as_f64(after - before) - idle * seconds).max(0.0) / as_f64(times);
        table.push(Row::told(format!("{what}: {name}"), format!("{each:.2}"), String::new()));
    }
    Ok(())
}

fn as_f64(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}
