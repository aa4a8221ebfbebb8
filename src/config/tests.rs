//! Whole files: those we ship, and a folder of bad ones beside what is said about them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;

use super::{Api, Limits, LocalSocket, Polling, Settings, Storage, StoreKind, load, parse};
use crate::bbb::Algorithm;
use crate::model::{
    AssetKind, B3lbFactors, Look, MeetingIds, Policy, RecordingSettings, Rule, RuleMode, Secret,
    Spread, TenantPlacement,
};

/// Everyone's secret, and where a store or a bus is.
#[expect(clippy::unnecessary_wraps, reason = "the shape of a look-up in the environment")]
fn env(name: &str) -> Option<String> {
    let scheme = match name {
        "PORTICO_STORE_URL" => "postgres://",
        "PORTICO_REDIS_URL" => "redis://",
        _ => "",
    };
    Some(format!("{scheme}a-value-that-is-long-enough-for-{name}"))
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
    // Of the text itself, which is another one.
    shipped.text_digest = good("").text_digest;
    shipped.lines.clear();
    assert_eq!(shipped, good(""));

    let short = "
clusters: [{ name: main, nodes: [{ name: bbb01, url: https://bbb01.example.org/bigbluebutton, secret: { env: BBB01_SECRET } }] }]
cluster_groups: [{ name: default, clusters: [main] }]
tenants: [{ slug: acme, name: Acme University, cluster_group: default, secrets: [{ sub_id: 0, secret: { env: ACME_SECRET } }] }]
";
    assert_eq!(inventory, good(short).inventory);
}

#[test]
fn the_first_pool_of_the_readme_is_accepted() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let (_, rest) = readme.split_once("```yaml\n").expect("a block of YAML");
    let (text, _) = rest.split_once("```").expect("an end of the block");
    // The certificate is the reader's own; the line before it does without.
    let is_tls = |line: &&str| line.trim_start().starts_with("tls:");
    assert_eq!(text.lines().filter(is_tls).count(), 1);
    let plain: Vec<&str> = text.lines().filter(|line| !is_tls(line)).collect();
    let settings = good(&plain.join("\n"));
    assert_eq!(settings.warnings, [""; 0]);
    assert_eq!((settings.inventory.nodes.len(), settings.inventory.tenants.len()), (2, 1));
}

/// Each bad file stands beside what is said about it. To see what changed, set `PORTICO_BLESS=1`.
#[test]
fn bad_files_are_refused_with_all_their_mistakes() {
    let env = |name: &str| (name == "EMPTY").then(String::new);
    for file in yaml_files("tests/config/bad") {
        let report = load(&file, &env).expect_err(&file.display().to_string());
        let dir = format!("{}/", file.parent().unwrap().display());
        let said = format!("{report}\n").replace(&dir, "");
        assert!(!said.contains("hush") && !said.contains("my-s"), "a secret is shown:\n{said}");
        let expected = file.with_extension("txt");
        if option_env!("PORTICO_BLESS").is_some() {
            fs::write(&expected, &said).unwrap();
        }
        assert_eq!(said, fs::read_to_string(&expected).unwrap_or_default(), "{}", file.display());
    }
}

/// A directory with what the example refers to: a certificate, its key and another's, files of a brand.
fn directory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let certified = rcgen::generate_simple_self_signed(["bbb.example.org".to_owned()]).unwrap();
    let other = rcgen::KeyPair::generate().unwrap();
    let files = [
        ("cert.pem", certified.cert.pem()),
        ("key.pem", certified.signing_key.serialize_pem()),
        ("other.pem", other.serialize_pem()),
        ("acme.svg", "<svg/>".to_owned()),
        ("acme.pdf", "%PDF-1.7".to_owned()),
        ("acme.css", "body {}".to_owned()),
        ("jwt", "a key of more than thirty-two bytes\r\n".to_owned()),
    ];
    for (name, content) in files {
        fs::write(dir.path().join(name), content).unwrap();
    }
    dir
}

/// Every key, in the forms that operators write.
const EXAMPLE: &str = r#"
server:
  listen:
    - address: 0.0.0.0:8080
    - { address: "[::]:8443", tls: { cert: cert.pem, key: key.pem }, proxy_protocol: true }
  admin: 127.0.0.1:9000
  public_url: https://bbb.example.org
  base_domain: BBB.example.org
  trusted_proxies: [10.1.2.3/8, 192.0.2.7]
  threads: 4
  drain: 2s
  grace: 1m 30s
data_dir: .
store: { kind: postgres, url: "postgres://portico:pass-word@localhost/portico", migrate: false, key: { file: jwt }, former_key: another-key-of-thirty-two-bytes-or-so }
redis: { url: { env: REDIS } }
api: { jwt_secret: [{ file: jwt }, "the key before, of thirty-two bytes or more"], public: true, socket: /run/p.sock }
polling: { interval: 1s, timeout: 500ms, down_after: 4, up_after: "1", node_down_grace: 2min }
callbacks: { allow_targets: ["fd00::/8"] }
limits: { max_header: 32 KiB, max_body: 100000, header_timeout: 5s, max_connections: 0, requests_per_second: 50 }
clusters:
  - name: main
    checksum: sha1
    policy: {b3lb: {attendee_factor: 2, meeting_factor: 0, cpu_iterations: 3}}
    nodes:
      - name: bbb01
        url: https://bbb01.example.org/bigbluebutton/
        secret: 0123456789e12
        weight: 2
        capacity: 150
        tags: [sip]
        load_url: https://bbb01.example.org/b3lb/load
cluster_groups:
  - { name: default, clusters: [main] }
tenants:
  - slug: acme
    default: true
    domains: [Meet.Acme.example., bücher.example]
    cluster_group: default
    enabled: false
    account: 4711
    required_tags: [sip]
    checksums: [sha256]
    meeting_ids: plain
    secrets:
      - { sub_id: 0, secret: hush-hush, secret2: "" }
      - { sub_id: 5, secret: hush-five, secret2: hush-new, limits: { meetings: 10 }, params: { join: [{ name: role, mode: block }] } }
    limits: { attendees: 200, limit_joins: true, requests_per_second: 7 }
    params:
      create: [ { name: record, mode: override, value: false }, { name: maxParticipants, mode: max, value: 300 } ]
      join: [ { name: userdata-x, mode: set, value: "" }, { name: list, mode: append, value: a } ]
    branding: { logo: acme.svg, slide: acme.pdf, css: "https://cdn.example.org/a.css?v=1", force: true }
    recording: { enabled: false, retention_days: 14 }
    placement: { default_size: 12, max_size: 300, spread: tenants, strip_hints: true }
    stats_token: hush-stats
"#;

#[test]
fn every_key_arrives_where_it_belongs() {
    let dir = directory();
    let env = |name: &str| (name == "REDIS").then(|| "rediss://:pass-word@redis/0".to_owned());
    let settings = parse(EXAMPLE, dir.path(), &env).unwrap_or_else(|report| panic!("{report}"));

    let server = &settings.server;
    assert_eq!(server.listen[0].tls, None);
    let tls = server.listen[1].tls.as_ref().unwrap();
    assert_eq!((&tls.cert, &tls.key), (&dir.path().join("cert.pem"), &dir.path().join("key.pem")));
    assert!(server.listen[1].proxy_protocol);
    assert_eq!(server.admin, "127.0.0.1:9000".parse().unwrap());
    assert_eq!(server.public_url.as_ref().unwrap().as_str(), "https://bbb.example.org/");
    assert_eq!(server.base_domain.as_deref(), Some("bbb.example.org"));
    assert_eq!(
        server.trusted_proxies.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["10.0.0.0/8", "192.0.2.7/32"]
    );
    assert_eq!((server.threads, server.grace), (4, Duration::from_secs(90)));
    assert_eq!(server.drain, Duration::from_secs(2));
    let key = Some(Secret::new("a key of more than thirty-two bytes"));
    let url = Secret::new("postgres://portico:pass-word@localhost/portico");
    let former_key = Some(Secret::new("another-key-of-thirty-two-bytes-or-so"));
    let store = Storage { kind: StoreKind::Postgres { url }, migrate: false, key, former_key };
    assert_eq!(settings.store, store);
    assert_eq!(settings.redis, Some(Secret::new("rediss://:pass-word@redis/0")));
    let jwt_secret = Some(Secret::new("a key of more than thirty-two bytes"));
    let api = Api {
        jwt_secret,
        former_jwt_secrets: vec![Secret::new("the key before, of thirty-two bytes or more")],
        public: true,
        socket: LocalSocket::At("/run/p.sock".into()),
    };
    assert_eq!(settings.api, api);
    let polling = Polling {
        interval: Duration::from_secs(1),
        timeout: Duration::from_millis(500),
        node_down_grace: Duration::from_mins(2),
        down_after: 4,
        up_after: 1,
    };
    assert_eq!(settings.polling, polling);
    assert_eq!(settings.callbacks.allow_targets, ["fd00::/8".parse().unwrap()]);
    let limits = Limits {
        max_header_bytes: 32 * 1024,
        max_body_bytes: 100_000,
        header_timeout: Duration::from_secs(5),
        max_connections: 0,
        requests_per_second: 50,
    };
    assert_eq!(settings.limits, limits);

    let factors = B3lbFactors {
        attendee_factor: 2.0,
        meeting_factor: 0.0,
        cpu_iterations: 3,
        ..B3lbFactors::default()
    };
    let inventory = &settings.inventory;
    assert_eq!(inventory.clusters[0].policy, Policy::B3lb(factors));
    assert_eq!(inventory.clusters[0].checksum, Algorithm::Sha1);
    let node = &inventory.nodes[0];
    assert_eq!((node.name.as_str(), node.cluster.as_str()), ("bbb01", "main"));
    assert_eq!(node.url.as_str(), "https://bbb01.example.org/bigbluebutton/api");
    assert_eq!(node.secret.expose(), "0123456789e12");
    assert_eq!((node.weight, node.capacity), (2.0, 150));
    assert_eq!(node.tags, ["sip"]);
    assert!(node.load_url.is_some());

    let tenant = &inventory.tenants[0];
    assert_eq!((tenant.slug.as_str(), tenant.name.as_str()), ("acme", "acme"));
    assert_eq!(tenant.domains, ["meet.acme.example", "xn--bcher-kva.example"]);
    assert!(tenant.is_default && !tenant.is_enabled);
    assert_eq!(tenant.account.as_deref(), Some("4711"));
    assert_eq!(tenant.checksums, [Algorithm::Sha256]);
    assert_eq!(tenant.meeting_ids, MeetingIds::Plain);
    assert_eq!(tenant.secrets[0].secret2, None);
    assert_eq!(
        tenant.secrets[1].values().map(Secret::expose).collect::<Vec<_>>(),
        ["hush-five", "hush-new"]
    );
    assert_eq!((tenant.limits.attendees, tenant.secrets[1].limits.meetings), (200, 10));
    assert_eq!((tenant.limits.limit_joins, tenant.limits.requests_per_second), (true, 7));
    let modes = |rules: &[Rule]| rules.iter().map(|rule| rule.mode.clone()).collect::<Vec<_>>();
    assert_eq!(modes(&tenant.secrets[1].rules.join), [RuleMode::Block]);
    assert_eq!(
        modes(&tenant.rules.create),
        [RuleMode::Override("false".to_owned()), RuleMode::Max(300)]
    );
    assert_eq!(
        modes(&tenant.rules.join),
        [RuleMode::Set(String::new()), RuleMode::Append("a".to_owned())]
    );
    let branding = &tenant.branding;
    let Some(Look::File(logo)) = &branding.logo else { panic!("a file") };
    assert_eq!(logo.path(), dir.path().join("acme.svg"));
    assert_eq!(logo.bytes(), &fs::read(logo.path()).unwrap());
    assert_eq!(branding.css, Some(Look::Url("https://cdn.example.org/a.css?v=1".to_owned())));
    assert!(branding.force && matches!(&branding.slide, Some(Look::File(_))));
    assert_eq!(tenant.recording, RecordingSettings { enabled: false, retention_days: 14 });
    let placement = TenantPlacement {
        default_size: Some(12),
        max_size: Some(300),
        spread: Spread::Tenants,
        strip_hints: true,
    };
    assert_eq!(tenant.placement, placement);
    assert_eq!(tenant.stats_token, Some(Secret::new("hush-stats")));

    let shown = format!("{settings:?}");
    for secret in ["hush", "pass-word", "thirty-two", "0123456789e12"] {
        assert!(!shown.contains(secret), "{secret} is shown");
    }
}

#[test]
fn a_branding_file_that_is_gone_is_for_those_to_judge_who_may_have_a_copy() {
    let dir = directory();
    let tenant = |branding: &str| {
        format!(
            "cluster_groups: [{{ name: default }}]\ntenants: [{{ slug: acme, cluster_group: default, \
             secrets: [{{ sub_id: 0, secret: x }}], branding: {branding} }}]"
        )
    };
    let settings = parse(&tenant("{ logo: gone.svg, css: acme.css }"), dir.path(), &env).unwrap();
    let [missing] = &settings.missing_assets[..] else { panic!("one") };
    assert_eq!((missing.key.kind, &missing.path), (AssetKind::Logo, &dir.path().join("gone.svg")));
    assert_eq!(missing.problem.path, "tenants[0].branding.logo");
    assert!(missing.problem.message.contains("does not exist"), "{}", missing.problem.message);
    for refused in ["{ logo: gone.exe }", "{ css: 'https://' }", "{ css: 'https://a:b@x/' }"] {
        assert!(parse(&tenant(refused), dir.path(), &env).is_err(), "{refused}");
    }
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let dir = directory();
    let text =
        "server: { listen: [{ address: 127.0.0.1:0, tls: { cert: cert.pem, key: other.pem } }] }";
    let report = parse(text, dir.path(), &env).unwrap_err();
    assert_eq!(report.problems().len(), 1);
    assert_eq!(report.problems()[0].path, "server.listen[0].tls.key");
    assert!(report.to_string().contains("does not fit the certificate"), "{report}");
}

#[test]
fn secrets_in_a_file_that_everyone_may_read_are_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("portico.yaml");
    let warnings = |mode| {
        fs::write(&file, "api: { jwt_secret: 0123456789abcdef0123456789abcdef }").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        load(&file, &env).unwrap().warnings
    };
    assert_eq!(warnings(0o640), [""; 0]);
    assert!(warnings(0o644)[0].contains("chmod"));
}

#[test]
fn a_file_that_cannot_be_read_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("portico.yaml");
    let said = |file: &Path| {
        load(file, &env).unwrap_err().to_string().replace(&dir.path().display().to_string(), "")
    };
    assert_eq!(said(&file), "/portico.yaml: does not exist");
    assert_eq!(said(dir.path()), ": is not a regular file");
    fs::write(&file, b"server: {}\n# \xff\n").unwrap();
    assert_eq!(said(&file), "/portico.yaml:2: is not UTF-8 text; save the file as UTF-8");
}

