//! The alerts and the dashboard ask only for what is there.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::metrics::{All, documented, root, scraped_after_everything};

/// Labels that Prometheus adds, or that come from buckets.
const EVERYWHERE: [&str; 3] = ["instance", "job", "le"];
/// What stands before a list of labels.
const GROUPING: [&str; 6] = ["by", "group_left", "group_right", "ignoring", "on", "without"];

/// What a query asks for.
#[derive(Debug, Default)]
struct Asked {
    /// Metrics, each with the labels in its braces.
    metrics: Vec<(String, BTreeSet<String>)>,
    /// Labels by which it groups.
    groups: BTreeSet<String>,
}

/// Words, texts and signs of a query, without blanks.
fn tokens(query: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = query.trim_start();
    while let Some(first) = rest.chars().next() {
        let is_word = |one: char| one.is_ascii_alphanumeric() || "_:.$".contains(one);
        let end = if first == '"' {
            let mut quotes = rest.match_indices('"').skip(1);
            quotes.next().expect("the end of a text").0 + 1
        } else if is_word(first) {
            rest.find(|one| !is_word(one)).unwrap_or(rest.len())
        } else {
            first.len_utf8()
        };
        let (token, behind) = rest.split_at(end);
        tokens.push(token.to_owned());
        rest = behind.trim_start();
    }
    tokens
}

fn read(query: &str) -> Asked {
    let mut asked = Asked::default();
    let tokens = tokens(query);
    let at = |index: usize| tokens.get(index).map_or("", String::as_str);
    let mut index = 0;
    while index < tokens.len() {
        let word = at(index);
        let is_name = word.starts_with(|one: char| one.is_ascii_lowercase());
        if GROUPING.contains(&word) && at(index + 1) == "(" {
            index += 2;
            while at(index) != ")" {
                if at(index) != "," {
                    asked.groups.insert(at(index).to_owned());
                }
                index += 1;
            }
        } else if is_name && at(index + 1) == "{" {
            let mut labels = BTreeSet::new();
            let name = word.to_owned();
            index += 2;
            while at(index) != "}" {
                if at(index) != "!" && matches!(at(index + 1), "=" | "!") {
                    labels.insert(at(index).to_owned());
                }
                index += 1;
            }
            asked.metrics.push((name, labels));
        } else {
            // Only metrics stand alone, and ours never do: they would be of any job.
            let is_bare = word.starts_with("portico_") || word.starts_with("process_");
            assert!(!is_bare, "{word} in {query} names no job");
        }
        index += 1;
    }
    asked
}

/// What is wrong with a query, if anything is.
fn wrong(query: &str, known: &All) -> Option<String> {
    let asked = read(query);
    if asked.metrics.is_empty() {
        return Some("it asks for no metric".to_owned());
    }
    let mut labels: BTreeSet<&str> = EVERYWHERE.into();
    for (name, own) in &asked.metrics {
        if name == "up" {
            continue;
        }
        let of_histogram =
            ["_bucket", "_sum", "_count"].into_iter().filter_map(|end| name.strip_suffix(end));
        let of_histogram =
            of_histogram.filter_map(|base| known.get(base)).find(|one| one.kind == "histogram");
        let Some(described) = known.get(name).or(of_histogram) else {
            return Some(format!("there is no {name}"));
        };
        labels.extend(described.labels.iter().map(String::as_str));
        let is_there = |label: &String| {
            EVERYWHERE.contains(&label.as_str()) || described.labels.contains(label)
        };
        if let Some(missing) = own.iter().find(|label| !is_there(label)) {
            return Some(format!("{name} has no label {missing}"));
        }
        let is_rate =
            query.contains(&format!("rate({name}")) || query.contains(&format!("increase({name}"));
        if is_rate && described.kind == "gauge" {
            return Some(format!("{name} is a gauge, and has no rate"));
        }
    }
    let missing = asked.groups.iter().find(|label| !labels.contains(label.as_str()));
    missing.map(|label| format!("nothing has the label {label}"))
}

/// Every query, with where it stands.
fn queries() -> Vec<(String, String)> {
    let text = |path: &str| std::fs::read_to_string(root().join(path)).expect("a file");
    let alerts: Value = serde_saphyr::from_str(&text("conf/prometheus/alerts.yml")).expect("YAML");
    let rules = alerts["groups"].as_array().expect("groups").iter();
    let mut all: Vec<_> = rules
        .flat_map(|group| group["rules"].as_array().expect("rules"))
        .map(|rule| {
            let name = rule["alert"].as_str().expect("a name").to_owned();
            for key in ["/labels/severity", "/annotations/summary", "/annotations/description"] {
                assert!(rule.pointer(key).is_some_and(Value::is_string), "{name}: {key}");
            }
            (name, rule["expr"].as_str().expect("a query").to_owned())
        })
        .collect();
    let dashboard: Value = serde_json::from_str(&text("conf/grafana/portico.json")).expect("JSON");
    for panel in dashboard["panels"].as_array().expect("panels") {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let title = panel["title"].as_str().expect("a title").to_owned();
            all.push((title, target["expr"].as_str().expect("a query").to_owned()));
        }
    }
    all
}

#[tokio::test]
async fn every_query_asks_for_what_is_exported() {
    let exported = scraped_after_everything().await;
    let queries = queries();
    assert!(queries.len() > 60, "{}", queries.len());
    let wrong: Vec<_> = queries
        .iter()
        .filter_map(|(place, query)| Some((place, wrong(query, &exported)?, query)))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_query_that_asks_for_something_else_is_noticed() {
    let known = documented();
    for (query, expected) in [
        ("portico_stores_up{job=\"portico\"} == 0", Some("there is no portico_stores_up")),
        ("max by (tag) (portico_node_load{job=\"a\"})", Some("nothing has the label tag")),
        ("portico_node_load{tag!=\"a\"}", Some("portico_node_load has no label tag")),
        ("time() > 5", Some("it asks for no metric")),
        (
            "rate(portico_node_load{job=\"a\"}[5m])",
            Some("portico_node_load is a gauge, and has no rate"),
        ),
        (
            "sum by (le, call) (rate(portico_request_seconds_bucket{call=~\"a{b}\"}[5m])) / 2e3",
            None,
        ),
        ("portico_build_info_bucket{job=\"a\"}", Some("there is no portico_build_info_bucket")),
    ] {
        assert_eq!(wrong(query, &known).as_deref(), expected, "{query}");
    }
}
