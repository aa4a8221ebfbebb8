//! What operators mistype, over the API and on the command line: refused by its name, with what helps.

use http::Method;
use serde_json::{Value, json};

use crate::api::{KEY, Operator, config, fields, json_of};
use crate::command_line_api::Shell;
use crate::harness::{Plan, Pool, Reply, eventually, portico, portico_with, request};

/// Every field that is wrong, and why.
fn told(reply: &Reply) -> Vec<String> {
    assert_eq!(reply.status, 422, "{}", reply.body);
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let errors = json_of(reply)["errors"].as_array().expect("a list").clone();
    let line = |one: &Value| format!("{}: {}", text(&one["field"]), text(&one["detail"]));
    errors.iter().map(line).collect()
}

async fn another_node() -> portico::sim::Node {
    portico::sim::Node::start(portico::sim::Settings::default()).await.expect("a node")
}

#[tokio::test]
async fn keys_and_members_that_are_there_twice_are_refused_by_name() {
    let pool = Pool::start(config()).await;
    let admin = Operator::of(&pool, "admin").await;
    let send = async |method: Method, path: &str, body: &str| {
        let headers = [
            ("authorization".to_owned(), format!("Bearer {}", admin.token)),
            ("content-type".to_owned(), "application/json".to_owned()),
        ];
        let path = format!("/api/portico/v1{path}");
        let address = pool.admin_address();
        request(address, method, "admin", &path, &headers, body.to_owned())
            .await
            .expect("an answer")
    };
    let twice = send(
        Method::POST,
        "/tenants",
        r#"{"slug": "beta", "slug": "gamma", "cluster_group": "default",
            "limits": {"meetings": 1, "meetings": 2}, "secrets": [{"sub_id": 0, "sub_id": 1}]}"#,
    );
    let said = "stands there twice: keep one of them";
    assert_eq!(
        told(&twice.await),
        [
            format!("slug: {said}"),
            format!("limits.meetings: {said}"),
            format!("secrets[0].sub_id: {said}")
        ]
    );
    assert_eq!(send(Method::GET, "/tenants/gamma", "").await.status, 404);
    let patch = send(Method::PATCH, "/tenants/acme", r#"{"name": "A", "name": "B"}"#).await;
    assert_eq!(told(&patch), [format!("name: {said}")]);

    let tenant = json!({
        "slug": "beta", "cluster_group": "default", "required_tags": ["sip", "sip"],
        "domains": ["b.example", "B.example"], "checksums": ["sha1", "sha1"],
        "secrets": [{"sub_id": 0}, {"sub_id": 7}, {"sub_id": 7}],
    });
    let reply = admin.call(Method::POST, "/tenants", Some(tenant)).await;
    assert_eq!(
        told(&reply),
        [
            "domains[1]: \"b.example\" is already the domain at domains[0]; give each its own",
            "required_tags[1]: \"sip\" stands at required_tags[0] already; once is enough",
            "secrets[2].sub_id: \"7\" is already the sub_id at secrets[1].sub_id; give each its own",
            "checksums[1]: \"sha1\" is already the checksum at checksums[0]; give each its own",
        ]
    );
    let group = json!({"name": "all", "clusters": ["main", "main"]});
    let reply = admin.call(Method::POST, "/cluster-groups", Some(group)).await;
    assert_eq!(fields(&reply), ["clusters[1]"]);
}

#[tokio::test]
async fn the_command_line_takes_no_field_twice_either() {
    let pool = Pool::start(config()).await;
    let shell = Shell(&pool);
    let line = "tenant set acme limits.meetings=1 name=A limits.meetings=2";
    assert_eq!(shell.refused(line, 2).await, "limits.meetings: is set twice: keep one of them\n");
    let file = pool.config_path().with_file_name("twice.yaml");
    for text in ["name: A\nname: B\n", "{\"name\": \"A\",\n\"name\": \"B\"}"] {
        std::fs::write(&file, text).expect("a file");
        let line = format!("tenant set acme --file {}", file.display());
        let said = format!(
            "{}:2: the key \"name\" stands there twice: keep one of them\n",
            file.display()
        );
        assert_eq!(shell.refused(&line, 2).await, said);
    }
}

