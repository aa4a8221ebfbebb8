//! The program as an operator at the keyboard has it: what is going on, and doing something about it.

use std::process::Stdio;

use portico::sim;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::command_line_api::{Shell, config};
use crate::harness::{Pool, Tenant, eventually, request};
use crate::operators::forbid_targets;

/// Starts a command that goes on, and gives what it prints line by line.
fn start(shell: &Shell<'_>, line: &str) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_portico"))
        .args(line.split_whitespace())
        .args(["-c", shell.file()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the program starts");
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    (child, lines)
}

async fn is_up(shell: &Shell<'_>) {
    eventually("all nodes are up", async || {
        let nodes = shell.json("node list").await;
        nodes.as_array().is_some_and(|all| all.iter().all(|one| one["status"]["health"] == "up"))
    })
    .await;
}

/// With every moment as `TIME`, as wide as it was.
fn timeless(text: &str) -> String {
    let is_time = |word: &str| word.len() == 24 && word.ends_with('Z') && word.starts_with("20");
    text.split_inclusive([' ', '\n'])
        .map(|piece| {
            let word = piece.trim_end();
            let rest = piece.get(word.len()..).unwrap_or_default();
            if is_time(word) { format!("{:24}{rest}", "TIME") } else { piece.to_owned() }
        })
        .collect()
}

#[tokio::test]
async fn callbacks_that_were_given_up_are_tried_again_or_removed() {
    let config = config().set("callbacks.allow_targets", "[127.0.0.0/8]");
    let mut pool = Pool::start(config).await;
    let acme = pool.tenant("acme");
    let target = "http%3A%2F%2F127.0.0.1%3A9%2Fa-secret-path";
    let create = format!("name=Algebra&meetingID=algebra&moderatorPW=mp&meetingEndedURL={target}");
    acme.get("create", &create).await.success();
    acme.get("end", "meetingID=algebra&password=mp").await.success();
    eventually("it waits", async || {
        Shell(&pool).json("callback list").await.as_array().is_some_and(|all| all.len() == 1)
    })
    .await;
    forbid_targets(&mut pool).await;
    let shell = Shell(&pool);
    eventually("it is given up", async || {
        shell.json("callback list --state dead").await.as_array().is_some_and(|all| all.len() == 1)
    })
    .await;
    let shown = shell.json("callback show 1").await;
    let error = shown["last_error"].as_str().expect("why");
    let tries = shown["attempts"].as_u64().expect("a number");
    assert_eq!(
        shell.out("callback list --tenant acme").await,
        format!(
            "\
ID  TENANT  KIND           MEETING  TO                  STATE  TRIES  NEXT  LAST ERROR
1   acme    meeting_ended  algebra  http://127.0.0.1:9  dead   {tries:<5}        {error}
"
        )
    );
    let nothing = shell.out("callback list --state pending").await;
    assert_eq!(nothing.lines().count(), 1, "{nothing}");
    assert!(shell.out("callback retry 1").await.contains("meeting_ended"));
    eventually("it is given up again", async || {
        let one = shell.json("callback show 1").await;
        one["state"] == "dead" && one["attempts"] == tries + 1
    })
    .await;
    assert_eq!(
        shell.refused("callback delete 1", 2).await,
        "remove callback 1: its front end is never told? Say --yes: there is nobody to ask\n"
    );
    let (code, stdout, stderr) = shell.run("callback delete 1 --yes").await;
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (0, "", "callback 1 is removed\n"));
    let gone = "there is no callback 1 that waits or was given up\n";
    assert_eq!(shell.refused("callback retry 1", 1).await, gone);
}

#[tokio::test]
async fn events_are_shown_and_followed() {
    let mut pool = Pool::start(config()).await;
    let shell = Shell(&pool);
    is_up(&shell).await;
    let listed = timeless(&shell.out("events --kind node.health --node node1").await);
    assert_eq!(
        listed,
        "\
AT                        KIND         TEXT
TIME                      node.health  node node1 is up (was unknown)
"
    );
    let (mut child, mut lines) = start(&shell, "events --follow --limit 1 --kind node.");
    let first = lines.next_line().await.expect("text").expect("a line");
    assert!(first.contains("is up (was unknown)"), "{first}");
    shell.out("node cordon node0").await;
    let second = lines.next_line().await.expect("text").expect("a line");
    assert_eq!(
        timeless(&second),
        "TIME                      node.state         node node0 is to be cordoned (was ready)"
    );
    pool.node(1).set_call_fault("getMeetings", Some(sim::Fault::Status(500)));
    let third = lines.next_line().await.expect("text").expect("a line");
    assert!(third.contains("node node1 is suspect (was up)"), "{third}");
    // Whoever follows goes on after a restart.
    pool.restart().await;
    let shell = Shell(&pool);
    eventually("it follows the new one", async || {
        shell.out("node cordon node1").await;
        shell.out("node ready node1").await;
        let line = tokio::time::timeout(std::time::Duration::from_millis(100), lines.next_line());
        line.await.is_ok_and(|line| {
            line.expect("text").is_some_and(|line| line.contains("node1 is to be cordoned"))
        })
    })
    .await;
    let id = child.id().expect("it runs").to_string();
    let sent = std::process::Command::new("kill").args(["-INT", &id]).status();
    assert!(sent.expect("kill").success());
    assert_eq!(child.wait().await.expect("an end").code(), Some(0));
}

#[tokio::test]
async fn what_is_still_to_come_is_followed() {
    let pool = Pool::start(config()).await;
    let shell = Shell(&pool);
    is_up(&shell).await;
    let asked = async || {
        pool.metrics()
            .await
            .sum("portico_api_requests_total", &["api=\"portico\"", "method=\"GET\""])
    };
    let before = asked().await;
    let mut all = ["", " --limit 5"]
        .map(|limit| start(&shell, &format!("events --follow --node near{limit}")));
    // A cursor and a stream; of the second the list is refused first.
    eventually("both follow", async || asked().await > before + 4.5).await;
    let near = sim::Node::start(sim::Settings::default()).await.expect("a node");
    let secret = pool.config_path().with_file_name("node.yaml");
    std::fs::write(&secret, format!("secret: \"{}\"\n", near.secret())).expect("a file");
    let add = format!("node add near cluster=main url={} --file {}", near.url(), secret.display());
    shell.out(&add).await;
    for (_, lines) in &mut all {
        let line = lines.next_line().await.expect("text").expect("a line");
        assert!(line.contains("node near is "), "{line}");
    }
    // What is wrong for ever is refused.
    let said = shell.refused("events --follow --limit 5 --kind nodes.", 1).await;
    assert!(said.starts_with("kind: no kind of events begins so"), "{said}");
    near.stop().await;
}

#[tokio::test]
async fn a_node_is_explained_probed_and_removed_with_what_it_runs() {
    let pool = Pool::start(config().tenant(Tenant::new("other"))).await;
    let shell = Shell(&pool);
    is_up(&shell).await;
    assert_eq!(shell.out("node explain node0").await, "node node0 takes meetings\n");
    shell.out("node cordon node0").await;
    assert_eq!(
        shell.out("node explain node0").await,
        "\
WHAT IS WRONG                                     WHAT HELPS
an operator has cordoned it: it runs what it has  `portico node ready node0`
"
    );
    let probed = shell.out("node probe node0").await;
    assert!(probed.lines().any(|row| row.split_whitespace().eq(["ok", "true"])), "{probed}");
    pool.node(1).set_call_fault("getMeetings", Some(sim::Fault::Status(500)));
    let (code, stdout, stderr) = shell.run("node probe node1").await;
    assert_eq!((code, stderr.as_str()), (1, "node node1 does not answer as it should\n"));
    assert!(stdout.starts_with("WHAT IS WRONG "), "{stdout}");
    pool.node(1).set_call_fault("getMeetings", None);

    // One that answers nothing is not added, unless that is meant.
    let secret = pool.config_path().with_file_name("node.yaml");
    std::fs::write(&secret, "secret: a-secret-of-a-node-0123456789\n").expect("a file");
    let add = format!(
        "node add far cluster=main url=http://127.0.0.1:9/bigbluebutton/api --file {}",
        secret.display()
    );
    let refused = shell.refused(&add, 1).await;
    assert!(refused.starts_with("url: "), "{refused}");
    let added = shell.json(&format!("{add} --no-probe")).await;
    assert_eq!(added["name"], "far");
    shell.out("node delete far --yes").await;

    let real = sim::Node::start(sim::Settings::default()).await.expect("a node");
    std::fs::write(&secret, format!("secret: \"{}\"\n", real.secret())).expect("a file");
    let add = format!("node add near cluster=main url={} --file {}", real.url(), secret.display());
    assert_eq!(shell.json(&add).await["name"], "near");
    shell.out("node cordon node1").await;
    eventually("it is up", async || shell.json("node show near").await["status"]["health"] == "up")
        .await;
    for (tenant, id) in [("acme", "a1"), ("acme", "b1"), ("other", "c1")] {
        pool.tenant(tenant).create(id).await;
    }
    assert_eq!(
        shell.refused("node delete near --yes", 1).await,
        "node near runs meetings: 3, with 0 people in them. Drain it with `portico node drain near --wait` and \
         remove it then; `portico node delete near --force` ends them\n"
    );
    assert_eq!(
        shell.refused("node delete near --force", 2).await,
        "node near runs meetings: 3 (acme: 2, other: 1), with 0 people in them\n\
         end them all and remove node near? Say --yes: there is nobody to ask\n"
    );
    assert_eq!(real.meetings().len(), 3);
    let (code, _, stderr) = shell.run("node delete near --force --yes").await;
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.ends_with("node near is removed; meetings ended: 3\n"), "{stderr}");
    assert_eq!(shell.refused("node delete nowhere --force", 1).await, "there is no node nowhere\n");

    let instances = shell.json("instance list").await;
    assert_eq!(
        (&instances[0]["is_self"], instances.as_array().map(Vec::len)),
        (&true.into(), Some(1))
    );
    let capacity = shell.out("capacity").await;
    assert!(capacity.contains("configured.attendees"), "{capacity}");
    real.stop().await;
}

