//! The program as a client of its own API: real runs against a real Portico.

use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::harness::{Client, Config, Pool, Tenant, eventually, portico, portico_with};

pub(crate) const KEY: &str = "a-key-that-signs-tokens-0123456789abcdef";

pub(crate) fn config() -> Config {
    Config::new().nodes(2).set("api.jwt_secret", KEY).tenant(Tenant::new("acme"))
}

/// Who has the configuration file.
pub(crate) struct Shell<'p>(pub(crate) &'p Pool);

impl Shell<'_> {
    pub(crate) fn file(&self) -> &str {
        self.0.config_path().to_str().expect("UTF-8")
    }

    /// Exit code, standard output and standard error, without what differs from run to run.
    pub(crate) async fn run(&self, line: &str) -> (i32, String, String) {
        let words: Vec<_> = line.split_whitespace().chain(["-c", self.file()]).collect();
        let done = portico(&words).await;
        let mut texts = [done.stdout, done.stderr];
        for text in &mut texts {
            for (index, node) in self.0.nodes().iter().enumerate() {
                *text = text.replace(&node.url(), &format!("URL{index}"));
            }
        }
        let [stdout, stderr] = texts;
        (done.code, stdout, stderr)
    }

    /// What it prints when all is well.
    pub(crate) async fn out(&self, line: &str) -> String {
        let (code, stdout, stderr) = self.run(line).await;
        assert_eq!(code, 0, "{line}: {stderr}");
        stdout
    }

    pub(crate) async fn json(&self, line: &str) -> Value {
        let stdout = self.out(&format!("{line} --output json")).await;
        serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("{line}: no JSON: {stdout}"))
    }

    /// What it says when it does not do it.
    pub(crate) async fn refused(&self, line: &str, code: i32) -> String {
        let (found, stdout, stderr) = self.run(line).await;
        assert_eq!((found, stdout.as_str()), (code, ""), "{line}: {stderr}");
        stderr
    }
}

fn beta(pool: &Pool, secret: &str) -> Client {
    pool.tenant("acme").base("/bbb/beta/bigbluebutton/api").secret(secret)
}

#[tokio::test]
async fn a_tenant_is_added_changed_and_removed() {
    let pool = Pool::start(config()).await;
    let shell = Shell(&pool);
    let added = shell
        .json("tenant add beta cluster_group=default limits.meetings=2 name=7 domains=[b.example]")
        .await;
    assert_eq!((&added["name"], &added["limits"]["meetings"]), (&"7".into(), &2.into()));
    let secret = added["secrets"][0]["secret"].as_str().expect("it is shown once").to_owned();
    assert!(secret.len() >= 42, "{secret}");
    beta(&pool, &secret).create("room").await;
    eventually("the meeting is counted", async || {
        shell.json("tenant show beta").await["status"]["meetings"] == 1
    })
    .await;
    assert_eq!(
        shell.out("tenant list").await,
        "\
SLUG  NAME  GROUP    DOMAINS    SECRETS  MEETINGS  ATTENDEES  ORIGIN
acme  acme  default             0        0         0          file
beta  7     default  b.example  0        1         0          api
"
    );
    let file = pool.config_path().with_file_name("patch.yaml");
    std::fs::write(&file, "limits: {meetings: 1}\nrecording: {enabled: false}\n").expect("a file");
    let shown =
        shell.out(&format!("tenant set beta name=Bee domains= --file {}", file.display())).await;
    let rows: Vec<Vec<_>> = shown.lines().map(|row| row.split_whitespace().collect()).collect();
    for row in [
        &["name", "Bee"][..],
        &["cluster_group", "default"],
        &["domains"],
        &["limits.meetings", "1"],
        &["recording.enabled", "false"],
        &["secrets[0].sub_id", "0"],
        &["origin", "api"],
    ] {
        assert!(rows.iter().any(|found| found == row), "{row:?}: {shown}");
    }
    assert!(!beta(&pool, &secret).get("create", "meetingID=b&name=Bee").await.is_success());
    let yaml = shell.out("tenant show beta -o yaml").await;
    assert!(yaml.starts_with("name: Bee\nslug: beta\nbranding:\n"), "{yaml}");
    assert!(!shown.contains(&secret) && !yaml.contains(&secret));

    assert_eq!(
        shell.refused("tenant delete beta", 2).await,
        "remove tenant beta? Say --yes: there is nobody to ask\n"
    );
    assert_eq!(
        shell.refused("tenant delete beta --yes", 1).await,
        "tenant beta has running meetings: 1, with 0 people in them. Wait until they are over; `portico tenant delete \
         beta --force` removes it and ends them\n"
    );
    let asked = shell.refused("tenant delete beta --force", 2).await;
    assert!(asked.starts_with("tenant beta has running meetings: 1, with 0 people"), "{asked}");
    let (code, stdout, stderr) = shell.run("tenant delete beta --force --yes").await;
    assert!(stderr.ends_with("tenant beta is removed; meetings ended: 1\n"), "{stderr}");
    assert_eq!((code, stdout.as_str()), (0, ""));
    assert_eq!(shell.refused("tenant show beta", 1).await, "there is no tenant beta\n");
    let trail = shell.json("changes --limit 3").await;
    let actions = [0, 1, 2].map(|at| trail[at]["action"].as_str().unwrap_or_default());
    assert_eq!(actions, ["force", "delete", "update"]);
    let table = shell.out("changes").await;
    assert_eq!(table.lines().count(), 5, "{table}");
    assert!(!table.contains(&secret) && !pool.log().contains(&secret));
}

