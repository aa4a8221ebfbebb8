//! `portico simulate load`: a small day, played at high speed against a real Portico.

use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::command_line_api::{Shell, config};
use crate::harness::{PATIENCE, Pool, eventually, portico, portico_with};

/// Two nodes; meetings on both when one of them fails, which comes back.
fn day() -> String {
    let mut text = "time_ms,event,tenant,meeting_id,user,node,a,b\n".to_owned();
    let mut rows: Vec<(i64, String)> = Vec::new();
    for (week, peak) in [(-2, 3), (-1, 4)] {
        let at_ms = week * 7 * 24 * 3_600_000;
        rows.push((at_ms, format!("past,uni,room-0,,,{peak},2700")));
    }
    rows.push((0, "node_up,,,,n0,1,".to_owned()));
    rows.push((0, "node_up,,,,n1,3,".to_owned()));
    for number in 0..12 {
        let (at_ms, tenant) =
            (60_000 + number * 5_000, ["uni", "school"][usize::from(number % 3 == 0)]);
        let hint = if number == 4 { 30 } else { 0 };
        rows.push((at_ms, format!("create,{tenant},room-{number},,,50,{hint}")));
        for user in 0..4 {
            let join_ms = at_ms + 1000 + user * 500;
            let counted = if user == 3 { -1 } else { 2000 };
            rows.push((join_ms, format!("join,{tenant},room-{number},{user},,{counted},0")));
        }
        rows.push((900_000, format!("leave,{tenant},room-{number},0,,,")));
        rows.push((1_000_000 + number, format!("end,{tenant},room-{number},,,,")));
    }
    rows.push((200_000, "node_down,,,,n1,,".to_owned()));
    rows.push((920_000, "node_up,,,,n1,,".to_owned()));
    // The same room, a second time.
    rows.push((1_060_000, "create,uni,room-1,,,0,0".to_owned()));
    rows.push((1_070_000, "join,uni,room-1,9,,10,2".to_owned()));
    rows.push((1_120_000, "end,uni,room-1,,,,".to_owned()));
    rows.sort_by_key(|(at_ms, _)| *at_ms);
    text.extend(rows.into_iter().map(|(at_ms, row)| format!("{at_ms},{row}\n")));
    text
}

fn trace(pool: &Pool, text: &str) -> PathBuf {
    let path = pool.dir().join("day.csv");
    std::fs::write(&path, text).expect("a file");
    path
}

/// All that operators have made, without what changes by itself.
async fn inventory(pool: &Pool) -> String {
    Shell(pool).out("export").await
}

/// Tenants of loads of whose meetings something is known.
async fn remembered(pool: &Pool) -> Vec<Value> {
    let mut known = Shell(pool).json("history list").await;
    let known = known.as_array_mut().expect("a list").iter_mut();
    let tenants = known.map(|row| row["tenant"].take());
    tenants.filter(|tenant| tenant.as_str().is_some_and(|slug| slug.starts_with("load-"))).collect()
}