#[tokio::test]
async fn meetings_are_made_and_ended_as_a_tenant_and_as_an_operator() {
    let pool = Pool::start(config().tenant(Tenant::new("other").sub(5))).await;
    let shell = Shell(&pool);
    is_up(&shell).await;
    let created =
        shell.json("meeting create --tenant acme algebra record=false name=Algebra").await;
    assert_eq!(
        (&created["returncode"], &created["meetingID"]),
        (&"SUCCESS".into(), &"algebra".into())
    );
    shell.out("meeting create --tenant other-5 biology").await;
    let link = shell.out("meeting join --tenant acme algebra --name Ann --role viewer").await;
    assert_eq!(link.lines().count(), 1, "{link}");
    let target = link.trim().split_once("/bbb/").expect("a link").1;
    assert!(target.starts_with(
        "acme/bigbluebutton/api/join?fullName=Ann&meetingID=algebra&role=VIEWER&checksum="
    ));
    let joined =
        pool.tenant("acme").send(http::Method::GET, &format!("/bbb/{target}"), &[], "").await;
    assert_eq!(joined.status, 302, "{}", joined.body);
    let at = url::Url::parse(joined.header("location")).expect("the node's URL");
    let node = std::net::SocketAddr::from(([127, 0, 0, 1], at.port().expect("a port")));
    let target = at[url::Position::BeforePath..].to_owned();
    request(node, http::Method::GET, "node", &target, &[], "").await.expect("an answer");

    let running = shell.json("meeting list --tenant acme --running").await;
    assert_eq!(
        (&running[0]["name"], running.as_array().map(Vec::len)),
        (&"Algebra".into(), Some(1))
    );
    let id = running[0]["internal_id"].as_str().expect("an id").to_owned();
    let table = shell.out("meeting list").await;
    assert!(table.starts_with("INTERNAL ID "), "{table}");
    assert!(shell.out(&format!("meeting show {id}")).await.contains("Algebra"));
    eventually("the one who has joined is counted", async || {
        shell.json("meeting stats").await["total"]["attendees"] == 1
    })
    .await;
    assert_eq!(
        shell.out("meeting stats").await,
        "\
TENANT  MEETINGS  ATTENDEES  LISTENERS  VOICES  VIDEOS  MODERATORS
acme    1         1          0          0       0       0
other   1         0          0          0       0       0
(all)   2         1          0          0       0       0
"
    );
    let asked = shell.refused(&format!("meeting end {id}"), 2).await;
    assert!(asked.starts_with("end the meeting \"Algebra\" of tenant acme on node "), "{asked}");
    let (code, _, stderr) = shell.run(&format!("meeting end {id} --yes")).await;
    assert_eq!((code, stderr.as_str()), (0, format!("meeting {id} is ended\n").as_str()));
    // Another secret of the tenant does not see it; the right one ends it.
    assert_eq!(shell.run("meeting end --tenant other-5 biology --yes").await.0, 0);
    let asked = shell.refused("meeting end --tenant acme nothing", 2).await;
    assert!(asked.starts_with("end meeting \"nothing\" of tenant acme? "), "{asked}");
    let link = shell.out("meeting end --tenant acme nothing --print").await;
    assert!(link.contains("/end?meetingID=nothing&checksum="), "{link}");
    let gone = shell.refused("meeting end --tenant acme nothing --yes", 1).await;
    assert!(gone.starts_with("notFound: "), "{gone}");
    let wrong = pool.config_path().with_file_name("wrong");
    std::fs::write(&wrong, "a wrong secret\n").expect("a file");
    let create = format!("meeting create --tenant acme algebra --secret-file {}", wrong.display());
    assert!(shell.refused(&create, 1).await.starts_with("checksumError: "));
    assert!(!pool.log().contains("a wrong secret"));
}

