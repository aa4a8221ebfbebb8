//! Days of meetings, split at random over two instances that share PostgreSQL and Redis: they are to be placed as by
//! one.
//!
//! It is the code that serves requests: placements and what polls find go through the log in Redis, each node is
//! polled by the instance that the living leave it to, meetings and what is learned of them are in PostgreSQL. Only
//! what nodes answer comes from the trace, and the time: each instance has gone as far as the other before the next
//! thing happens, as in a day that takes a day.

mod day;
mod instance;

use std::collections::HashSet;
use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::process::{Output, Stdio};

use portico::model::{Hour, Inventory, MeetingKey, Peak, Scope};
use portico::trace::{Row, Rows};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use self::day::{Day, moment};
use self::instance::Instance;
use crate::harness::{Postgres, Redis, eventually};
use crate::traces::traces;

/// How much worse two may be than one, on average.
const TOLERANCE: f64 = 1.05;
/// And on any one day. Its worst moments hang on a few large meetings: which of two equal nodes takes the first of them
/// is by lot, and the lot changes with what an instance has heard so far, so a day is better or worse by some percent
/// without anything being wrong. An instance that does not know of the other's meetings is far beyond.
const TOLERANCE_OF_A_DAY: f64 = 1.15;
/// Those that every run of the tests plays; all of them where `PORTICO_ALL_TRACES` is set.
const PLAYED: [&str; 3] = ["failure-n10-u75-s1", "school-n8-u80-s1", "university-n10-u80-s1"];
const OTHERS: [&str; 3] = ["hetero-n6-u80-s1", "hosting-n5-u80-s1", "webinar-n5-u75-s1"];

/// Talks to us where `replay.py` talks to a program. The shell does not wait for what comes from us.
const BRIDGE: &str = r#"exec 3<>"/dev/tcp/127.0.0.1/$0"; cat <&3 2>/dev/null & exec cat >&3"#;

/// Polls are as seldom as operators may want them, for both alike: two instances wait for each other after each.
const POLLED_EVERY_MS: &str = "15000";

/// A figure of a day, and each of its placements as it stands in the log.
struct Played {
    imb_p99: f64,
    placed: String,
}

/// Plays a trace; what places meetings is to be said.
fn replaying(name: &str, log: &Path) -> Command {
    let mut replaying = Command::new("python3");
    replaying.arg(traces().join("replay.py")).arg(traces().join(format!("{name}.csv.gz")));
    replaying.arg("--log").arg(log).args(["--poll-ms", POLLED_EVERY_MS, "--"]);
    replaying.env("PYTHONDONTWRITEBYTECODE", "1").stdin(Stdio::null());
    replaying.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    replaying
}

fn played(name: &str, output: &Output, log: &Path) -> Played {
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {told}");
    let scores: serde_json::Value = serde_json::from_slice(&output.stdout).expect("scores");
    let imb_p99 = scores["imb_p99"].as_f64().expect("a figure");
    Played { imb_p99, placed: std::fs::read_to_string(log).expect("the log") }
}

async fn by_one(name: &str) -> Played {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("placements.csv");
    let mut replaying = replaying(name, &log);
    let portico = env!("CARGO_BIN_EXE_portico");
    let output = replaying.args([portico, "simulate", "placement"]).output().await;
    played(name, &output.expect("python3 runs"), &log)
}

async fn by_two(name: &str, redis: &Redis, postgres: &Postgres) -> Played {
    let database = postgres.create_database();
    let mut day = Day::begin(redis, &postgres.url(&database), 2).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("it is bound").port().to_string();
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("placements.csv");
    let mut replaying = replaying(name, &log);
    replaying.args(["bash", "-c", BRIDGE, &port]);
    let ended = replaying.spawn().expect("python3 runs").wait_with_output();
    tokio::pin!(ended);
    let (stream, _) = tokio::select! {
        accepted = listener.accept() => accepted.expect("a connection"),
        output = &mut ended => panic!("{name}: {output:?}"),
    };
    let answers = stream.into_std().expect("a socket");
    answers.set_nonblocking(false).expect("it can wait");
    let rows = answers.try_clone().expect("a socket");
    let mut answers = Answers(answers);
    let (tell, mut hear) = mpsc::channel(1024);
    std::thread::spawn(move || read(rows, &tell));
    let output = loop {
        tokio::select! {
            biased;
            Some(row) = hear.recv() => {
                if let Some(node) = day.play(row).await {
                    answers.0.write_all(format!("{node}\n").as_bytes()).expect("it listens");
                }
            }
            output = &mut ended => break output.expect("it ends"),
        }
    };
    day.end();
    played(name, &output, &log)
}