#[tokio::test]
async fn filters_that_name_nothing_are_told() {
    let pool = Pool::start(config()).await;
    let admin = Operator::of(&pool, "admin").await;
    for (path, said) in [
        (
            "/nodes?cluster=mian",
            "cluster: there is no cluster \"mian\", nor is anything of one in this list; did you mean \"main\"?",
        ),
        (
            "/tenants?cluster_group=zz",
            "cluster_group: there is no cluster group \"zz\", nor is anything of one in this list; ask for the list of cluster groups, or leave the filter out",
        ),
        (
            "/meetings?tenant=amce",
            "tenant: there is no tenant \"amce\", nor is anything of one in this list; did you mean \"acme\"?",
        ),
        (
            "/meetings?node=node7",
            "node: there is no node \"node7\", nor is anything of one in this list; did you mean \"node",
        ),
        ("/callbacks?tenant=amce", "tenant: there is no tenant"),
        ("/callbacks?tenant=A%20B", "tenant: there is no tenant"),
        ("/events?tenant=amce", "tenant: there is no tenant"),
        ("/events?node=node7", "node: there is no node"),
        (
            "/events?kind=nodes.",
            "kind: no kind of events begins so; they are node.health, node.state",
        ),
        (
            "/meetings?limit=-1",
            "limit: \"-1\" is not a whole number; write digits alone, such as 100",
        ),
        ("/meetings?limit=0", "limit: is not a number of 1 to 1000"),
        (
            "/meetings?limit=99999999999999999999999",
            "limit: \"99999999999999999999999\" is too large",
        ),
        ("/changes?limit=101", "limit: is not a number of 1 to 100"),
    ] {
        let lines = told(&admin.call(Method::GET, path, None).await);
        assert!(lines.len() == 1 && lines[0].starts_with(said), "{path}: {lines:?}");
    }
    // What is there and has nothing is an empty list, and so is a tag that no node has.
    for path in ["/meetings?tenant=acme&node=node1", "/nodes?tag=sip", "/callbacks?tenant=acme"] {
        assert_eq!(admin.get(path).await["items"], json!([]), "{path}");
    }
    // What is left of a tenant that is gone is listed.
    let beta = json!({"slug": "beta", "cluster_group": "default"});
    let added = json_of(&admin.call(Method::POST, "/tenants", Some(beta)).await);
    let secret = added["secrets"][0]["secret"].as_str().expect("a secret").to_owned();
    let front_end = pool.tenant("acme").base("/bbb/beta/bigbluebutton/api").secret(&secret);
    front_end.create("room").await.success();
    let removed = admin.call(Method::DELETE, "/tenants/beta?force=true", None).await;
    assert_eq!(removed.status, 200, "{}", removed.body);
    let left = admin.get("/events?tenant=beta").await;
    assert!(left["items"].as_array().is_some_and(|left| !left.is_empty()), "{left}");
    // A tenant learns of no node that has nothing of its own.
    let token = crate::api::token(&pool, &["--scope", "tenant", "--tenant", "acme"]).await;
    let own = Operator { pool: &pool, token };
    for node in ["node0", "node7"] {
        assert_eq!(own.get(&format!("/meetings?node={node}")).await, json!({"items": []}));
    }
}