#[tokio::test]
async fn a_day_is_played_scored_and_taken_away_again() {
    let pool = {
        let config = config().set("polling.interval", "100ms");
        Pool::start(config.set("polling.node_down_grace", "100ms")).await
    };
    let (before, shell) = (inventory(&pool).await, Shell(&pool));
    let (path, log) = (trace(&pool, &day()), pool.dir().join("log.csv"));
    for policy in ["predictive", "b3scale"] {
        let line = format!(
            "simulate load {} --speed 100 --policy {policy} --log {}",
            path.display(),
            log.display()
        );
        let told = shell.json(&line).await;
        assert_eq!(
            (&told["complete"], &told["policy"]),
            (&true.into(), &policy.into()),
            "{told:#}"
        );
        let scores = &told["scores"];
        assert_eq!((&scores["nodes"], &scores["meetings"]), (&2.into(), &13.into()), "{told:#}");
        for figure in ["imb_p99", "imb_max", "peak_ratio"] {
            assert!(scores[figure].as_f64().expect(figure) >= 1.0, "{figure}: {told:#}");
        }
        assert!(scores["avoid_pm"].is_number() && scores["cv"].is_number(), "{told:#}");
        assert_eq!(told["left_out"]["meetings"], 0, "{told:#}");
        for (call, least) in [("create", 13), ("join", 49), ("end", 13)] {
            let latency = &told["latency"][call];
            assert!(latency["count"].as_u64().expect(call) >= least, "{call}: {told:#}");
            assert!(latency["p99_ms"].as_f64() >= latency["p50_ms"].as_f64(), "{call}");
        }
        assert!(told["behind"]["p99_ms"].is_number(), "{told:#}");
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/traces/score.py");
        let judged = Command::new("python3")
            .arg(program)
            .args([&path, &log])
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .output()
            .await
            .expect("python3 runs");
        let theirs: Value = serde_json::from_slice(&judged.stdout).expect("scores");
        assert_eq!(scores, &theirs);
        let log = std::fs::read_to_string(&log).expect("the log");
        let mut lines = log.lines();
        assert_eq!(lines.next(), Some("time_ms,tenant,meeting_id,node"));
        let lines: Vec<_> = lines.collect();
        for number in 0..12 {
            let at_ms = 60_000 + number * 5_000;
            let tenant = ["uni", "school"][usize::from(number % 3 == 0)];
            let created = format!("{at_ms},{tenant},room-{number},n");
            assert!(lines.iter().any(|line| line.starts_with(&created)), "{created}: {log}");
        }
        assert_eq!(inventory(&pool).await, before);
        assert_eq!(remembered(&pool).await, Vec::<Value>::new());
        // Those of the node that failed are there again.
        let failed = lines.iter().filter(|line| {
            let at_ms = line.split(',').next().and_then(|time| time.parse::<i64>().ok());
            line.ends_with(",n1") && at_ms.expect("a time") < 200_000
        });
        assert_eq!(lines.len(), 13 + failed.count(), "{log}");
    }
    assert_eq!(shell.json("meeting list").await, Value::Array(Vec::new()));
    let nodes = shell.json("node list").await;
    assert_eq!(nodes.as_array().expect("a list").len(), 2, "{nodes:#}");
}

/// A load that has begun, and takes as long as the day does.
async fn begun(pool: &Pool, options: &[&str]) -> Child {
    let path = trace(pool, &day());
    let placed = async || pool.metrics().await.sum("portico_placements_total", &[]);
    let before = placed().await;
    // Whoever runs the tests may have SIGHUP ignored, as nohup does.
    let child = Command::new("env")
        .args(["--default-signal=HUP", env!("CARGO_BIN_EXE_portico")])
        .args(["simulate", "load", path.to_str().expect("UTF-8"), "--speed", "1", "-o", "json"])
        .args(["-c", Shell(pool).file()])
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("portico starts");
    eventually("a meeting runs", async || placed().await > before + 0.5).await;
    assert!(!remembered(pool).await.is_empty(), "one of the tenants has a past");
    child
}

/// A signal, as by Ctrl-C: its exit code, the figures, and what it says.
async fn stopped(child: Child, signal: &str) -> (i32, Value, String) {
    let id = child.id().expect("it runs").to_string();
    let sent = Command::new("kill").args([signal, &id]).status().await;
    assert!(sent.expect("kill").success());
    let output = timeout(PATIENCE, child.wait_with_output()).await;
    let output = output.expect("it ends").expect("its output");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let value = serde_json::from_slice(&output.stdout).expect("JSON");
    (output.status.code().expect("it was not killed"), value, told)
}