/// Whatever stands in a file, the answer is settings or at least one problem.
fn answers(text: &str) {
    if let Err(report) = parse(text, Path::new("/nonexistent"), &|_| None) {
        assert!(!report.problems().is_empty(), "refused without a reason: {text:?}");
    }
}

/// YAML that looks like a configuration: known keys, at the wrong places, with odd values.
fn lookalike() -> impl Strategy<Value = String> {
    let words: Vec<_> = EXAMPLE
        .split(|c: char| c.is_whitespace() || "{}[],\"".contains(c))
        .filter(|word| !word.is_empty())
        .collect();
    let odd = ["~", "[]", "{}", "-1", "1e999", ".nan", "''", "\"\\0\"", "99999999999999999999"];
    let keys: Vec<_> = words.iter().filter_map(|word| word.strip_suffix(':')).collect();
    let scalars: Vec<_> = words.iter().copied().filter(|word| !word.ends_with(':')).collect();
    let leaf = prop_oneof![
        prop::sample::select(scalars).prop_map(str::to_owned),
        prop::sample::select(odd.to_vec()).prop_map(str::to_owned),
        any::<String>().prop_map(|text| format!("{text:?}")),
    ];
    leaf.prop_recursive(6, 64, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5)
                .prop_map(|items| format!("[{}]", items.join(", "))),
            prop::collection::vec((prop::sample::select(keys.clone()), inner), 0..8).prop_map(
                |entries| {
                    let entries = entries.iter().map(|(key, value)| format!("{key}: {value}"));
                    format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
                }
            ),
        ]
    })
}

