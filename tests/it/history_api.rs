//! What is known of how large meetings become is seen, reset, taken along and begun with what others know.

use http::Method;
use serde_json::{Value, json};

use crate::api::{Operator, fields};
use crate::command_line_api::{Shell, config};
use crate::harness::{Plan, Pool, Tenant, eventually};
use crate::predicting::hold_and_end;

const HEADER: &str = "tenant,meeting_id,created_at,attendees";
const KNOWN: &str = "tenant,sub_id,room,hour,meetings,mean,variance,learned_at";

/// Ten meetings of a room, and one of another tenant.
const PAST: &str = "\
tenant,meeting_id,created_at,attendees
beta,small,2026-11-02T09:00:00Z,4
acme,algebra,2026-11-03T09:00:00Z,70
acme,algebra,2026-11-03T10:00:00+01:00,72
acme,algebra,2026-11-04T09:00:00Z,68
acme,algebra,2026-11-05T09:00:00Z,70
acme,algebra,2026-11-06T09:00:00Z,71
acme,algebra,2026-11-09T09:00:00Z,69
acme,algebra,2026-11-10T09:00:00Z,70
acme,algebra,2026-11-11T09:00:00Z,70
acme,algebra,2026-11-12T09:00:00Z,70
acme,algebra,2026-11-13T09:00:00Z,0
acme,\"a, \"\"b\"\"\",2026-11-02T09:00:00Z,10
";

async fn pool() -> Pool {
    let config = config().tenant(Tenant::new("beta")).set("placement.timezone", "UTC");
    let config = config.set("placement.history", "{ keep: 3660d }");
    Pool::start(config.set("polling.interval", "100ms")).await
}

/// What is expected of a meeting of `acme`: attendees, and from where that is known.
async fn expected(pool: &Pool, room: &str) -> (f64, String) {
    let operator = Operator::of(pool, "operator").await;
    let told = operator.get(&format!("/tenants/acme/placement?meeting_id={room}")).await;
    let expected = &told["expected"];
    let source = expected["source"].as_str().expect("a source").to_owned();
    (expected["attendees"].as_f64().expect("a number"), source)
}

fn write(pool: &Pool, name: &str, text: &str) -> String {
    let path = pool.dir().join(name);
    std::fs::write(&path, text).expect("a file");
    path.display().to_string()
}