#[tokio::test]
async fn links_are_signed_here_and_sent_nowhere() {
    let pool = Pool::start(config()).await;
    let shell = Shell(&pool);
    let acme = pool.tenant("acme");
    let link = shell.out("link --tenant acme getMeetingInfo meetingID=algebra").await;
    let query = portico::bbb::signed_query(
        portico::bbb::Algorithm::Sha256,
        "getMeetingInfo",
        b"meetingID=algebra",
        &acme.secret,
    );
    let base = format!("http://{}/bbb/acme/bigbluebutton/api", pool.address());
    assert_eq!(link, format!("{base}/getMeetingInfo?{query}\n"));
    // All of them are signed as they should be, whether there is such a meeting or not.
    let all = shell.json("link --tenant acme meetingID=algebra").await;
    let all = all.as_array().expect("a list");
    assert!(all.len() >= 16, "{all:?}");
    for one in all {
        let link = one["link"].as_str().expect("a link");
        assert!(!link.contains(&acme.secret), "{link}");
        let target = link.strip_prefix(&format!("http://{}", pool.address())).expect("ours");
        let reply = acme.send(http::Method::GET, target, &[], "").await;
        assert!(!reply.body.contains("checksumError"), "{link}: {}", reply.body);
    }
    let elsewhere = shell
        .out("link --tenant acme create name=A --server https://b.example/ --checksum sha1")
        .await;
    assert!(
        elsewhere
            .starts_with("https://b.example/bbb/acme/bigbluebutton/api/create?name=A&checksum=")
    );
    for (line, said) in [
        ("link --tenant acme frob", "is neither a call of BigBlueButton's API nor NAME=VALUE"),
        ("link --tenant acme create end", "one call at a time"),
        (
            "link --tenant nobody create",
            "the secret of tenant nobody is not in the configuration file",
        ),
        ("link --tenant acme create --server b.example", "is no URL of http or https"),
        ("link --tenant a_b create", "write a slug"),
    ] {
        let stderr = shell.refused(line, 2).await;
        assert!(stderr.contains(said), "{line}: {stderr}");
    }
}

