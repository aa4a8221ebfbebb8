//! The program's arguments, and what it says to them.

use std::path::Path;

use crate::harness::{Config, portico, portico_with};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[tokio::test]
async fn the_file_that_documents_every_key_is_fine() {
    let file = root().join("conf/portico.yaml");
    let path = file.to_str().expect("UTF-8");
    let env = [
        ("BBB01_SECRET", "a secret of a node"),
        ("ACME_SECRET", "0123456789-0123456789-0123456789"),
    ];
    let done = portico_with(&env, &["check", "-c", path]).await;
    assert_eq!(done.stdout, format!("{path} is fine: 1 cluster, 1 node, 1 tenant\n"));
    assert_eq!(done.code, 0);
}

#[tokio::test]
async fn the_file_of_the_cluster_on_one_machine_is_fine() {
    let file = root().join("conf/cluster.yaml");
    let path = file.to_str().expect("UTF-8");
    let key = "0123456789-0123456789-0123456789";
    let env = [
        ("PORTICO_STORE_URL", "postgres://portico:hush@127.0.0.1:8432/portico"),
        ("PORTICO_STORE_KEY", key),
        ("PORTICO_REDIS_URL", "redis://:hush@127.0.0.1:8379/0"),
        ("PORTICO_NODE_SECRET", key),
        ("PORTICO_DEMO_SECRET", key),
    ];
    let done = portico_with(&env, &["check", "-c", path]).await;
    assert_eq!(done.stdout, format!("{path} is fine: 1 cluster, 3 nodes, 1 tenant\n"));
    assert_eq!(done.code, 0);
}

#[tokio::test]
async fn a_file_with_mistakes_is_refused_with_all_of_them() {
    let file = root().join("tests/config/bad/values.yaml");
    let expected = std::fs::read_to_string(file.with_extension("txt")).expect("a file");
    let path = file.to_str().expect("UTF-8");
    let config = Config::new();
    for command in ["check", "serve"] {
        let done = portico(&[command, "-c", path]).await;
        assert_eq!((done.code, done.stdout.as_str()), (2, ""), "{command}");
        for line in expected.lines() {
            let line = line.strip_prefix("values.yaml").expect("a place");
            assert!(done.stderr.contains(&format!("{path}{line}")), "{command}: {line}");
        }
        assert_eq!(
            done.stderr.trim().lines().count(),
            expected.trim().lines().count(),
            "{command}"
        );
    }
    let missing = config.dir().join("missing.yaml");
    let done = portico(&["check", "-c", missing.to_str().expect("UTF-8")]).await;
    assert_eq!(done.code, 2);
    assert!(done.stderr.contains("missing.yaml"), "{}", done.stderr);
}

#[tokio::test]
async fn wrong_usage_ends_with_2_and_says_what_would_be_right() {
    for (arguments, said) in [
        (&[][..], "Usage: portico <COMMAND>"),
        (&["srve"][..], "similar subcommand exists: 'serve'"),
        (&["serve"][..], "--config <FILE>"),
        (&["check", "--bogus"][..], "unexpected argument '--bogus'"),
        (&["demo", "--nodes", "0"][..], "invalid value '0' for '--nodes <NODES>'"),
    ] {
        let done = portico(arguments).await;
        assert_eq!((done.code, done.stdout.as_str()), (2, ""), "{arguments:?}");
        assert!(done.stderr.contains(said), "{arguments:?}: {}", done.stderr);
    }
}