#[tokio::test]
async fn what_meetings_teach_is_seen_and_forgotten() {
    let pool = pool().await;
    let (admin, shell) = (Operator::of(&pool, "admin").await, Shell(&pool));
    assert_eq!(admin.get("/history").await, json!({"items": []}));
    assert_eq!(expected(&pool, "algebra").await, (20.0, "prior".to_owned()));

    hold_and_end(&pool).await;
    eventually("it is kept", async || {
        admin.get("/history").await["items"].as_array().is_some_and(|items| items.len() == 4)
    })
    .await;
    let (size, source) = expected(&pool, "algebra").await;
    assert!(size > 50.0 && source.starts_with("room"), "{size} {source}");
    let listed = admin.get("/history?tenant=acme&room=algebra").await;
    let [room, at_hour] = [0, 1].map(|at| &listed["items"][at]);
    for (name, value) in [
        ("tenant", json!("acme")),
        ("sub_id", json!(0)),
        ("room", json!("algebra")),
        ("hour", Value::Null),
        ("meetings", json!(1)),
        ("mean", json!(60.0)),
        ("variance", json!(0.0)),
    ] {
        assert_eq!(room[name], value, "{name}: {listed}");
    }
    assert!(at_hour["hour"].as_u64().is_some_and(|hour| hour < 168), "{listed}");
    let table = shell.out("history list --tenant acme").await;
    assert!(table.starts_with("TENANT  SUB  ROOM     HOUR"), "{table}");
    assert_eq!(table.lines().count(), 4, "{table}");
    let told = shell.refused("history list -o csv", 2).await;
    assert!(told.contains("`portico history export` writes all that is known as CSV"), "{told}");
    // Pages fit together.
    let (mut paged, mut cursor) = (Vec::new(), String::new());
    loop {
        let mut page = admin.get(&format!("/history?limit=1{cursor}")).await;
        paged.append(page["items"].as_array_mut().expect("a list"));
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(json!(paged), admin.get("/history").await["items"]);

    assert_eq!(
        shell.refused("history reset --tenant acme --room algebra", 2).await,
        "forget how large room algebra of tenant acme become? Say --yes: there is nobody to ask\n"
    );
    let gone = admin.call(Method::DELETE, "/history?tenant=acme&room=algebra", None).await;
    assert_eq!((gone.status.as_u16(), gone.body.as_str()), (200, "{\"rows\":2}"));
    assert_eq!(expected(&pool, "algebra").await.1, "tenant");
    shell.out("history reset --tenant acme --yes").await;
    assert_eq!(expected(&pool, "algebra").await.1, "everywhere");
    let (code, _, stderr) = shell.run("history reset --all --yes").await;
    assert_eq!((code, stderr.as_str()), (0, "forgotten: 1 row\n"));
    assert_eq!(expected(&pool, "algebra").await.1, "prior");
    assert_eq!(admin.get("/history").await, json!({"items": []}));

    let trail = admin.get("/changes?limit=3").await;
    for (at, object, rows) in
        [(0, "history", 1), (1, "history of tenant acme", 1), (2, "history of tenant acme", 2)]
    {
        let change = &trail["items"][at];
        assert_eq!((&change["action"], &change["object"]), (&json!("reset"), &json!(object)));
        assert_eq!(change["before"]["rows"], rows, "{trail}");
    }
    pool.says("API: reset of history of tenant acme by token").await;
}

#[tokio::test]
async fn past_meetings_teach_and_go_along_to_another_pool() {
    let mut pool = pool().await;
    let shell = Shell(&pool);
    let file = write(&pool, "past.csv", PAST);
    let (code, stdout, stderr) = shell.run(&format!("history seed {file}")).await;
    assert_eq!((code, stdout.as_str()), (0, ""), "{stderr}");
    let told = "learned from 11 meetings\npassed over: 1 meeting without attendees\n\
                do not seed the file again: it would count twice\n";
    assert_eq!(stderr, told);
    let (size, source) = expected(&pool, "algebra").await;
    assert!((60.0..80.0).contains(&size) && source.starts_with("room"), "{size} {source}");
    let told = shell.out("place explain --tenant acme --meeting algebra").await;
    assert!(told.contains("attendees (from room"), "{told}");
    // 2026-11-03 is a Tuesday; nine and ten in Berlin are the same hour, and 9:00 is the hour of nine.
    let listed = shell.json("history list --room algebra").await;
    let at = |hour: u64| {
        let rows = listed.as_array().expect("a list");
        rows.iter().find(|row| row["hour"] == hour).map(|row| row["meetings"].clone())
    };
    assert_eq!((at(24 + 9), at(9)), (Some(3.into()), Some(1.into())), "{listed}");
    assert_eq!(listed[0]["learned_at"], "2026-11-12T09:00:00.000Z");

    let before = shell.json("history list").await;
    let csv = shell.out("history export").await;
    assert!(
        csv.starts_with("tenant,sub_id,room,hour,meetings,mean,variance,learned_at\n,,,,11,"),
        "{csv}"
    );
    assert!(
        csv.contains("\nacme,0,\"a, \"\"b\"\"\",,1,10.0,0.0,2026-11-02T09:00:00.000Z\n"),
        "{csv}"
    );
    let exported = pool.dir().join("history.csv").display().to_string();
    shell.out(&format!("history export {exported}")).await;
    assert_eq!(std::fs::read_to_string(&exported).expect("a file"), csv);
    shell.out("history reset --all --yes").await;
    assert_eq!(expected(&pool, "algebra").await.1, "prior");
    let (_, _, stderr) = shell.run(&format!("history import {exported}")).await;
    assert_eq!(stderr, format!("imported: {} rows\n", csv.lines().count() - 1));
    assert_eq!(shell.json("history list").await, before);
    assert_eq!(expected(&pool, "algebra").await, (size, source.clone()));
    // Once more is the same.
    shell.out(&format!("history import {exported}")).await;
    assert_eq!(shell.json("history list").await, before);

    pool.kill9();
    pool.restart().await;
    let again = async || expected(&pool, "algebra").await == (size, source.clone());
    eventually("it is known again", again).await;
    assert_eq!(Shell(&pool).json("history list").await, before);
}

#[tokio::test]
async fn what_would_be_forgotten_at_once_is_not_learned() {
    let pool = Pool::start(config().set("placement.history", "{ keep: 30d }")).await;
    let shell = Shell(&pool);
    let ago = |days: i64| jiff::Timestamp::now() - jiff::SignedDuration::from_hours(24 * days);
    let (old, older, new) = (ago(31), ago(1000), ago(29));
    let rows = format!(
        "{HEADER}\nacme,old,{old},70\nacme,old,{older},0\nacme,old,{older},7\nacme,new,{new},10\n"
    );
    let file = write(&pool, "past.csv", &rows);
    let (code, _, stderr) = shell.run(&format!("history seed {file}")).await;
    let told = "learned from 1 meeting\npassed over: 3 meetings older than placement.history.keep\n\
                do not seed the file again: it would count twice\n";
    assert_eq!((code, stderr.as_str()), (0, told));
    assert_eq!(shell.json("history list --room old").await, json!([]));
    let known = shell.json("history list").await;
    assert_eq!((&known[0]["meetings"], &known[0]["mean"]), (&json!(1), &json!(10.0)), "{known}");
    let help = shell.out("history seed --help").await;
    let words = help.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("What is seeded twice counts twice"), "{help}");
}

