//! Days of meetings, played through what places them: how full the fullest node becomes.
//!
//! The traces, their scores and the program that plays them are in `tests/traces`; what other load balancers make of
//! them stands in `reference.json`.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use flate2::read::GzDecoder;
use portico::trace::score::{Day, Placement};
use portico::trace::{Room, Rows};
use serde_json::Value;

const PORTICO: &str = env!("CARGO_BIN_EXE_portico");

/// How far above the recommended policy's figure ours may be: other ties alone move one by more.
const TOLERANCE: f64 = 1.03;
/// Those that somebody runs.
const EXISTING: [&str; 5] = ["b3lb@15s", "b3lb@5s", "b3scale", "bbblb", "scalelite"];

pub(crate) fn traces() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/traces")
}

/// Plays a trace; gives its scores, and each placement as it stands in the log.
fn replay(name: &str, policy: &str) -> (Value, String) {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("placements.csv");
    let output = Command::new("python3")
        .arg(traces().join("replay.py"))
        .arg(traces().join(format!("{name}.csv.gz")))
        .arg("--log")
        .arg(&log)
        .args(["--", PORTICO, "simulate", "placement", "--policy", policy])
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .output()
        .expect("python3 runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {told}");
    let scores = serde_json::from_slice(&output.stdout).expect("scores");
    (scores, std::fs::read_to_string(log).expect("the log"))
}

fn reference() -> Value {
    let text = std::fs::read(traces().join("reference.json")).expect("the reference");
    serde_json::from_slice(&text).expect("JSON")
}

#[test]
fn every_day_is_placed_as_the_research_says_and_better_than_others_do() {
    let reference = reference();
    let days = reference.as_object().expect("days");
    assert_eq!(days.len(), 6);
    for (name, day) in days {
        let ours = replay(name, "predictive").0["imb_p99"].as_f64().expect("a figure");
        let of = |system: &str| day["systems"][system]["imb_p99"].as_f64().expect("a figure");
        assert!(ours <= of("ours") * TOLERANCE, "{name}: {ours}, recommended {}", of("ours"));
        for other in EXISTING {
            assert!(ours < of(other), "{name}: {ours}, {other} {}", of(other));
        }
    }
}

#[test]
fn equal_input_gives_equal_choices_by_every_policy() {
    for policy in ["predictive", "b3lb", "b3scale"] {
        let day = "webinar-n5-u75-s1";
        let (first, second) = (replay(day, policy), replay(day, policy));
        assert_eq!(first, second, "{policy}");
        assert!(first.1.lines().count() > 100);
    }
}

/// The day of a trace, as we read it.
fn day(name: &str) -> Day {
    let packed = std::fs::File::open(traces().join(format!("{name}.csv.gz"))).expect("a trace");
    let mut rows = Rows::new(GzDecoder::new(packed));
    let mut all = Vec::new();
    while let Some(row) = rows.read().expect("a row") {
        all.push(row);
    }
    Day::of(&all).expect("a day")
}

fn placements(log: &str) -> Vec<Placement> {
    let placement = |line: &str| {
        let mut fields = line.split(',').map(str::to_owned);
        let mut field = || fields.next().expect("a field");
        let at_ms = field().parse().expect("a time");
        let room = Room { tenant: field(), meeting_id: field() };
        Placement { at_ms, room, node: field() }
    };
    log.lines().skip(1).map(placement).collect()
}

#[test]
fn our_figures_are_those_of_the_scorer() {
    for (number, name) in reference().as_object().expect("days").keys().enumerate() {
        let policy = ["predictive", "b3scale", "b3lb"][number % 3];
        let (scores, log) = replay(name, policy);
        let ours = day(name).score(&placements(&log)).expect("figures");
        let ours = serde_json::to_value(ours).expect("JSON");
        let keys = |scores: &Value| -> Vec<String> {
            scores.as_object().expect("figures").keys().cloned().collect()
        };
        assert_eq!(keys(&ours), keys(&scores));
        for key in keys(&ours) {
            let [ours, theirs] = [&ours, &scores].map(|all| all[&key].as_f64().expect("a figure"));
            assert!((ours - theirs).abs() < 1e-6, "{name}, {key}: {ours}, of score.py {theirs}");
        }
    }
}

fn place(rows: &str) -> (i32, String, String) {
    play(rows.as_bytes())
}

