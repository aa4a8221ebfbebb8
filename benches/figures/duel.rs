//! Throughput and latency, turn by turn against bare pingora.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use crate::instances::Servers;
use crate::load::{Load, Questions, Round};
use crate::pool::{Plan, Pool, Size};
use crate::process::{Process, free_address, get, until_open};
use crate::requests;
use crate::table::{Bound, Row, Table, note};

/// A tenant with 1,000 meetings of ten people, on 100 nodes.
const SIZE: Size = Size { nodes: 100, meetings_per_node: 10, attendees_per_meeting: 10 };
/// The documented defaults.
const POLLING: &str = "{ interval: 5s }";
/// Enough to keep a server busy, few enough not to queue for long.
const BUSY: Load = Load { connections: 16, duration: Duration::from_secs(2), is_awake: true };
/// The same where the node needs a core, too.
const BUSY_WITH_NODE: Load = Load { is_awake: false, ..BUSY };
/// One after the other: what a single person waits.
const ALONE: Load = Load { connections: 1, duration: Duration::from_secs(1), is_awake: false };
const WARM_UP: Load = Load { duration: Duration::from_millis(500), ..BUSY };
const ROUNDS: usize = 5;
/// A meeting without anybody, and one with ten people; the nodes see to it.
const EMPTY: usize = 0;
const OF_TEN: usize = 1;
/// More questions than are asked within the second for which an answer is good.
const DIFFERENT: usize = 40_000;

/// Two servers that do the same work.
struct Duel<'a> {
    portico: (&'a Process, SocketAddr),
    bare: (&'a Process, SocketAddr),
    questions: &'a Questions,
}

/// The rounds of both, each round of one beside that of the other.
struct Rounds(Vec<(Round, Round)>);

impl Duel<'_> {
    async fn run(&self, load: Load) -> anyhow::Result<Rounds> {
        let mut rounds = Vec::new();
        for number in 0..=ROUNDS {
            let load = if number == 0 { WARM_UP } else { load };
            let portico = load.on(self.portico.0, self.portico.1, self.questions).await?;
            let bare = load.on(self.bare.0, self.bare.1, self.questions).await?;
            if number > 0 {
                rounds.push((portico, bare));
            }
        }
        Ok(Rounds(rounds))
    }
}

impl Rounds {
    /// The median of what `figure` says of Portico, of its baseline, and of the two in proportion.
    fn median(&self, figure: impl Fn(&Round) -> f64) -> (f64, f64, f64) {
        let of = |each: &dyn Fn(&(Round, Round)) -> f64| median(self.0.iter().map(each).collect());
        (
            of(&|(portico, _)| figure(portico)),
            of(&|(_, bare)| figure(bare)),
            of(&|(portico, bare)| figure(portico) / figure(bare)),
        )
    }

    /// Requests per second, and CPU time of the server per request.
    fn tell_throughput(&self, name: &str, table: &mut Table) {
        self.tell_throughput_at_least(0.8, name, table);
    }

    fn tell_throughput_at_least(&self, bound: f64, name: &str, table: &mut Table) {
        let (portico, bare, ratio) = self.median(Round::per_second);
        table.push(Row {
            figure: format!("{name}: requests/s"),
            portico: format!("{portico:.0}"),
            baseline: format!("{bare:.0}"),
            ratio: Some(ratio),
            bound: Bound::AtLeast(bound),
        });
        let (portico, bare, ratio) = self.median(Round::cpu_micros);
        table.push(Row {
            figure: format!("{name}: CPU µs/request"),
            portico: format!("{portico:.1}"),
            baseline: format!("{bare:.1}"),
            ratio: Some(ratio),
            bound: Bound::None,
        });
    }

    fn tell_latency(&self, name: &str, table: &mut Table) {
        for percent in [50, 99] {
            let (portico, bare, _) = self.median(|round| round.percentile_micros(percent));
            table.push(Row::told(
                format!("{name}: latency p{percent} (added {:.0} µs)", portico - bare),
                format!("{portico:.0} µs"),
                format!("{bare:.0} µs"),
            ));
        }
    }
}

pub(crate) fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_unstable_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// All three duels, over one pool.
pub(crate) async fn measure(
    table: &mut Table,
    is_asked: &impl Fn(&str) -> bool,
) -> anyhow::Result<()> {
    if is_asked("rules") {
        note("join with rules, against join without");
        rules(table).await?;
    }
    if is_asked("join shared") {
        note("join over PostgreSQL and Redis, against join over the embedded store");
        shared(table).await?;
    }
    if !["join", "getMeetingInfo", "getMeetings"].into_iter().any(is_asked) {
        return Ok(());
    }
    let pool = Pool::start(SIZE, POLLING).await?;
    if is_asked("join") {
        note("join, against a constant redirect");
        join(&pool, table).await?;
    }
    if is_asked("getMeetingInfo") {
        note("getMeetingInfo, against a bare proxy");
        get_meeting_info(&pool, table).await?;
    }
    if is_asked("getMeetings") {
        note("getMeetings, against a constant body");
        get_meetings(&pool, table).await?;
    }
    Ok(())
}