#[tokio::test]
async fn what_cannot_be_right_is_told_and_changes_nothing() {
    let pool = pool().await;
    let (admin, shell) = (Operator::of(&pool, "admin").await, Shell(&pool));
    let row = |change: Value| {
        let mut row = json!({"tenant": "acme", "sub_id": 0, "room": "m", "meetings": 1, "mean": 5,
            "variance": 0, "learned_at": "2026-11-01T00:00:00Z"});
        row.as_object_mut().expect("an object").extend(change.as_object().expect("one").clone());
        row
    };
    for (change, named) in [
        (json!({"mean": -1}), "items[1].mean"),
        (json!({"mean": 100_001}), "items[1].mean"),
        (json!({"mean": "NaN"}), "items[1].mean"),
        (json!({"variance": 1e12}), "items[1].variance"),
        (json!({"hour": 168}), "items[1].hour"),
        (json!({"hour": 999}), "items[1].hour"),
        (json!({"meetings": 0}), "items[1].meetings"),
        (json!({"tenant": "Acme!"}), "items[1].tenant"),
        (json!({"sub_id": 1000}), "items[1].sub_id"),
        (json!({"deviation": 1}), "items[1].deviation"),
        (json!({"learned_at": "2999-13-01T00:00:00Z"}), "items[1].learned_at"),
        (json!({}), "items[1]"),
    ] {
        let document = json!({"items": [row(json!({})), row(change)]});
        let refused = admin.call(Method::POST, "/history", Some(document)).await;
        assert_eq!(refused.status, 422, "{}", refused.body);
        assert_eq!(fields(&refused), [named], "{}", refused.body);
    }
    let past = json!({"items": [{"tenant": "acne", "meeting_id": "m", "created_at": "2026-11-01T09:00:00Z",
        "attendees": 7}]});
    let refused = admin.call(Method::POST, "/history/meetings", Some(past)).await;
    assert_eq!(fields(&refused), ["items[0].tenant"], "{}", refused.body);
    let refused = admin.call(Method::DELETE, "/history", None).await;
    assert_eq!((refused.status.as_u16(), fields(&refused)), (422, vec!["all".to_owned()]));
    for (path, field) in [
        ("/history?tenant=acne", "tenant"),
        ("/history?cursor=bm9uZQ", "cursor"),
        ("/history?limit=1001", "limit"),
    ] {
        let refused = admin.call(Method::GET, path, None).await;
        assert_eq!(
            (refused.status.as_u16(), fields(&refused)),
            (422, vec![field.to_owned()]),
            "{path}"
        );
    }
    let missing = admin.call(Method::DELETE, "/history?tenant=acne", None).await;
    assert!(missing.body.contains("did you mean \\\"acme\\\"?"), "{}", missing.body);

    let good = "acme,m,2026-11-02T09:00:00Z,10";
    for (rows, told) in [
        (
            "tenant,room\n".to_owned(),
            "line 1: there is no column \"room\"; it has to be tenant,meeting_id",
        ),
        (format!("{HEADER},{HEADER}\n"), "line 1: the column \"tenant\" is there twice"),
        (
            format!("{HEADER}\n{good}\n{HEADER}\n"),
            "line 3: the names of the columns stand there again",
        ),
        (
            format!("{HEADER}\n{good}\nacme,m,2026-11-02T09:00:00Z,many\n"),
            "line 3: attendees is \"many\"",
        ),
        (
            format!("{HEADER}\n{good}\nacme,m,2026-11-02T09:00:00Z,100001\n"),
            "line 3: attendees is 100001",
        ),
        (
            format!("{HEADER}\n{good}\nacme,m,2.11.2026,10\n"),
            "line 3: created_at is no moment; write it as",
        ),
        (
            format!("{HEADER}\n{good}\nAcme,m,2026-11-02T09:00:00Z,10\n"),
            "line 3: tenant is not a tenant's slug",
        ),
    ] {
        let file = write(&pool, "wrong.csv", &rows);
        let stderr = shell.refused(&format!("history seed {file}"), 2).await;
        assert!(stderr.contains(told), "{told}: {stderr}");
    }
    for (row, told) in [
        ("acme,0,m,168,1,1,0,2026-11-02T09:00:00Z", "line 2: hour is 168"),
        (
            "acme,0,m,,1,NaN,0,2026-11-02T09:00:00Z",
            "line 2: mean is \"NaN\"; it has to be a number of 0",
        ),
        ("acme,0,m,,1,1,0", "line 2: 7 columns; there have to be 8"),
    ] {
        let file = write(&pool, "wrong.csv", &format!("{KNOWN}\n{row}\n"));
        let stderr = shell.refused(&format!("history import {file}"), 2).await;
        assert!(stderr.contains(told), "{told}: {stderr}");
    }
    // What only Portico knows it tells of lines as well, and they are in the order of time.
    let late = "acme,m,2026-11-03T09:00:00Z,10";
    let unknown = format!("{HEADER}\n{late}\nacne,m,2026-11-02T09:00:00Z,10\n");
    let file = write(&pool, "wrong.csv", &unknown);
    assert_eq!(
        shell.refused(&format!("history seed {file}"), 1).await,
        "learned from 0 meetings; the next one by time is line 3, of 2026-11-02T09:00:00Z: line 3: tenant is \"acne\", \
         which is not there\n"
    );
    for line in ["history reset", "history reset --room m", "history reset --all --tenant acme"] {
        shell.refused(line, 2).await;
    }
    assert_eq!(admin.get("/history").await, json!({"items": []}));
}

