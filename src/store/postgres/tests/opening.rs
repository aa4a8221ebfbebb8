//! What is looked at before a server is trusted: settings, TLS, its version.

use super::*;

#[tokio::test]
async fn what_is_wrong_with_the_setting_is_said_without_the_password() {
    let server = Server::shared();
    let (port, database) = (server.port(), server.create_database());
    server.sql("postgres", "CREATE ROLE guest LOGIN PASSWORD 'hush'");
    for (url, expected) in [
        (
            format!("postgres://guest:hush-hush@127.0.0.1:{port}/{database}"),
            "does not let user guest in",
        ),
        (format!("postgres://guest@127.0.0.1:{port}/{database}"), "does not let user guest in"),
        (format!("postgres://guest:hush@127.0.0.1:{port}/nowhere"), "there is no database"),
        (format!("postgres://guest:hush@127.0.0.1:{port}/{database}"), "guest may not do all"),
        (
            format!("postgres://guest:hush@127.0.0.1:{port}/{database}?sslmode=require"),
            "as `sslmode=require` demands",
        ),
        (
            format!(
                "postgres://guest:hush@127.0.0.1:{port}/{database}?options=-cdefault_transaction_read_only=on"
            ),
            "is read-only",
        ),
    ] {
        let error = Postgres::open(&Secret::new(&*url), Older::Migrate).await.err();
        let error = error.unwrap_or_else(|| panic!("{url} is taken"));
        assert!(!error.is_passing(), "{error}");
        let refused = crate::chain::Chain(&error).to_string();
        assert!(refused.contains(expected) && !refused.contains("hush"), "{url}: {refused}");
        assert!(refused.contains("127.0.0.1"), "{refused}");
    }
}

#[tokio::test]
async fn tls_is_as_strict_as_the_url_says() {
    let server = Arc::new(tokio::task::spawn_blocking(Server::start_new).await.unwrap());
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root.crt");
    std::fs::write(&root, made.cert.pem()).unwrap();
    server.use_tls(&made.cert.pem(), &made.signing_key.serialize_pem());
    server.stop();
    server.start();

    let (port, root) = (server.port(), root.display());
    let open = async |host: &str, query: &str| {
        let (user, password) = (Server::USER, Server::PASSWORD);
        let url = format!("postgres://{user}:{password}@{host}:{port}/postgres?{query}");
        Postgres::open(&Secret::new(url), Older::Migrate).await
    };
    let encrypted = "SELECT bool_or(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
        WHERE application_name = 'portico'";
    for (query, is_encrypted) in [("sslmode=disable", "f"), ("", "t"), ("sslmode=require", "t")] {
        let store = open("127.0.0.1", query).await.unwrap();
        assert_eq!(server.sql("postgres", encrypted).trim(), is_encrypted, "{query}");
        drop(store);
        let gone = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'portico'";
        eventually("it is gone", async || server.sql("postgres", gone).trim() == "0").await;
    }
    for (host, query) in [
        ("127.0.0.1", format!("sslmode=verify-full&sslrootcert={root}")),
        ("localhost", format!("sslmode=verify-ca&sslrootcert={root}")),
        ("localhost", format!("sslmode=require&sslrootcert={root}")),
    ] {
        drop(open(host, &query).await.unwrap_or_else(|error| panic!("{query}: {error}")));
    }
    for (host, query) in [
        ("localhost", format!("sslmode=verify-full&sslrootcert={root}")),
        ("127.0.0.1", "sslmode=verify-ca&sslrootcert=system".to_owned()),
    ] {
        let refused = said(open(host, &query).await);
        assert!(refused.contains("no TLS with PostgreSQL"), "{query}: {refused}");
    }
    let hba = server.file("data/pg_hba.conf");
    std::fs::write(hba, "local all all trust\nhostssl all all all scram-sha-256\n").unwrap();
    server.sql("postgres", "SELECT pg_reload_conf()");
    eventually("TLS is demanded", async || {
        let opened = open("127.0.0.1", "sslmode=disable").await;
        opened.is_err_and(|error| error.to_string().contains("replace `sslmode=disable` in"))
    })
    .await;
    drop(open("127.0.0.1", "sslmode=require").await.unwrap());

    server.use_tls(&of_version_1(&made), &made.signing_key.serialize_pem());
    server.sql("postgres", "SELECT pg_reload_conf()");
    let strict = format!("sslmode=verify-full&sslrootcert={root}");
    eventually("it is used", async || open("127.0.0.1", &strict).await.is_err()).await;
    for query in ["", "sslmode=require"] {
        drop(open("127.0.0.1", query).await.unwrap_or_else(|error| panic!("{query}: {error}")));
    }
}