fn play(rows: &[u8]) -> (i32, String, String) {
    let mut child = Command::new(PORTICO)
        .args(["simulate", "placement"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("portico starts");
    // It may give up before it has read all.
    drop(child.stdin.take().expect("a pipe").write_all(rows));
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().expect("no signal"), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_file_as_it_lies_there_is_played_packed_or_not() {
    let packed = std::fs::read(traces().join("failure-n10-u75-s1.csv.gz")).expect("a trace");
    let mut text = String::new();
    GzDecoder::new(packed.as_slice()).read_to_string(&mut text).expect("gzip of text");
    let creates = text.lines().filter(|line| line.contains(",create,")).count();
    let (code, stdout, stderr) = place(&text);
    assert_eq!((code, stdout.lines().count()), (0, creates), "{stderr}");
    assert_eq!(play(&packed), (0, stdout, stderr));
    let (code, _, stderr) = play(&packed[..packed.len() / 2]);
    assert_eq!(code, 2, "what breaks off is no trace");
    assert!(stderr.contains(": it breaks off"), "{stderr}");
    assert_eq!(stderr.matches("incomplete deflate stream").count(), 1, "{stderr}");
}

#[test]
fn a_trace_that_cannot_be_played_is_refused_with_its_line() {
    let up = "0,node_up,,,,n0,1,\n";
    let down = "2,node_down,,,,n0,,\n";
    for (rows, told) in [
        (String::new(), "line 1: there is nothing; a trace begins with \"time_ms,event,tenant"),
        ("time,what\n".to_owned(), "line 1: the header is \"time,what\""),
        (format!("{up}1,party,t,m,,,,\n"), "line 2: unknown event \"party\""),
        (
            "5,node_up,,,,n0,1,\n4,create,t,m,,,0,0\n".to_owned(),
            "line 2: time goes back from 5 to 4",
        ),
        ("1,create,t,m,,,0,0\n".to_owned(), "line 1: no node for a meeting of tenant t"),
        (format!("{up}1,node_down,,,,n1,,\n"), "line 2: node n1 is unknown"),
        ("0,node_up,,,,n0,,\n".to_owned(), "line 1: node n0 is new, and has no weight"),
        (format!("{up}1,node_up,,,,n0,1,\n"), "line 2: node n0 is up already; a node_down has to"),
        (format!("{up}{down}{down}"), "line 3: node n0 is down already; a node_up has to"),
        (format!("{up}1,end,t,m,,,,\n"), "line 2: t/m is not there; a create has to come before"),
        (format!("{up}1,join,t,m,1,,,\n"), "line 2: t/m is not there"),
        (format!("{up}1,leave,t,m,1,,,\n"), "line 2: t/m is not there"),
        (format!("{up}1,count,t,m,,n0,1,\n"), "line 2: t/m is not there"),
    ] {
        let (code, stdout, stderr) = place(&rows);
        assert_eq!((code, stdout.as_str()), (2, ""), "{rows}: {stderr}");
        assert!(stderr.contains(told), "{rows}: {stderr}");
    }
    let (code, stdout, stderr) = place(&format!("{up}1,create,Odd Tenant!,m,,,0,0\n"));
    assert_eq!((code, stdout.as_str()), (0, "n0\n"), "{stderr}");
    let create = "1,create,t,m,,,0,0\n";
    let (code, stdout, stderr) = place(&format!("{up}{create}{create}"));
    assert_eq!((code, stdout.as_str()), (2, "n0\n"), "{stderr}");
    let told =
        "line 3: t/m is created again before its end; an end has to come before its next create";
    assert!(stderr.contains(told), "{stderr}");
}

#[test]
fn what_a_failed_node_has_lost_may_be_created_again_or_end() {
    let rows = "0,node_up,,,,n0,1,\n0,node_up,,,,n1,1,\n1,create,t,a,,,0,0\n1,create,t,b,,,0,0\n";
    let first = place(rows).1;
    let failed = first.lines().next().expect("a node");
    let left = ["n0", "n1"].into_iter().find(|node| *node != failed).expect("another");
    // Of one that is not created again there may be rows as well, as in the file; and its end.
    let rows = format!(
        "{rows}5,node_down,,,,{failed},,\n6,join,t,a,1,,,\n7,node_up,,,,{failed},,\n8,node_down,,,,{left},,\n\
         9,create,t,a,,,0,0\n9,join,t,a,1,,,\n10,count,t,a,,{failed},1,\n11,end,t,a,,,,\n12,end,t,b,,,,\n\
         13,create,t,b,,,0,0\n"
    );
    let (code, stdout, stderr) = place(&rows);
    assert_eq!((code, stdout), (0, format!("{first}{failed}\n{failed}\n")), "{stderr}");
}