#[tokio::test]
async fn a_node_is_asked_before_its_url_or_secret_changes() {
    let pool = Pool::start(config()).await;
    let shell = Shell(&pool);
    let (node, other) = (another_node().await, another_node().await);
    let (url, secret) = (node.url(), node.secret().to_owned());
    let file = pool.config_path().with_file_name("node.yaml");
    let write = |text: String| std::fs::write(&file, text).expect("a file");
    let file = file.display();
    write(format!("cluster: main\nurl: {url}\nsecret: {secret}\n"));
    shell.out(&format!("node add far --file {file}")).await;
    let before = shell.json("changes").await;
    let gone = another_node().await;
    let closed = gone.url();
    gone.stop().await;
    write("secret: wrong\n".to_owned());
    for (change, said) in [
        (format!("url={closed}"), "url: it refuses the connection"),
        (format!("--file {file}"), "url: it refuses our checksum (sha256): the secret is wrong"),
    ] {
        let stderr = shell.refused(&format!("node set far {change}"), 1).await;
        let is_told = stderr.starts_with(said) || stderr.contains("refused");
        assert!(is_told && stderr.starts_with("url: "), "{change}: {stderr}");
    }
    assert_eq!(shell.json("changes").await, before, "nothing was changed");
    // What does not change is not asked about, and neither is what is not there yet.
    node.set_fault(Some(portico::sim::Fault::Status(502)));
    shell.out(&format!("node set far weight=2 url={url}")).await;
    shell.out(&format!("node set far --no-probe url={closed}")).await;
    write(format!("url: {}\nsecret: {}\n", other.url(), other.secret()));
    let good = shell.out(&format!("node set far --file {file}")).await;
    assert!(good.contains(&other.url()), "{good}");
    // What stands in the file is not asked about.
    let stderr = shell.refused(&format!("node set node0 url={closed}"), 1).await;
    assert!(stderr.contains("stands in the configuration file"), "{stderr}");
    let stderr = shell.refused(&format!("node set nobody url={closed}"), 1).await;
    assert_eq!(stderr, "there is no node nobody\n");
}

#[tokio::test]
async fn tokens_that_nobody_can_mean_are_not_made() {
    let pool = Pool::start(config()).await;
    let shell = Shell(&pool);
    for (arguments, said) in [
        ("--expires 0s", "such a token would never be good; write 1s or more"),
        ("--expires 500ms", "such a token would never be good"),
        ("--expires 30", "write a number and a unit, such as 30d"),
        ("--expires 1000years", "is more than 100 years; leave it out"),
        ("--subject=", "must not be empty"),
    ] {
        let stderr = shell.refused(&format!("token create --scope admin {arguments}"), 2).await;
        assert!(stderr.contains(said), "{arguments}: {stderr}");
    }
    assert!(shell.out("token create --scope admin --expires 1s").await.starts_with("ey"));
    assert!(KEY.len() >= 32);
}

#[tokio::test]
async fn what_is_one_is_printed_as_one_and_lists_have_items() {
    let pool = Pool::start(config()).await;
    let shell = Shell(&pool);
    for verb in ["cordon", "drain", "ready"] {
        let node = shell.json(&format!("node {verb} node0")).await;
        assert_eq!(node["name"], "node0", "{verb}: {node}");
    }
    let yaml = shell.out("node ready node0 -o yaml").await;
    assert!(yaml.starts_with("name: node0\n"), "{yaml}");
    let admin = Operator::of(&pool, "admin").await;
    eventually("it takes meetings", async || {
        admin.get("/nodes/node0/explanation").await == json!({"items": []})
    })
    .await;
    assert_eq!(admin.get("/instances").await["items"][0]["is_self"], true);
    assert_eq!(shell.json("node explain node0").await, json!([]));
    assert_eq!(shell.json("instance list").await[0]["is_self"], true);
}

/// A file with one tenant more.
fn with_tenant(yaml: &str, slug: &str, domain: &str) -> String {
    let secret = "another-secret-0123456789abcdefghijklmnopqrst";
    let own = format!(
        "  - slug: {slug}\n    cluster_group: default\n    domains: [{domain}]\n    \
         secrets: [{{ sub_id: 0, secret: {secret} }}]\n"
    );
    yaml.replace("tenants:\n", &format!("tenants:\n{own}"))
}