#[tokio::test]
async fn whoever_stops_it_is_told_what_was_played_and_nothing_is_left() {
    let pool = Pool::start(config()).await;
    let before = inventory(&pool).await;
    for signal in ["-INT", "-HUP"] {
        let (code, value, told) = stopped(begun(&pool, &[]).await, signal).await;
        assert_eq!((code, &value["complete"]), (130, &false.into()), "{signal}: {told}");
        assert!(told.contains("the scores are of what was played"), "{signal}: {told}");
        assert_eq!(inventory(&pool).await, before, "{signal}");
        assert_eq!(remembered(&pool).await, Vec::<Value>::new(), "{signal}: {told}");
    }
}

#[tokio::test]
async fn what_cannot_be_taken_away_is_told_with_what_does_it() {
    let mut pool = Pool::start(config()).await;
    let before = inventory(&pool).await;
    // Also where the log cannot be written.
    let child = begun(&pool, &["--log", "/dev/full"]).await;
    pool.kill9();
    let (code, value, told) = stopped(child, "-INT").await;
    assert_eq!((code, &value["complete"]), (1, &false.into()), "{told}");
    assert!(told.contains("/dev/full: "), "{told}");
    let commands: Vec<_> =
        told.lines().filter_map(|line| line.strip_prefix("  portico ")).collect();
    let is_reset = |command: &&&str| command.starts_with("history reset --tenant load-");
    let resets = commands.iter().filter(is_reset).count();
    assert!((1..=2).contains(&resets), "{told}");
    assert_eq!(commands.len() - resets, 6, "{told}");
    pool.restart().await;
    // Its nodes are gone, and a meeting on them is only given up when they have been down for long enough.
    eventually("all of it is gone", async || {
        for command in &commands {
            Shell(&pool).run(command).await;
        }
        inventory(&pool).await == before && remembered(&pool).await.is_empty()
    })
    .await;
}

#[tokio::test]
async fn its_time_is_bounded() {
    let pool = Pool::start(config()).await;
    let before = inventory(&pool).await;
    let line = format!(
        "simulate load {} --speed 1 --max-time 300ms -o json",
        trace(&pool, &day()).display()
    );
    let (code, stdout, stderr) = Shell(&pool).run(&line).await;
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("--max-time is over"), "{stderr}");
    let value: Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!(value["complete"], false);
    assert_eq!(inventory(&pool).await, before);
}

#[tokio::test]
async fn what_cannot_be_played_is_refused_before_anything_is_made() {
    let pool = Pool::start(config()).await;
    let before = inventory(&pool).await;
    let shell = Shell(&pool);
    let path = trace(&pool, &day());
    let path = path.display();

    let wrong = pool.dir().join("wrong.csv");
    std::fs::write(&wrong, format!("{}2000000,end,uni,nowhere,,,,\n", day())).expect("a file");
    let told = shell.refused(&format!("simulate load {}", wrong.display()), 2).await;
    assert!(
        told.contains("wrong.csv: line ") && told.contains("uni/nowhere is not there"),
        "{told}"
    );
    let told = shell.refused("simulate load /nowhere.csv", 2).await;
    assert!(told.starts_with("/nowhere.csv: "), "{told}");
    let told = shell.refused(&format!("simulate load {path} --from 05:00"), 2).await;
    assert!(told.contains("no meeting is created in these hours"), "{told}");

    let told = shell.refused(&format!("simulate load {path} --server http://127.0.0.1:1"), 1).await;
    assert!(
        told.contains("http://127.0.0.1:1: ") && told.contains("nobody listens there"),
        "{told}"
    );
    let told = shell.refused(&format!("simulate load {path} --bind 192.0.2.1"), 2).await;
    assert!(told.contains("--bind 192.0.2.1: node n0 cannot listen"), "{told}");
    // Another server than that of the API, which has other tenants.
    let other = Pool::start(config()).await;
    let admin = format!("http://{}", other.admin_address());
    let server = format!("http://{}", pool.address());
    let done = portico(&["token", "create", "-c", shell.file(), "--scope", "operator"]).await;
    let operator = done.stdout.trim().to_owned();
    let play = ["simulate", "load", &path.to_string(), "--server", &server];
    let env = [("PORTICO_API", admin.as_str()), ("PORTICO_TOKEN", operator.as_str())];
    let done = portico_with(&env, &play).await;
    assert_eq!((done.code, done.stdout.as_str()), (1, ""), "{}", done.stderr);
    assert!(done.stderr.contains("cannot be added"), "{}", done.stderr);
    let env = [("PORTICO_API", admin.as_str()), ("PORTICO_TOKEN", "nonsense")];
    let done = portico_with(&env, &play).await;
    assert_eq!((done.code, done.stdout.as_str()), (1, ""), "{}", done.stderr);
    let none = [("PORTICO_API", "http://127.0.0.1:1"), ("PORTICO_TOKEN", "nonsense")];
    let done = portico_with(&none, &play).await;
    assert!(done.code == 1 && done.stderr.contains("nobody listens there"), "{}", done.stderr);
    assert_eq!(inventory(&pool).await, before);
}