#[tokio::test]
async fn what_one_instance_changes_the_other_knows_a_moment_later() {
    let config = config().tenant(Tenant::new("beta")).set("placement.timezone", "UTC");
    let config = config.set("placement.history", "{ keep: 3660d }");
    let cluster = Plan::new(config, 2).without_redis().start().await;
    let [one, other] = [0, 1].map(|index| cluster.instance(index));
    let file = write(one, "past.csv", PAST);
    Shell(one).out(&format!("history seed {file}")).await;
    let (size, source) = expected(one, "algebra").await;
    assert!(source.starts_with("room"), "{source}");
    let knows = async || expected(other, "algebra").await.1.starts_with("room");
    eventually("the other knows it, too", knows).await;
    let (there, _) = expected(other, "algebra").await;
    assert!((there - size).abs() < 0.01, "{there} {size}");

    let csv = Shell(other).out("history export").await;
    Shell(one).out("history reset --tenant acme --yes").await;
    assert_eq!(expected(one, "algebra").await.1, "everywhere");
    let fell_back = async || expected(other, "algebra").await.1 == "everywhere";
    eventually("the other has forgotten it", fell_back).await;
    // It says so a moment after that is in force.
    let says = async || other.log().contains("was changed elsewhere, and is taken up anew");
    eventually("the other says so", says).await;

    let file = write(other, "history.csv", &csv);
    Shell(other).out(&format!("history import {file}")).await;
    assert!(expected(other, "algebra").await.1.starts_with("room"));
    let knows = async || expected(one, "algebra").await.1.starts_with("room");
    eventually("the first one knows it again", knows).await;
    assert_eq!(Shell(one).out("history export").await, csv);
}