#[tokio::test]
async fn several_secrets_are_added_at_once_and_listed_without_values() {
    let pool = Pool::start(config()).await;
    let shell = Shell(&pool);
    shell.out("tenant add beta cluster_group=default").await;
    shell.out("secret add beta 6").await;
    let added = shell.json("secret add beta 5-8").await;
    let ids: Vec<_> = added.as_array().expect("a list").iter().map(|one| &one["sub_id"]).collect();
    assert_eq!(ids, [5, 7, 8]);
    let secret = added[0]["secret"].as_str().expect("shown once").to_owned();
    let client = pool.tenant("acme").base("/bbb/beta-5/bigbluebutton/api").secret(&secret);
    assert!(client.get("getMeetings", "").await.is_success());
    assert_eq!(
        shell.out("secret list beta").await,
        "\
TENANT  SUB ID  MEETINGS  ATTENDEES  TWO VALUES
beta    0       0         0          false
beta    5       0         0          false
beta    6       0         0          false
beta    7       0         0          false
beta    8       0         0          false
"
    );
    assert_eq!(shell.out("secret list").await.lines().count(), 7);
    assert!(!shell.json("secret list").await.to_string().contains(&secret));
    assert!(
        shell.refused("secret add beta 8-5", 2).await.contains("the first comes before the last")
    );
}