/// An address that nobody listens on at the moment.
fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").to_string()
}

#[tokio::test]
async fn the_demo_can_be_as_fast_as_a_load() {
    let (listen, admin) = (free_address(), free_address());
    let temporary = tempfile::tempdir().expect("a directory");
    let mut demo = Command::new(env!("CARGO_BIN_EXE_portico"))
        .args(["demo", "--nodes", "1", "--speed", "100", "--listen", &listen, "--admin", &admin])
        .env("TMPDIR", temporary.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("the demo starts");
    let mut lines = BufReader::new(demo.stdout.take().expect("a pipe")).lines();
    let token = async {
        loop {
            let line = lines.next_line().await.expect("a line").expect("it goes on");
            if let Some((_, token)) = line.split_once("PORTICO_TOKEN=") {
                break token.to_owned();
            }
        }
    };
    let token = timeout(PATIENCE, token).await.expect("it says how operators get in");
    let (api, server) = (format!("http://{admin}"), format!("http://{listen}"));
    let env = [("PORTICO_API", api.as_str()), ("PORTICO_TOKEN", token.as_str())];
    eventually("the demo answers", async || portico_with(&env, &["node", "list"]).await.code == 0)
        .await;
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("day.csv.gz");
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(day().as_bytes()).expect("it is packed");
    std::fs::write(&path, packed.finish().expect("it is packed")).expect("a file");
    let path = path.to_str().expect("UTF-8");
    let play = ["simulate", "load", path, "--url", &server, "--speed", "100", "-o", "json"];
    let done = portico_with(&env, &play).await;
    assert_eq!(done.code, 0, "{}", done.stderr);
    let told: Value = serde_json::from_str(&done.stdout).expect("JSON");
    assert_eq!((&told["complete"], &told["left_out"]["meetings"]), (&true.into(), &0.into()));
    // From its standard input the same is read.
    let play = ["simulate", "load", "-", "--url", &server, "--until", "00:00"];
    let packed = std::fs::File::open(path).expect("the trace");
    let done = Command::new(env!("CARGO_BIN_EXE_portico"))
        .args(play)
        .envs(env)
        .stdin(packed)
        .output()
        .await
        .expect("portico starts");
    let told = String::from_utf8_lossy(&done.stderr);
    assert_eq!(told, "-: no meeting is created in these hours\n");

    let pid = demo.id().expect("it runs").to_string();
    let sent = Command::new("kill").args(["-s", "TERM", &pid]).status().await;
    assert!(sent.is_ok_and(|sent| sent.success()));
    let ended = timeout(PATIENCE, demo.wait()).await.expect("it ends").expect("its status");
    assert!(ended.success());
    let left = std::fs::read_dir(temporary.path()).expect("a directory").count();
    assert_eq!(left, 0, "its store is gone with it");
}
