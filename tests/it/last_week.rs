//! What happens to a pool is written down, and can be played again: `portico simulate trace`.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use flate2::read::GzDecoder;
use portico::sim::{Fault, Node};
use portico::trace::{Row, Rows, What};
use serde_json::Value;

use crate::harness::{Config, Plan, Pool, Tenant, eventually, portico};

/// No word of it may be in a trace.
const TENANT: &str = "secretive";
const ROOMS: [&str; 3] = ["Geheimrat", "Flurfunk", "Klausur"];

fn config() -> Config {
    Config::new()
        .nodes(2)
        .node(1, "weight", "2")
        .tenant(Tenant::new(TENANT))
        .set("polling.interval", "100ms")
        .set("polling.down_after", "1")
        .set("polling.up_after", "1")
        .set("placement.timezone", "UTC")
}

/// Runs the command for today and the day before, at whatever hour it is.
async fn trace(pool: &Pool, output: &Path) -> (i32, String) {
    let from = day_of(jiff::Timestamp::now() - jiff::SignedDuration::from_hours(24));
    let config = pool.config_path().to_str().expect("UTF-8");
    let output = output.to_str().expect("UTF-8");
    let words = ["simulate", "trace", "-c", config, "--from", &from, "--days", "2", "-o", output];
    let done = portico(&words).await;
    (done.code, done.stderr)
}

fn day_of(moment: jiff::Timestamp) -> String {
    moment.strftime("%Y-%m-%d").to_string()
}

fn text(path: &Path) -> String {
    let mut text = String::new();
    let file = std::fs::File::open(path).expect("a trace");
    GzDecoder::new(file).read_to_string(&mut text).expect("gzip of text");
    text
}

fn rows(text: &str) -> Vec<Row> {
    let (mut rows, mut all) = (Rows::new(text.as_bytes()), Vec::new());
    while let Some(row) = rows.read().expect("a row of a trace") {
        all.push(row);
    }
    all
}

fn many(rows: &[Row], is_one: impl Fn(&What) -> bool) -> usize {
    rows.iter().filter(|row| is_one(&row.what)).count()
}

/// The trace, once it is as wanted.
async fn written(pool: &Pool, what: &str, is_so: impl Fn(&[Row]) -> bool) -> PathBuf {
    let path = pool.dir().join("last-week.csv.gz");
    eventually(what, async || {
        let (code, said) = trace(pool, &path).await;
        assert!(code == 0 || said.contains("no meetings"), "{said}");
        code == 0 && is_so(&rows(&text(&path)))
    })
    .await;
    path
}

/// Some meetings, through any of the instances; the node of one fails. Gives the trace of it.
async fn live(pools: &[&Pool], nodes: &[Node]) -> PathBuf {
    let at = |number: usize| pools[number % pools.len()].tenant(TENANT);
    let node = |id: &str| {
        let id = format!("{id}@{TENANT}");
        let mut nodes = nodes.iter();
        let found =
            nodes.find(|node| node.meetings().iter().any(|meeting| meeting.external_id == id));
        (found.expect("it runs"), id)
    };
    let [first, second, third] = ROOMS;
    let query =
        format!("name=name&meetingID={first}&maxParticipants=50&meta_bbb-meeting-size-hint=30");
    at(0).get("create", &query).await.success();
    at(1).create(second).await.success();
    let (on, id) = node(first);
    assert!(on.add_attendees(&id, 5));
    let (on, id) = node(second);
    assert!(on.add_attendees(&id, 3));
    let joins = |rows: &[Row]| many(rows, |what| matches!(what, What::Join { .. }));
    written(pools[0], "those who came are written down", |rows| joins(rows) == 8).await;
    let (on, id) = node(first);
    assert!(on.remove_attendees(&id) && on.add_attendees(&id, 2));
    let leaves = |rows: &[Row]| many(rows, |what| matches!(what, What::Leave { .. }));
    written(pools[1 % pools.len()], "those who left are", |rows| leaves(rows) == 3).await;
    at(1).get("end", &format!("meetingID={first}")).await.success();
    let (failing, _) = node(second);
    failing.set_fault(Some(Fault::Refuse));
    let downs = |rows: &[Row]| many(rows, |what| matches!(what, What::NodeDown { .. }));
    written(pools[0], "the node that is gone is", |rows| downs(rows) > 0).await;
    failing.set_fault(None);
    let back = |rows: &[Row]| many(rows, |what| matches!(what, What::NodeUp { weight: None, .. }));
    written(pools[0], "that it is back is", |rows| back(rows) > 0).await;
    at(0).create(third).await.success();
    let creates = |rows: &[Row]| many(rows, |what| matches!(what, What::Create { .. }));
    written(pools[0], "the last one is", |rows| creates(rows) == 3 && ended_long_ago(rows)).await
}

/// The first meeting is over, and the others go on until the end.
fn ended_long_ago(rows: &[Row]) -> bool {
    let ends: Vec<i64> = rows
        .iter()
        .filter(|row| matches!(row.what, What::End { .. }))
        .map(|row| row.at_ms)
        .collect();
    ends.len() == 3 && ends[0] < ends[2]
}