#[tokio::test]
async fn a_check_compares_the_file_with_what_is_in_postgres() {
    let config = config().set("store.key", "the-key-of-all-instances-0123456789");
    let cluster = Plan::new(config, 1).without_redis().start().await;
    let pool = cluster.instance(0);
    let admin = Operator::of(pool, "admin").await;
    let beta = json!({"slug": "beta", "cluster_group": "default", "domains": ["beta.example"]});
    assert_eq!(admin.call(Method::POST, "/tenants", Some(beta)).await.status, 201);
    let path = pool.config_path().display().to_string();
    let fine = portico(&["check", "-c", &path]).await;
    assert_eq!((fine.code, fine.stderr.as_str()), (0, ""), "{}", fine.stdout);
    pool.rewrite_config(&with_tenant(&pool.config_yaml(), "gamma", "beta.example"));
    let refused = portico(&["check", "-c", &path]).await;
    assert_eq!((refused.code, refused.stdout.as_str()), (2, ""), "{}", refused.stderr);
    assert!(refused.stderr.contains("tenant beta: domains: "), "{}", refused.stderr);
}

#[tokio::test]
async fn a_check_compares_the_file_with_what_came_through_the_api() {
    let mut pool = Pool::start(config()).await;
    let admin = Operator::of(&pool, "admin").await;
    let beta = json!({"slug": "beta", "cluster_group": "default", "domains": ["beta.example"]});
    assert_eq!(admin.call(Method::POST, "/tenants", Some(beta)).await.status, 201);
    let good = pool.config_yaml();
    let (steals, takes) =
        (with_tenant(&good, "gamma", "beta.example"), with_tenant(&good, "beta", "beta.example"));
    assert!(steals != good, "{good}");
    let data = pool.dir().join("data");
    let listed = || {
        let all = std::fs::read_dir(&data).expect("a directory");
        let mut all: Vec<_> = all.map(|one| one.expect("an entry").file_name()).collect();
        all.sort();
        all
    };
    let path = pool.config_path().display().to_string();
    let check = async || portico(&["check", "-c", &path]).await;
    // While it runs, and when it does not.
    for is_running in [true, false] {
        if !is_running {
            pool.rewrite_config(&good);
            pool.signal("TERM");
            pool.ended().await;
        }
        let before = listed();
        let fine = check().await;
        assert_eq!((fine.code, fine.stderr.as_str()), (0, ""), "{}", fine.stdout);
        pool.rewrite_config(&steals);
        let refused = check().await;
        assert_eq!((refused.code, refused.stdout.as_str()), (2, ""), "{}", refused.stderr);
        let said = "tenant beta: domains: \"beta.example\" is that of tenant gamma already";
        assert!(refused.stderr.contains(said), "{}", refused.stderr);
        pool.rewrite_config(&takes);
        let warned = check().await;
        assert_eq!(warned.code, 0, "{}", warned.stderr);
        let said =
            "warning: tenant beta came through the API: it is the file's from the next start";
        assert!(warned.stderr.contains(said), "{}", warned.stderr);
        if !is_running {
            assert_eq!(listed(), before, "nothing is left beside the database");
        }
    }
    // A start says the same.
    pool.rewrite_config(&steals);
    pool.start_process();
    assert_eq!(pool.ended().await.code(), Some(2), "{}", pool.log());
    // What cannot be read is told.
    std::fs::write(data.join("portico.db"), "this is no database").expect("a file");
    let unread = check().await;
    assert_eq!(unread.code, 0, "{}", unread.stderr);
    assert!(
        unread.stderr.contains("was not checked, as the store cannot be read"),
        "{}",
        unread.stderr
    );
}