#[tokio::test]
async fn what_is_wrong_is_told_by_its_field_and_exit_code() {
    let pool = Pool::start(config()).await;
    let shell = Shell(&pool);
    for (line, code, said) in [
        ("tenant add b cluster_group=west limits.meetings=many", 1, "limits.meetings: "),
        ("tenant add b cluster_group=west", 1, "cluster_group: "),
        ("node add n cluster=main url=http://192.0.2.1/", 1, "secret: "),
        ("cluster set main policy=b3lb", 1, "configuration file"),
        ("cluster delete none --yes", 1, "there is no cluster none"),
        ("cluster-group show a/b?c", 1, "there is no cluster group a/b?c"),
        ("node set node0", 2, "nothing to set"),
        ("node set node0 --file /nowhere.yaml", 2, "/nowhere.yaml: No such file"),
        ("node set node0 weight", 2, "KEY=VALUE"),
        ("secret add acme 1000", 2, "1000 is not in 0..=999"),
        ("node frob", 2, "unrecognized subcommand 'frob'"),
    ] {
        let stderr = shell.refused(line, code).await;
        assert!(stderr.contains(said), "{line}: {stderr}");
    }
    let nowhere = portico(&["node", "list"]).await;
    assert_eq!(nowhere.code, 2);
    assert!(nowhere.stderr.contains("PORTICO_API"), "{}", nowhere.stderr);
    let closed = [("PORTICO_API", "http://127.0.0.1:1"), ("PORTICO_TOKEN", "x")];
    let closed = portico_with(&closed, &["node", "list"]).await;
    assert_eq!(closed.code, 1);
    assert!(closed.stderr.contains("Connection refused"), "{}", closed.stderr);
    let off = Pool::start(Config::new().set("api.socket", false)).await;
    let stderr = Shell(&off).refused("node list", 2).await;
    assert!(stderr.contains("api.jwt_secret is missing"), "{stderr}");
}

#[tokio::test]
async fn a_token_of_the_environment_may_what_its_scope_says() {
    let pool = Pool::start(config()).await;
    let shell = Shell(&pool);
    let token = shell.out("token create --scope operator --subject ann").await;
    let api = format!("http://{}/", pool.admin_address());
    let env = [("PORTICO_API", api.as_str()), ("PORTICO_TOKEN", token.as_str())];
    let listed = portico_with(&env, &["cluster-group", "list"]).await;
    assert_eq!(listed.stderr, "");
    assert_eq!(listed.stdout, "NAME     CLUSTERS  ORIGIN\ndefault  main      file\n");
    let refused = portico_with(&env, &["node", "cordon", "node0"]).await;
    assert_eq!(refused.code, 1);
    assert_eq!(refused.stderr, "the token needs the scope portico:admin\n");

    let tokens = shell.json("token list").await;
    let ann = tokens.as_array().and_then(|all| all.iter().find(|one| one["subject"] == "ann"));
    let id = ann.expect("it was used")["id"].as_str().expect("an id").to_owned();
    shell.refused(&format!("token revoke {id}"), 2).await;
    shell.out(&format!("token revoke {id} --yes")).await;
    let revoked = portico_with(&env, &["cluster-group", "list"]).await;
    assert_eq!((revoked.code, revoked.stderr.as_str()), (1, "the token was revoked\n"));
    // However often it is called, a user's own tokens are one a day.
    let tokens = shell.json("token list").await;
    assert!(tokens.as_array().is_some_and(|all| all.len() <= 3), "{tokens}");
}

