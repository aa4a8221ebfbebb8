//! `/metrics`: complete, described, and no larger than operators allow.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use http::Method;
use portico::sim::Fault;
use serde_json::json;

use crate::api::{self, Operator};
use crate::callbacks;
use crate::harness::{Config, Front, Plan, Pool, Tenant, eventually};
use crate::hooks;

/// A metric as a scrape or the table in `docs/metrics.md` has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Described {
    pub(crate) kind: String,
    pub(crate) labels: BTreeSet<String>,
}

pub(crate) type All = BTreeMap<String, Described>;

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The tables in `docs/metrics.md`: name, type, labels, meaning.
pub(crate) fn documented() -> All {
    let text = std::fs::read_to_string(root().join("docs/metrics.md")).expect("the table");
    let rows = text.lines().filter_map(|line| {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let ["", name, kind, labels, meaning, ""] = cells[..] else { return None };
        let name = name.strip_prefix('`')?.strip_suffix('`')?;
        assert!(meaning.len() > 10, "{name} has no meaning");
        let labels = labels.split(',').map(str::trim).filter(|label| !label.is_empty());
        let labels = labels.map(|label| label.trim_matches('`').to_owned()).collect();
        Some((name.to_owned(), Described { kind: kind.to_owned(), labels }))
    });
    let mut all = All::new();
    for (name, described) in rows {
        assert!(all.insert(name.clone(), described).is_none(), "{name} stands there twice");
    }
    all
}

/// What is in a scrape. Labels of histograms' buckets are not theirs.
pub(crate) fn scraped(text: &str) -> All {
    let mut all = All::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type");
            let described = Described { kind: kind.to_owned(), ..Described::default() };
            assert!(all.insert(name.to_owned(), described).is_none(), "{name} comes twice");
            name.clone_into(&mut current);
        } else if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').expect("a help");
            assert!(help.len() > 10, "{name}: {help}");
        } else if let Some((_, rest)) = line.split_once('{') {
            let (labels, _) = rest.rsplit_once('}').expect("the end of the labels");
            let described = all.get_mut(&current).expect("a type before its series");
            for (label, _) in labels.split("\",").filter_map(|pair| pair.split_once('=')) {
                if !(described.kind == "histogram" && label == "le") {
                    described.labels.insert(label.to_owned());
                }
            }
        }
    }
    all
}

/// A hundred attendees for the last eight days.
pub(crate) const PAST: &str = "INSERT INTO statistics
    SELECT 'hour', hour, '', 0, 360000000, 3600000, 1, 100
        FROM generate_series((extract(epoch FROM now())::bigint / 3600 - 192) * 3600,
            (extract(epoch FROM now())::bigint / 3600 - 1) * 3600, 3600) AS hours (hour)
    ON CONFLICT (per, begins_at_s, tenant) DO UPDATE SET attendee_ms = excluded.attendee_ms,
        sampled_ms = excluded.sampled_ms";

/// Two instances that have done everything that is counted, as far as that is easy, and what they are scraped as.
pub(crate) async fn scraped_after_everything() -> All {
    let config = api::config()
        .tenant(Tenant::new("sip").set("required_tags", "[sip]"))
        .set("callbacks.allow_targets", "[127.0.0.0/8]")
        .set("metrics.b3scale_names", "true");
    let made = rcgen::generate_simple_self_signed(["bbb.example.org".to_owned()]);
    let made = made.expect("a certificate");
    let cert = config.file("cert.pem", made.cert.pem());
    let key = config.file("key.pem", made.signing_key.serialize_pem());
    let tls = format!("tls: {{ cert: {}, key: {} }}", cert.display(), key.display());
    let config = config.listener(&tls);
    let mut cluster = hooks::reachable_cluster(Plan::new(config, 2)).await;
    cluster.postgres().sql(cluster.database(), PAST);
    cluster.instance_mut(0).restart().await;
    let pool = cluster.instance(0);
    eventually("something is foreseen", async || {
        let metrics = pool.metrics().await;
        metrics.series().any(|(name, _)| name.starts_with("portico_predicted_attendees"))
    })
    .await;
    let front = Front::start(&[]).await;
    let acme = pool.tenant("acme");
    let query = format!("name=A+room&meetingID=room&meta_endCallbackUrl={}", front.encoded("/end"));
    acme.get("create", &query).await.success();
    pool.node_of("room@acme").add_attendees("room@acme", 3);
    eventually("they are counted", async || {
        pool.metrics().await.sum("portico_tenant_attendees", &["acme"]) > 2.5
    })
    .await;
    assert_eq!(acme.get("join", "meetingID=room&fullName=Ada").await.status, 302);
    assert!(!pool.tenant("sip").get("create", "name=A+meeting&meetingID=a").await.is_success());
    let recordings = acme.get("getRecordings", "").await;
    assert!(recordings.is_success(), "{}", recordings.body);
    assert_eq!(pool.admin("/api/portico/v1/nodes").await.status, 401);
    let operator = Operator::of(pool, "admin").await;
    operator.call(Method::PATCH, "/tenants/nobody", Some(json!({}))).await;
    let expires = pool.metrics().await.sum("portico_certificate_expiry_timestamp_seconds", &[]);
    assert!(expires > 4e9, "rcgen's are good for ever, not until {expires}");
    // Whichever of them has less to carry fails.
    for node in pool.nodes() {
        node.set_call_fault("create", Some(Fault::Status(500)));
    }
    assert!(!acme.get("create", "name=A+meeting&meetingID=second").await.is_success());
    // While it runs it is in b3scale's words, too.
    let running = pool.admin("/metrics").await.body;
    acme.get("end", "meetingID=room").await.success();
    eventually("the end is told", async || {
        front.heard("/end").len() == 1 && callbacks::is_all_delivered(pool).await
    })
    .await;
    let mut all = scraped(&running);
    for pool in cluster.instances() {
        for (name, described) in scraped(&pool.admin("/metrics").await.body) {
            all.entry(name).or_default().clone_from(&described);
        }
    }
    all
}