#[tokio::test]
async fn an_export_says_where_secrets_belong_and_apply_asks_for_them() {
    let pool = Pool::start(config()).await;
    let shell = Shell(&pool);
    let node = another_node().await;
    let file = pool.config_path().with_file_name("inventory.yaml");
    let write = |text: &str| std::fs::write(&file, text).expect("a file");
    write(&format!("cluster: main\nurl: {}\nsecret: {}\n", node.url(), node.secret()));
    shell.out(&format!("node add far --file {}", file.display())).await;
    shell.out("tenant add beta cluster_group=default").await;
    shell.out("secret add beta 5").await;
    let apply = format!("apply {}", file.display());
    for format in ["yaml", "json"] {
        let exported = shell.out(&format!("export -o {format}")).await;
        assert!(exported.contains("fill_in") && !exported.contains(node.secret()), "{exported}");
        write(&exported);
        let told = shell.run(&format!("{apply} --prune")).await;
        assert!(told.1.starts_with("added: 0, changed: 0, removed: 0, the same: "), "{told:?}");
        // Elsewhere there is no secret to be kept.
        write(&exported.replace("beta", "gamma").replace("far", "near"));
        let (code, stdout, stderr) = shell.run(&apply).await;
        assert_eq!((code, stdout.as_str()), (2, ""), "{stderr}");
        let said = "node near: secret: is still to be filled in, as there is none to be kept";
        assert!(stderr.contains(said), "{stderr}");
    }
    let exported = shell.out("export").await;
    let only_tenants = exported.split("tenants:").nth(1).expect("tenants");
    write(&format!("tenants:{}", only_tenants.replace("beta", "gamma")));
    let (code, _, stderr) = shell.run(&apply).await;
    assert_eq!(code, 2, "{stderr}");
    for secret in ["secrets[0].secret", "secrets[1].secret"] {
        assert!(stderr.contains(&format!("tenant gamma: {secret}: is still to be")), "{stderr}");
    }
    // Nobody takes it for a secret.
    let stderr = shell.refused(&format!("node set far --file {}", file.display()), 1).await;
    assert!(!stderr.is_empty());
}

#[tokio::test]
async fn who_is_not_reached_is_told_with_what_helps() {
    let closed = [("PORTICO_API", "http://127.0.0.1:1"), ("PORTICO_TOKEN", "x")];
    let unknown = [("PORTICO_API", "http://no-such-host.invalid:8081"), ("PORTICO_TOKEN", "x")];
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let plain = format!("https://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::io::Write::write_all(&mut &stream, b"SSH-2.0-OpenSSH\r\n").ok();
        }
    });
    let http = plain.replace("https", "http");
    let (no_tls, no_http) = (
        [("PORTICO_API", plain.as_str()), ("PORTICO_TOKEN", "x")],
        [("PORTICO_API", http.as_str()), ("PORTICO_TOKEN", "x")],
    );
    for (env, said) in [
        (
            closed,
            [
                "http://127.0.0.1:1: ",
                "Connection refused",
                "is Portico running",
                "PORTICO_API says so",
            ],
        ),
        (unknown, ["no-such-host.invalid", "its name is not known", "slip", "-c FILE"]),
        (no_tls, ["https://127.0.0.1", "TLS does not come about", "SSL_CERT_FILE", "PORTICO_API"]),
        (
            no_http,
            [
                "http://127.0.0.1",
                "something else than Portico's API answers",
                "server.admin",
                "PORTICO_API",
            ],
        ),
    ] {
        let done = portico_with(&env, &["node", "list"]).await;
        assert_eq!((done.code, done.stdout.as_str()), (1, ""), "{}", done.stderr);
        for part in said {
            assert!(done.stderr.contains(part), "{env:?}: {part}: {}", done.stderr);
        }
    }
    let mut pool = Pool::start(config()).await;
    pool.signal("TERM");
    pool.ended().await;
    let stderr = Shell(&pool).refused("node list", 1).await;
    for part in ["portico.sock: ", "systemctl status portico", "server.admin of ", "PORTICO_TOKEN"]
    {
        assert!(stderr.contains(part), "{part}: {stderr}");
    }
    let off = Pool::start(crate::harness::Config::new()).await;
    std::fs::remove_file(off.dir().join("data").join("portico.sock")).expect("a socket");
    let stderr = Shell(&off).refused("node list", 2).await;
    for part in ["portico.sock: ", "api.jwt_secret is missing", "api.socket"] {
        assert!(stderr.contains(part), "{part}: {stderr}");
    }
}