#[tokio::test]
async fn every_command_explains_itself() {
    for (arguments, help) in [
        (
            &["--help"][..],
            "One door in front of a pool of BigBlueButton servers\n\
             \n\
             Usage: portico <COMMAND>\n\
             \n\
             Commands:\n\
             \x20 serve          Run a pool from a configuration file\n\
             \x20 check          Check a configuration file and say all that is wrong with it\n\
             \x20 migrate        Bring the store to this version's schema; serve does it by itself unless told not to\n\
             \x20 token          Tokens of the operators' API\n\
             \x20 node           Nodes, over the API of a running Portico\n\
             \x20 cluster        Clusters, over the API\n\
             \x20 cluster-group  Cluster groups, over the API\n\
             \x20 tenant         Tenants, over the API\n\
             \x20 secret         Secrets of tenants, over the API\n\
             \x20 meeting        Meetings, over the API; or as a tenant's front end, for testing\n\
             \x20 link           Print signed links of BigBlueButton's API to be tried by hand; no secret leaves this machine\n\
             \x20 callback       Callbacks that front ends were not told yet, over the API\n\
             \x20 events         What has happened a moment ago: nodes, meetings, instances, the inventory\n\
             \x20 instance       The running Porticos that share one store\n\
             \x20 place          Where meetings go, and why\n\
             \x20 history        How large meetings have become: what is known of tenants and rooms, and resetting, exporting and importing it\n\
             \x20 capacity       How much room there is, and which nodes could go\n\
             \x20 changes        What operators have changed over the API, the latest first\n\
             \x20 statistics     What tenants have used, by days or hours: meetings, attendee-minutes, peaks\n\
             \x20 export         Print the whole inventory as YAML in the shape of the configuration file, without secrets\n\
             \x20 apply          Make the inventory what a file says; what the file does not name of an object stays\n\
             \x20 completions    Print completions for a shell\n\
             \x20 demo           Try it out: simulated nodes, one tenant and the edge in one process\n\
             \x20 simulate       Stand in for something that is not there\n\
             \n\
             Options:\n\
             \x20 -h, --help     Print help\n\
             \x20 -V, --version  Print version\n",
        ),
        (
            &["serve", "--help"],
            "Run a pool from a configuration file\n\
             \n\
             Usage: portico serve [OPTIONS] --config <FILE>\n\
             \n\
             Options:\n\
             \x20 -c, --config <FILE>  Configuration file; conf/portico.yaml shows every key\n\
             \x20     --upgrade        Take the sockets over from the running process, which then leaves\n\
             \x20 -h, --help           Print help\n",
        ),
        (
            &["check", "--help"],
            "Check a configuration file and say all that is wrong with it\n\
             \n\
             Usage: portico check --config <FILE>\n\
             \n\
             Options:\n\
             \x20 -c, --config <FILE>  Configuration file\n\
             \x20 -h, --help           Print help\n",
        ),
        (
            &["simulate", "--help"],
            "Stand in for something that is not there\n\
             \n\
             Usage: portico simulate <COMMAND>\n\
             \n\
             Commands:\n\
             \x20 node       A faithful BigBlueButton node, with faults on command over HTTP\n\
             \x20 placement  Where a policy places the meetings of a trace: reads its rows on stdin, writes a node for each create\n\
             \x20 trace      A trace of days that were, from what the store has of them; names nobody\n\
             \x20 load       A day of a trace, played against a running Portico with simulated nodes: says how well it places meetings\n\
             \n\
             Options:\n\
             \x20 -h, --help  Print help\n",
        ),
    ] {
        let done = portico(arguments).await;
        assert_eq!((done.code, done.stdout.as_str(), done.stderr.as_str()), (0, help, ""));
    }
    for (arguments, options) in [
        (
            &["demo", "--help"][..],
            &["--listen", "--admin", "--nodes", "--secret", "--speed", "--data-dir"][..],
        ),
        (
            &["simulate", "node", "--help"],
            &["--name", "--address", "--secret", "--public-url", "--minute"],
        ),
        (
            &["simulate", "load", "--help"],
            &[
                "--server",
                "--speed",
                "--from",
                "--until",
                "--rate",
                "--max-time",
                "--policy",
                "--bind",
                "--log",
                "--config",
                "--output",
            ],
        ),
    ] {
        let done = portico(arguments).await;
        assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{arguments:?}");
        for option in options {
            assert!(done.stdout.contains(&format!("{option} <")), "{option}: {}", done.stdout);
        }
    }
    let done = portico(&["--version"]).await;
    assert_eq!(done.stdout, concat!("portico ", env!("CARGO_PKG_VERSION"), "\n"));
}