/// The certificate as `openssl req -x509` makes it without extensions, in PEM.
fn of_version_1(made: &rcgen::CertifiedKey<rcgen::KeyPair>) -> String {
    use base64::prelude::{BASE64_STANDARD, Engine as _};
    use rcgen::SigningKey as _;

    /// The content of a DER element, and what comes after it.
    fn split(der: &[u8]) -> (&[u8], &[u8]) {
        let (begin, length) = match der[1] {
            0x81 => (3, usize::from(der[2])),
            0x82 => (4, usize::from(u16::from_be_bytes([der[2], der[3]]))),
            short => (2, usize::from(short)),
        };
        (&der[begin..begin + length], &der[begin + length..])
    }
    fn element(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[tag, 0x82, length[0], length[1]], content].concat()
    }
    let (signed, _) = split(made.cert.der());
    let (mut fields, rest) = split(signed);
    let algorithm = &rest[..rest.len() - split(rest).1.len()];
    let mut kept = Vec::new();
    while !fields.is_empty() {
        let (_, rest) = split(fields);
        // Neither the version nor the extensions.
        if !matches!(fields[0], 0xa0 | 0xa3) {
            kept.extend_from_slice(&fields[..fields.len() - rest.len()]);
        }
        fields = rest;
    }
    let fields = element(0x30, &kept);
    let signature = [vec![0], made.signing_key.sign(&fields).unwrap()].concat();
    let signature = element(0x03, &signature);
    let text = BASE64_STANDARD.encode(element(0x30, &[&fields, algorithm, &signature].concat()));
    let lines: Vec<_> =
        text.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

#[tokio::test]
async fn a_server_is_asked_its_version_before_anything_that_an_old_one_does_not_know() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://u@{}/d?sslmode=disable", listener.local_addr().unwrap());
    let opening =
        tokio::spawn(async move { Postgres::open(&Secret::new(url), Older::Refuse).await.is_ok() });
    let (mut server, _) = listener.accept().await.unwrap();
    let mut said = vec![0; 4096];
    assert!(server.read(&mut said).await.unwrap() > 0);
    // Come in, and: ready.
    server.write_all(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I").await.unwrap();
    let read = server.read(&mut said).await.unwrap();
    let said = String::from_utf8_lossy(&said[..read]);
    assert!(said.contains("server_version_num") && !said.contains("SET "), "{said}");
    drop(server);
    assert!(!opening.await.unwrap());
}

#[tokio::test]
async fn a_step_that_waits_for_a_table_does_not_hold_up_who_uses_it() {
    let database = Server::shared().create_database();
    let target = Target::parse(&Secret::new(Server::shared().url(&database))).unwrap();
    let connector = Connector::new(&target);
    let mut stepping = Session::open(&connector, &target, None).await.unwrap();
    let steps = [
        ("V1__first", "CREATE TABLE used (a INTEGER)"),
        ("V2__second", "ALTER TABLE used ADD b INTEGER"),
    ];
    schema::migrate_by(&target, &mut stepping.client, &steps[..1]).await.unwrap();

    // As pg_dump does for as long as it runs.
    let dump = Session::open(&connector, &target, None).await.unwrap();
    dump.client.batch_execute("BEGIN; LOCK TABLE used IN ACCESS SHARE MODE").await.unwrap();
    let step = schema::migrate_by(&target, &mut stepping.client, &steps);
    tokio::pin!(step);
    let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'used'::regclass";
    let queues = eventually("it queues", async || sql(&database, waiting).await.trim() == "1");
    tokio::select! {
        done = &mut step => panic!("{done:?}"),
        () = queues => {}
    }
    // Within the patience of those that serve.
    let using = Session::open(&connector, &target, None).await.unwrap();
    tokio::select! {
        done = &mut step => panic!("{done:?}"),
        used = using.client.batch_execute("INSERT INTO used VALUES (1)") => used.unwrap(),
    }
    dump.client.batch_execute("COMMIT").await.unwrap();
    assert_eq!(step.await.unwrap(), 1);
    assert_eq!(sql(&database, "SELECT a, b FROM used").await.trim(), "1|");
}