/// It says what was, of nobody, and can be played.
async fn is_a_trace(path: &Path, nodes: &[Node]) {
    let text = text(path);
    let rows = rows(&text);
    let hints: Vec<_> = rows
        .iter()
        .filter_map(|row| match row.what {
            What::Create { max_participants, hint, .. } => Some((max_participants, hint)),
            _ => None,
        })
        .collect();
    assert!(hints.contains(&(Some(50), Some(30))) && hints.contains(&(None, None)), "{hints:?}");
    let mut weights: Vec<_> = rows
        .iter()
        .filter_map(|row| match row.what {
            What::NodeUp { weight: Some(weight), .. } => Some(weight.to_string()),
            _ => None,
        })
        .collect();
    weights.sort();
    assert_eq!(weights, ["1", "2"]);
    let names = nodes.iter().map(Node::name).chain(ROOMS).chain([TENANT]);
    for name in names {
        assert!(!text.to_lowercase().contains(&name.to_lowercase()), "{name} is in it:\n{text}");
    }
    let replay = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/traces/replay.py");
    let played = tokio::process::Command::new("python3")
        .arg(replay)
        .arg(path)
        .args(["--", env!("CARGO_BIN_EXE_portico"), "simulate", "placement"])
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .output()
        .await
        .expect("python3 runs");
    let told = String::from_utf8_lossy(&played.stderr);
    assert!(played.status.success(), "{told}");
    let scores: Value = serde_json::from_slice(&played.stdout).expect("scores");
    // Below 1 while those whose node failed are on their way back.
    assert!(scores["imb_p99"].as_f64().is_some_and(|score| score > 0.0), "{scores}");
    assert_eq!((scores["meetings"].as_u64(), scores["nodes"].as_u64()), (Some(3), Some(2)));
}

#[tokio::test]
async fn a_day_that_was_can_be_played_again_and_names_nobody() {
    let mut pool = Pool::start(config()).await;
    let path = live(&[&pool], pool.nodes()).await;
    is_a_trace(&path, pool.nodes()).await;
    // To the standard output, and of a store that nobody serves from.
    pool.kill9();
    let config = pool.config_path().to_str().expect("UTF-8").to_owned();
    let today = day_of(jiff::Timestamp::now());
    let done = portico(&["simulate", "trace", "-c", &config, "--from", &today]).await;
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert!(done.stdout.starts_with("time_ms,event,tenant,meeting_id,user,node,a,b\n"));
    for (arguments, code, told) in [
        (&["--from", "2020-02-30"][..], 2, "invalid value '2020-02-30' for '--from <YYYY-MM-DD>'"),
        (
            &["--from", "2020-02-29"],
            1,
            "no meetings are written down from 2020-02-29 to 2020-02-29",
        ),
        (&["--from", "2020-02-29"], 1, "choose one of these with --from: 20"),
        (&["--days", "36"], 2, "invalid value '36' for '--days <NUMBER>'"),
        (&["-o", "/nowhere/x.csv"], 1, ""),
    ] {
        let words = ["simulate", "trace", "-c", &config];
        let done =
            portico(&words.into_iter().chain(arguments.iter().copied()).collect::<Vec<_>>()).await;
        assert_eq!(done.code, code, "{arguments:?}: {}", done.stderr);
        assert!(done.stderr.contains(told), "{arguments:?}: {}", done.stderr);
    }
    // What was damaged is no meeting without people.
    let store = rusqlite::Connection::open(pool.dir().join("data/portico.db")).expect("a store");
    let odd = "UPDATE chronicle SET counts = counts || '7:x 60:9 ' WHERE meeting_id = ?1";
    assert_eq!(store.execute(odd, [ROOMS[1]]).expect("it is written"), 1);
    drop(store);
    let (code, said) = trace(&pool, &path).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("as they make no sense: 1 row of the chronicle"), "{said}");
    let creates = |what: &What| matches!(what, What::Create { .. });
    assert_eq!(many(&rows(&text(&path)), creates), 2);
}

#[tokio::test]
async fn two_instances_write_each_meeting_down_once() {
    let cluster = Plan::new(config(), 2).start().await;
    let pools: Vec<&Pool> = cluster.instances().iter().collect();
    let path = live(&pools, cluster.nodes()).await;
    is_a_trace(&path, cluster.nodes()).await;
}

#[tokio::test]
async fn nothing_is_written_down_where_that_is_not_wanted() {
    let config = config().set("placement.chronicle", "{ enabled: false }");
    let mut pool = Pool::start(config).await;
    pool.tenant(TENANT).create(ROOMS[0]).await.success();
    assert!(pool.metrics().await.get("portico_chronicle_waiting_meetings") < 0.5);
    let (code, said) = trace(&pool, &pool.dir().join("none.csv")).await;
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("no meetings are written down in the store yet"), "{said}");
    // Nor where there is no store at all, and none is made.
    pool.kill9();
    let data_dir = pool.dir().join("data");
    std::fs::remove_dir_all(&data_dir).expect("it was there");
    let (code, said) = trace(&pool, &pool.dir().join("none.csv")).await;
    assert_eq!(code, 1, "{said}");
    let told = format!("there is no store at {}, or", data_dir.join("portico.db").display());
    assert!(said.contains(&told) && said.contains("let `portico serve` run"), "{said}");
    assert!(!data_dir.exists());
}