#[tokio::test]
async fn every_metric_that_is_exported_is_in_the_table() {
    let documented = documented();
    let alone = Pool::start(Config::new().tenant(Tenant::new("acme"))).await;
    let mut all = scraped_after_everything().await;
    for (name, described) in scraped(&alone.admin("/metrics").await.body) {
        assert!(!name.starts_with("b3scale_"), "{name} is not asked for");
        all.entry(name).or_insert(described);
    }
    for (name, described) in &all {
        let known = documented.get(name);
        let known =
            known.unwrap_or_else(|| panic!("docs/metrics.md does not have {name}: {described:?}"));
        assert_eq!(known, described, "{name}");
    }
    // The process's own are not made in our source.
    for name in documented.keys().filter(|name| name.starts_with("process_")) {
        assert!(all.contains_key(name), "{name} is not exported");
    }
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Texts that can only be a metric's name.
fn names_in(text: &str) -> impl Iterator<Item = &str> {
    text.split('"').filter(|word| {
        let is_ours = word.starts_with("portico_") || word.starts_with("b3scale_");
        is_ours && word.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
    })
}

#[test]
fn every_metric_of_the_table_is_made_and_the_other_way_round() {
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    let texts = files.iter().map(|file| std::fs::read_to_string(file).expect("a source"));
    let mut made: BTreeSet<String> = BTreeSet::new();
    for text in texts {
        // Tests at the end of a file make nothing.
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        made.extend(names_in(code).map(str::to_owned));
    }
    // A table in the database, and a word of the configuration.
    assert!(made.remove("portico_migrations") && made.remove("b3scale_names"));
    let documented: BTreeSet<_> =
        documented().into_keys().filter(|name| !name.starts_with("process_")).collect();
    assert_eq!(made, documented);
}

#[test]
fn names_follow_the_conventions() {
    for (name, Described { kind, .. }) in documented() {
        if name.starts_with("b3scale_") || name.starts_with("process_") {
            continue;
        }
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
        for unit in ["_ms", "_millis", "_minutes", "_percent", "_kib", "_mib"] {
            assert!(!name.contains(unit), "{name}: {unit} is no base unit");
        }
    }
}

#[tokio::test]
async fn tenants_beyond_the_bound_share_one_series() {
    let config = Config::new()
        .tenant(Tenant::new("acme"))
        .tenant(Tenant::new("beta").sub(5))
        .tenant(Tenant::new("other"))
        .set("metrics.tenants", "1")
        .set("metrics.b3scale_names", "true");
    let pool = Pool::start(config).await;
    for tenant in ["acme", "beta", "beta-5", "other"] {
        pool.tenant(tenant).create("room").await.success();
    }
    let metrics = pool.metrics().await;
    let tenants: Vec<_> =
        metrics.series().filter(|(name, _)| name.starts_with("portico_tenant_meetings")).collect();
    let expected = [
        ("portico_tenant_meetings{tenant=\"_other\"}", 3.0),
        ("portico_tenant_meetings{tenant=\"acme\"}", 1.0),
    ];
    assert_eq!(tenants, expected);
    let uses = "portico_secret_uses_total";
    let shared = format!("{uses}{{sub_id=\"_other\",tenant=\"_other\",value=\"1\"}}");
    assert!((metrics.get(&shared) - 3.0).abs() < 0.5, "{metrics:?}");
    let frontends = metrics.sum("b3scale_frontend_meetings", &["frontend=\"_other\""]);
    assert!((frontends - 3.0).abs() < 0.5);
    assert!((metrics.sum("b3scale_backend_meetings", &[]) - 4.0).abs() < 0.5);
    pool.node_of("room@acme").add_attendees("room@acme", 3);
    eventually("b3scale's names say what ours do", async || {
        let metrics = pool.metrics().await;
        let [audio, video] = ["audio", "video"].map(|kind| {
            let labels = ["frontend=\"acme\"", &format!("type=\"{kind}\"")];
            metrics.sum("b3scale_meeting_attendees", &labels)
        });
        let ours = metrics.get("portico_tenant_attendees{tenant=\"acme\"}");
        let frontend = metrics.get("b3scale_frontend_attendees{frontend=\"acme\"}");
        ours > 2.5 && (audio + video - ours).abs() < 0.5 && (frontend - ours).abs() < 0.5
    })
    .await;
}

#[tokio::test]
async fn two_nodes_of_one_host_are_one_backend_of_b3scales() {
    let config = Config::new().nodes(3).set("metrics.b3scale_names", "true");
    let there = |path: &str| format!("http://127.0.0.1:9/{path}/bigbluebutton/api");
    let pool = Pool::start(config.node(0, "url", there("one")).node(1, "url", there("two"))).await;
    let metrics = pool.admin("/metrics").await.body;
    let mut series: Vec<_> = metrics.lines().filter_map(|line| line.split_once("} ")).collect();
    let all = series.len();
    series.sort_unstable();
    series.dedup_by_key(|(name, _)| *name);
    assert_eq!(series.len(), all, "{metrics}");
    let backends = series.iter().filter(|(name, _)| name.starts_with("b3scale_backend_meetings"));
    assert_eq!(backends.count(), 2, "{metrics}");
}
