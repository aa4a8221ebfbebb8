//! Whole files: those we ship, and a folder of bad ones beside what is said about them.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Settings, load, parse};

/// Everyone's secret.
#[expect(clippy::unnecessary_wraps, reason = "the shape of a look-up in the environment")]
fn env(name: &str) -> Option<String> {
    Some(format!("value-of-{name}"))
}

fn yaml_files(dir: &str) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join(dir);
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|e| e == "yaml")).collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

fn good(text: &str) -> Settings {
    parse(text, Path::new("."), &env).unwrap_or_else(|report| panic!("{report}"))
}

#[test]
fn every_file_that_we_ship_is_accepted() {
    for file in yaml_files("conf") {
        let settings = load(&file, &env).unwrap_or_else(|report| panic!("{report}"));
        assert_eq!(settings.warnings, [""; 0], "{}", file.display());
    }
}

#[test]
fn the_shipped_file_shows_the_defaults() {
    let mut shipped =
        load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/portico.yaml"), &env).unwrap();
    let inventory = std::mem::take(&mut shipped.inventory);
    assert_eq!(shipped, good(""));

    let short = "
clusters: [{ name: main, nodes: [{ name: bbb01, url: https://bbb01.example.org/bigbluebutton, secret: { env: BBB01_SECRET } }] }]
cluster_groups: [{ name: default, clusters: [main] }]
tenants: [{ slug: acme, name: Acme University, cluster_group: default, secrets: [{ sub_id: 0, secret: { env: ACME_SECRET } }] }]
";
    assert_eq!(inventory, good(short).inventory);
}