/// The way back to the bridge. Once it is dropped, whoever reads from it and the bridge end, too.
struct Answers(TcpStream);

impl Drop for Answers {
    fn drop(&mut self) {
        drop(self.0.shutdown(Shutdown::Both));
    }
}

/// Rows, as they come.
fn read(from: TcpStream, tell: &mpsc::Sender<Row>) {
    let mut rows = Rows::new(from);
    while let Ok(Some(row)) = rows.read() {
        if tell.blocking_send(row).is_err() {
            return;
        }
    }
}

#[expect(clippy::print_stdout, reason = "figures to be looked at, with --nocapture")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_instances_place_a_day_as_well_as_one_does() {
    let redis = spawn_blocking(Redis::start_new).await.expect("it starts");
    let postgres = spawn_blocking(Postgres::shared).await.expect("it starts");
    let others = OTHERS.iter().filter(|_| std::env::var_os("PORTICO_ALL_TRACES").is_some());
    let mut ratios = Vec::new();
    for name in PLAYED.iter().chain(others) {
        let begun = Instant::now();
        let (one, two) = (by_one(name).await, by_two(name, &redis, postgres).await);
        let there: HashSet<&str> = one.placed.lines().collect();
        let elsewhere = two.placed.lines().filter(|line| !there.contains(line)).count();
        println!(
            "{name}: imb_p99 {} by one, {} by two; {elsewhere} of {} placed elsewhere; {:?}",
            one.imb_p99,
            two.imb_p99,
            two.placed.lines().count() - 1,
            begun.elapsed()
        );
        ratios.push(two.imb_p99 / one.imb_p99);
    }
    let count = f64::from(u32::try_from(ratios.len()).expect("a few"));
    let mean = ratios.iter().sum::<f64>() / count;
    assert!(mean <= TOLERANCE, "{mean}: {ratios:?}");
    assert!(ratios.iter().all(|ratio| *ratio <= TOLERANCE_OF_A_DAY), "{ratios:?}");
}

/// What is learned while a clock stands back is heard by others, and forgotten by nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_learned_by_a_clock_that_was_set_back_is_heard_nevertheless() {
    const MINUTE_MS: i64 = 60_000;
    let redis = spawn_blocking(Redis::start_new).await.expect("it starts");
    let postgres = spawn_blocking(Postgres::shared).await.expect("it starts");
    let database = postgres.url(&postgres.create_database());
    let mut both = Vec::new();
    for number in 0..2 {
        let inventory = Inventory::default();
        both.push(Instance::start(&redis, &database, number, inventory, moment(0)).await);
    }
    eventually("they know of each other", async || both.iter().all(|one| one.sees(2))).await;
    let [one, other] = &both[..] else { panic!("two") };
    let set = |at_ms| both.iter().for_each(|instance| instance.fleet.clock().set(moment(at_ms)));
    let learn = async |room: &str, at_ms: i64| {
        let key = MeetingKey { scope: Scope::parse("acme").expect("a scope"), id: room.to_owned() };
        let hour = Hour::new(9).expect("an hour");
        one.fleet.history.learn_and_keep(Peak { key, hour, attendees: 30 }, moment(at_ms) / 1000);
        one.learn().await;
        other.learn().await;
    };
    learn("first", 0).await;
    assert_eq!(other.fleet.history.len(), 4, "it is read at the start");
    set(6 * MINUTE_MS);
    learn("second", 6 * MINUTE_MS).await;
    assert_eq!(other.fleet.history.len(), 6);
    let hour_ago = -60 * MINUTE_MS;
    set(hour_ago);
    learn("third", hour_ago).await;
    assert_eq!(other.fleet.history.len(), 6, "not yet");
    set(hour_ago + 6 * MINUTE_MS);
    learn("fourth", hour_ago + 6 * MINUTE_MS).await;
    assert_eq!(other.fleet.history.len(), 10);
}