async fn join(pool: &Pool, table: &mut Table) -> anyhow::Result<()> {
    let questions = requests::joins(SIZE.meetings());
    // As long as the one that Portico makes.
    let location = format!("http://{}{}", pool.nodes[0], requests::path("join", &"x".repeat(150)));
    let address = free_address()?;
    let bare = Process::role(["redirect", &address.to_string(), &location])?;
    until_open(address).await?;
    let duel = Duel {
        portico: (&pool.portico, pool.public),
        bare: (&bare, address),
        questions: &questions,
    };
    duel.run(BUSY).await?.tell_throughput("join", table);
    duel.run(ALONE).await?.tell_latency("join", table);
    Ok(())
}

/// Rules for a join: most change it, some only look.
fn ruled(dir: &Path) -> anyhow::Result<String> {
    let css = dir.join("style.css");
    std::fs::write(&css, "body { color: #123456 }")?;
    let modes = ["set", "override", "set", "block", "append"];
    let rules = (0..20).map(|number| {
        let mode = modes[number % modes.len()];
        let value = if mode == "block" { "" } else { ", value: \"some text\"" };
        format!("{{ name: userdata-rule_{number}, mode: {mode}{value} }}")
    });
    let rules = rules.collect::<Vec<_>>().join(", ");
    Ok(format!(
        "    limits: {{ meetings: 100000, attendees: 1000000 }}\n    \
         branding: {{ css: \"{}\" }}\n    params: {{ join: [{rules}] }}\n",
        css.display()
    ))
}

async fn rules(table: &mut Table) -> anyhow::Result<()> {
    let usual = Pool::start(SIZE, POLLING).await?;
    let mut plan = Plan::new(SIZE, POLLING)?;
    plan.tenant = ruled(plan.dir.path())?;
    let ruled = plan.start().await?;
    let duel = Duel {
        portico: (&ruled.portico, ruled.public),
        bare: (&usual.portico, usual.public),
        questions: &requests::joins(SIZE.meetings()),
    };
    let name = "join with 20 rules, limits and branding, against without";
    duel.run(BUSY).await?.tell_throughput_at_least(0.9, name, table);
    Ok(())
}

async fn shared(table: &mut Table) -> anyhow::Result<()> {
    let servers = Servers::start();
    let usual = Pool::start(SIZE, POLLING).await?;
    let mut plan = Plan::new(SIZE, POLLING)?;
    plan.settings = servers.settings();
    let shared = plan.start().await?;
    let duel = Duel {
        portico: (&shared.portico, shared.public),
        bare: (&usual.portico, usual.public),
        questions: &requests::joins(SIZE.meetings()),
    };
    let name = "join with PostgreSQL and Redis, against the embedded store";
    duel.run(BUSY).await?.tell_throughput_at_least(0.95, name, table);
    Ok(())
}

async fn get_meeting_info(pool: &Pool, table: &mut Table) -> anyhow::Result<()> {
    let address = free_address()?;
    let bare = Process::role(["proxy", &address.to_string(), &pool.nodes[0].to_string()])?;
    until_open(address).await?;
    for (name, meeting) in
        [("getMeetingInfo, nobody there", EMPTY), ("getMeetingInfo, ten people", OF_TEN)]
    {
        let duel = Duel {
            portico: (&pool.portico, pool.public),
            bare: (&bare, address),
            questions: &requests::infos(meeting, DIFFERENT),
        };
        duel.run(BUSY_WITH_NODE).await?.tell_throughput(name, table);
        duel.run(ALONE).await?.tell_latency(name, table);
    }
    Ok(())
}

async fn get_meetings(pool: &Pool, table: &mut Table) -> anyhow::Result<()> {
    let answer = get(pool.public, &requests::path("getMeetings", ""))?;
    let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), body)?;
    let address = free_address()?;
    let path = file.path().display().to_string();
    let bare = Process::role(["bytes", &address.to_string(), &path])?;
    until_open(address).await?;
    let questions = requests::list();
    let duel = Duel {
        portico: (&pool.portico, pool.public),
        bare: (&bare, address),
        questions: &questions,
    };
    let rounds = duel.run(ALONE).await?;
    let (portico, bare, ratio) = rounds.median(|round| round.percentile_micros(50));
    let kib = body.len() / 1024;
    table.push(Row {
        figure: format!("getMeetings: 1,000 meetings on 100 nodes, {kib} KiB: time"),
        portico: format!("{portico:.0} µs"),
        baseline: format!("{bare:.0} µs"),
        ratio: Some(ratio),
        bound: Bound::AtMost(2.0),
    });
    let (portico, bare, ratio) = rounds.median(Round::cpu_micros);
    table.push(Row {
        figure: "getMeetings: CPU µs/request".to_owned(),
        portico: format!("{portico:.0}"),
        baseline: format!("{bare:.0}"),
        ratio: Some(ratio),
        bound: Bound::None,
    });
    Ok(())
}