proptest! {
    #[test]
    fn arbitrary_text_is_answered(text in any::<String>()) {
        answers(&text);
    }

    #[test]
    fn arbitrary_yaml_signs_are_answered(text in "[-a-c0-9:{}\\[\\],&*!|>'\"%@`#?~<\n\t ]{0,80}") {
        answers(&text);
    }

    #[test]
    fn known_keys_at_wrong_places_are_answered(text in lookalike()) {
        answers(&text);
    }

    #[test]
    fn a_damaged_file_is_answered(
        at in any::<prop::sample::Index>(),
        length in 0_usize..40,
        patch in "[-a-z0-9:{}\\[\\],&*\n\" ]{0,12}",
    ) {
        let mut text: Vec<char> = EXAMPLE.chars().collect();
        let start = at.index(text.len());
        let end = (start + length).min(text.len());
        text.splice(start..end, patch.chars());
        answers(&text.into_iter().collect::<String>());
    }
}

#[test]
fn a_group_of_clusters_with_different_policies_is_warned_of_by_name() {
    let warnings = |policy: &str| {
        let text = format!(
            "
clusters: [{{ name: new }}, {{ name: old, policy: {policy} }}, {{ name: third, policy: b3scale }}]
cluster_groups: [{{ name: alone, clusters: [third] }}, {{ name: both, clusters: [new, old] }}]
tenants: []
"
        );
        good(&text).warnings
    };
    assert_eq!(warnings("predictive"), [""; 0]);
    let told = warnings("b3lb");
    assert_eq!(told.len(), 1, "{told:?}");
    for part in ["cluster_groups[1]", "\"both\"", "new (predictive), old (b3lb)", "the same policy"]
    {
        assert!(told[0].contains(part), "{told:?}");
    }
}