#[tokio::test]
async fn a_node_is_drained_while_somebody_watches() {
    let pool = Pool::start(config()).await;
    let shell = Shell(&pool);
    eventually("both are up", async || {
        let nodes = shell.json("node list").await;
        nodes.as_array().is_some_and(|all| all.iter().all(|one| one["status"]["health"] == "up"))
    })
    .await;
    assert_eq!(
        shell.out("node cordon node1").await,
        "\
NAME   CLUSTER  STATE     HEALTH  MEETINGS  ATTENDEES  LOAD  ORIGIN  URL
node1  main     cordoned  up      0         0          0     file    URL1
"
    );
    let acme = pool.tenant("acme");
    acme.get("create", "name=Algebra&meetingID=algebra&moderatorPW=mp").await.success();
    let start = || {
        let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_portico"))
            .args(["node", "drain", "node0", "--wait", "-c", shell.file()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the program starts");
        let lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        (child, lines)
    };
    let (mut child, mut said) = start();
    let first = said.next_line().await.expect("text");
    assert_eq!(first.as_deref(), Some("node node0: meetings: 1, people: 0"));
    let id = child.id().expect("it runs").to_string();
    let sent = std::process::Command::new("kill").args(["-INT", &id]).status();
    assert!(sent.expect("kill").success());
    let last = said.next_line().await.expect("text").expect("a line");
    assert_eq!(last, "node node0 goes on draining; `portico node ready node0` takes that back");
    assert_eq!(child.wait().await.expect("an end").code(), Some(1));
    assert_eq!(shell.json("node show node0").await["state"], "draining");

    let (child, mut said) = start();
    assert_eq!(said.next_line().await.expect("text"), first);
    acme.get("end", "meetingID=algebra&password=mp").await.success();
    let empty = said.next_line().await.expect("text");
    assert_eq!(empty.as_deref(), Some("node node0: meetings: 0, people: 0"));
    let done = child.wait_with_output().await.expect("an end");
    assert_eq!(done.status.code(), Some(0));
    let table = String::from_utf8(done.stdout).expect("UTF-8");
    assert!(table.contains("node0  main     draining  up "), "{table}");
    assert!(shell.out("node ready node0").await.contains(" ready "));
}

#[tokio::test]
async fn secrets_are_made_rolled_over_and_removed() {
    let pool = Pool::start(config()).await;
    let shell = Shell(&pool);
    let first = shell.json("tenant add beta cluster_group=default").await;
    let first = first["secrets"][0]["secret"].as_str().expect("a secret").to_owned();
    let serves = async |secret: &str| beta(&pool, secret).get("getMeetings", "").await.is_success();
    let (code, stdout, stderr) = shell.run("secret add beta 7").await;
    assert_eq!((code, stderr.as_str()), (0, "secret 7 of tenant beta, shown only now:\n"));
    let seventh = stdout.trim();
    assert!(seventh.len() >= 42, "{seventh}");
    let base = "/bbb/beta-7/bigbluebutton/api";
    let sub = pool.tenant("acme").base(base).secret(seventh).get("getMeetings", "").await;
    assert!(sub.is_success(), "{}", sub.body);
    let twice = shell.refused("secret add beta 7", 1).await;
    assert_eq!(twice, "tenant beta has a secret 7: rotate it, or take another number\n");
    let missing = shell.refused("secret rotate beta 8", 1).await;
    assert_eq!(missing, "there is no secret 8 of tenant beta\n");

    let second = shell.out("secret rotate beta 0").await.trim().to_owned();
    assert!(serves(&first).await && serves(&second).await);
    // A second rollover would end the value that front ends may have by now.
    let again = shell.refused("secret rotate beta 0", 2).await;
    assert!(again.contains("end the second value that secret 0 of tenant beta has"), "{again}");
    assert!(serves(&second).await);
    let file = pool.config_path().with_file_name("secret");
    std::fs::write(&file, format!("{second}\n")).expect("a file");
    let end = format!("secret rotate beta 0 --now --value-file {}", file.display());
    assert!(shell.refused(&end, 2).await.contains("--yes"));
    let (code, stdout, stderr) = shell.run(&format!("{end} --yes")).await;
    assert_eq!((code, stdout.as_str()), (0, ""), "{stderr}");
    assert!(!serves(&first).await && serves(&second).await);
    shell.out("secret delete beta 7 --yes").await;
    let main = shell.refused("secret delete beta 0 --yes", 1).await;
    assert!(main.starts_with("secrets: "), "{main}");
    assert!(serves(&second).await);
}

/// Whoever comes second is refused, whether he sees what the first has done or not: the value that the first was
/// shown counts.
#[tokio::test]
async fn of_two_who_rotate_a_secret_one_is_refused() {
    let pool = Pool::start(config()).await;
    let shell = Shell(&pool);
    shell.out("tenant add beta cluster_group=default").await;
    let line = "secret rotate beta 0";
    let all = tokio::join!(shell.run(line), shell.run(line), shell.run(line), shell.run(line));
    let (done, refused): (Vec<_>, Vec<_>) =
        [all.0, all.1, all.2, all.3].into_iter().partition(|(code, ..)| *code == 0);
    assert_eq!((done.len(), refused.len()), (1, 3), "{refused:?}");
    assert!(beta(&pool, done[0].1.trim()).get("getMeetings", "").await.is_success());
    for (_, stdout, stderr) in refused {
        let is_said = stderr.contains("a rollover of secret 0 of tenant beta is going on")
            || stderr.contains("end the second value that secret 0 of tenant beta has already");
        assert!(!stderr.contains("PATCH"), "{stderr}");
        assert!(is_said && stdout.is_empty(), "{stderr}");
    }
}

#[tokio::test]
async fn shells_can_complete() {
    for shell in ["bash", "zsh", "fish"] {
        let done = portico(&["completions", shell]).await;
        assert_eq!(done.code, 0, "{}", done.stderr);
        assert!(done.stdout.contains("cluster-group"), "{shell}");
    }
}

#[tokio::test]
async fn a_file_is_applied_after_its_difference_was_looked_at() {
    let pool = Pool::start(config()).await;
    let shell = Shell(&pool);
    let added = portico::sim::Node::start(portico::sim::Settings::default()).await.expect("a node");
    let path = pool.config_path().with_file_name("inventory.yaml");
    let write = |meetings: u32, more: &str| {
        let (url, secret) = (added.url(), added.secret());
        let text = format!(
            "server: {{ threads: 1 }}
clusters:
  - name: main
  - name: west
    nodes:
      - {{ name: far, url: {url}, secret: \"{secret}\" }}
cluster_groups:
  - {{ name: wests, clusters: [west] }}
tenants:
  - slug: beta
    cluster_group: wests
    limits: {{ meetings: {meetings} }}
{more}"
        );
        std::fs::write(&path, text).expect("a file");
    };
    let own = "    secrets: [{ sub_id: 0, secret: { file: beta.secret } }]\n";
    let secret = "the-secret-of-beta-0123456789abcdefghijklmnop";
    std::fs::write(path.with_file_name("beta.secret"), format!("{secret}\n")).expect("a file");
    let apply = format!("apply {}", path.display());
    let dry = format!("{apply} --dry-run");

    write(2, "");
    let wrong = shell.run(&apply).await;
    assert_eq!((wrong.0, wrong.1.as_str()), (2, ""), "{}", wrong.2);
    assert!(wrong.2.contains("tenant beta: secrets: "), "{}", wrong.2);
    write(2, own);
    let planned = "\
+ cluster west
    name: west
+ cluster group wests
    clusters: west
    name: wests
+ node far
    cluster: west
    name: far
    secret: (set)
    url: URL
+ tenant beta
    cluster_group: wests
    limits.meetings: 2
    secrets[0].secret: (set)
    secrets[0].sub_id: 0
    slug: beta
"
    .replace("URL", &added.url());
    let (code, stdout, stderr) = shell.run(&dry).await;
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(
        stderr,
        "server is no part of the inventory: skipped\n\
         cluster main stands in the configuration file: skipped\n"
    );
    let end = "added: 4, changed: 0, removed: 0, the same: 0\n";
    assert_eq!(stdout, format!("{planned}would be {end}"));
    assert!(shell.json("changes").await.as_array().is_some_and(Vec::is_empty));
    assert_eq!(shell.out(&apply).await, format!("{planned}{end}"));
    let changes = shell.json("changes").await;
    let same = "added: 0, changed: 0, removed: 0, the same: 4\n";
    assert_eq!(shell.out(&apply).await, same);
    assert_eq!(shell.json("changes").await, changes, "nothing was changed");
    assert!(shell.refused("node set far state=cordoned", 2).await.contains("node cordon"));
    let csv = shell.refused("secret rotate beta 0 --now --yes -o csv", 2).await;
    assert!(csv.contains("only statistics"), "{csv}");
    eventually("it is up", async || shell.json("node show far").await["status"]["health"] == "up")
        .await;
    beta(&pool, secret).create("room").await;
    assert_eq!(added.meetings().len(), 1);

    // Secrets that are not named stay, and so does what is the same.
    write(5, "");
    let before = shell.json("changes").await;
    assert_eq!(
        shell.out(&dry).await,
        "\
~ node far
    secret: (set)
~ tenant beta
    limits.meetings: 2 → 5
would be added: 0, changed: 2, removed: 0, the same: 2
"
    );
    assert_eq!(shell.json("changes").await, before);
    assert_eq!(
        shell.out(&apply).await,
        "\
~ tenant beta
    limits.meetings: 2 → 5
added: 0, changed: 1, removed: 0, the same: 3
"
    );
    assert_eq!(beta(&pool, secret).listed().await, ["room"]);

    // What was exported is what there is.
    let exported = shell.out("export").await;
    assert!(!exported.contains(secret) && exported.contains("slug: beta"), "{exported}");
    std::fs::write(&path, &exported).expect("a file");
    let nothing = "added: 0, changed: 0, removed: 0, the same: 4\n";
    assert_eq!(shell.out(&format!("{apply} --prune")).await, nothing);
    assert!(shell.refused("export --with-secrets", 2).await.contains("cannot be exported"));

    std::fs::write(&path, "tenant: []\n").expect("a file");
    let slip = shell.refused(&format!("{apply} --prune --yes"), 2).await;
    assert!(slip.contains("tenant: is no key here"), "{slip}");
    // A section that is not there takes nothing away, and what it keeps others must not be taken from.
    std::fs::write(&path, "cluster_groups: []\ntenants:\n").expect("a file");
    let asked = shell.refused(&format!("{apply} --prune"), 2).await;
    let kept = "tenant beta: cluster_group: there is no cluster group \"wests\"";
    assert!(asked.starts_with(kept), "{asked}");
    std::fs::write(&path, "clusters: []\ncluster_groups: []\ntenants: []\n").expect("a file");
    let asked = shell.refused(&format!("{apply} --prune"), 2).await;
    let all = "remove tenant beta, node far, cluster group wests, cluster west? ";
    assert!(asked.starts_with(all), "{asked}");
    // Nobody is thrown out by a file.
    let (code, _, busy) = shell.run(&format!("{apply} --prune --yes")).await;
    let remedy = "over; `portico tenant delete beta --force` removes it and ends them";
    assert!(code == 1 && busy.contains(remedy), "{busy}");
    let busy = shell.refused("node delete far --yes", 1).await;
    assert!(busy.contains("node far runs meetings: 1"), "{busy}");
    beta(&pool, secret).get("end", "meetingID=room").await;
    eventually("a poll has seen it", async || {
        shell.json("node show far").await["status"]["meetings"] == 0
    })
    .await;
    assert_eq!(
        shell.out(&format!("{apply} --prune --yes")).await,
        "- tenant beta\n- node far\n- cluster group wests\n- cluster west\n\
         added: 0, changed: 0, removed: 4, the same: 0\n"
    );
    added.stop().await;
}

#[tokio::test]
async fn what_one_object_gives_up_another_takes_in_one_file() {
    let pool = Pool::start(config()).await;
    let shell = Shell(&pool);
    let added = portico::sim::Node::start(portico::sim::Settings::default()).await.expect("a node");
    let path = pool.config_path().with_file_name("inventory.yaml");
    let write = |node: &str, [alpha, zeta]: [&str; 2]| {
        let (url, secret) = (added.url(), added.secret());
        let own = "secrets: [{sub_id: 0, secret: the-secret-of-both-0123456789abcdefghijklmnop}]";
        let text = format!(
            "clusters: [{{ name: west, nodes: [{{ name: {node}, url: {url}, secret: \"{secret}\" }}] }}]
cluster_groups: [{{ name: wests, clusters: [west] }}]
tenants:
  - {{ slug: alpha, cluster_group: wests, domains: [{alpha}], {own} }}
  - {{ slug: zeta, cluster_group: wests, domains: [{zeta}], {own} }}
"
        );
        std::fs::write(&path, text).expect("a file");
    };
    let apply = format!("apply {} --prune --yes", path.display());
    write("near", ["a.example", "b.example"]);
    shell.out(&apply).await;
    // In the order of names each is in the way of the first.
    write("far", ["b.example", "c.example"]);
    let done = shell.out(&apply).await;
    assert!(done.ends_with("added: 1, changed: 2, removed: 1, the same: 2\n"), "{done}");
    assert_eq!(shell.json("tenant show alpha").await["domains"][0], "b.example");
    // Nobody gives it up.
    write("far", ["b.example", "b.example"]);
    let refused = shell.run(&apply).await;
    assert_eq!(refused.0, 2, "{}", refused.1);
    assert!(refused.2.contains("tenant zeta: domains"), "{}", refused.2);
    added.stop().await;
}
