//! Makes the inventory what a file says, as far as it is not the configuration file's own.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::failure::{Failure, plain};
use super::objects::{CLUSTERS, GROUPS, NODES, Noun, TENANTS};
use super::output::Format;
use super::plan::{self, Action, Field};
use super::question::confirm;
use super::secrets::first_line;
use super::{Access, Api, api, export, output, values, whole, words};
use crate::cli::environment;

/// Sections of a configuration file that are no inventory.
const OTHERS: [&str; 10] = [
    "api",
    "callbacks",
    "data_dir",
    "limits",
    "metrics",
    "polling",
    "redis",
    "server",
    "statistics",
    "store",
];
/// In the order in which they need each other.
pub(super) const NOUNS: [&Noun; 4] = [&CLUSTERS, &GROUPS, &NODES, &TENANTS];

/// What is wanted.
#[derive(Debug, Args)]
pub(in crate::cli) struct Wanted {
    /// Clusters, groups, nodes and tenants as in the configuration file; `-` is standard input
    file: PathBuf,
    /// Only say what would be changed
    #[arg(long)]
    dry_run: bool,
    /// Remove what came through the API and is not in FILE
    #[arg(long)]
    prune: bool,
}

/// What becomes, or became, of an object.
#[derive(Debug, Serialize)]
struct Step {
    object: String,
    action: Action,
    fields: Vec<Field>,
    #[serde(skip)]
    noun: &'static Noun,
    #[serde(skip)]
    name: String,
}

pub(super) type Documents = BTreeMap<String, Map<String, Value>>;

pub(super) async fn run(access: &Access, wanted: &Wanted) -> Result<(), Failure> {
    let (mut file, named) = read(&wanted.file)?;
    let api = Api::new(access)?;
    // What a file says nothing of it does not want away.
    let prune = named.map(|is_named| is_named && wanted.prune);
    whole::check(&api, &file, &prune).await?;
    let (steps, same) = plan(&api, &mut file, &prune).await?;
    if wanted.dry_run {
        return print(access, &steps, same, "would be ");
    }
    let removed = steps.iter().filter(|step| step.action == Action::Remove);
    let removed: Vec<_> = removed.map(|step| step.object.as_str()).collect();
    if !removed.is_empty() {
        confirm(access, &format!("remove {}", removed.join(", ")))?;
    }
    let (mut done, mut same) = (Vec::new(), same);
    let outcome = tokio::select! {
        outcome = work_off(&api, &file, steps, &mut done, &mut same) => outcome,
        _interrupted = tokio::signal::ctrl_c() => {
            Err(Failure::failed("interrupted: what is printed was done, and perhaps one more"))
        }
    };
    print(access, &done, same, "")?;
    outcome
}

/// Does one step after the other. What another object stands in the way of, such as the URL of a node that gets
/// another name, is tried again when the others are done.
async fn work_off(
    api: &Api,
    file: &[Documents; 4],
    mut steps: Vec<Step>,
    done: &mut Vec<Step>,
    same: &mut usize,
) -> Result<(), Failure> {
    while !steps.is_empty() {
        let count = steps.len();
        let (mut put_off, mut first) = (Vec::new(), None);
        for step in steps {
            match act(api, file, &step).await {
                Ok(true) => done.push(step),
                Ok(false) => *same += 1,
                Err(failure) if failure.is_clash() => {
                    first.get_or_insert(failure.of(&step.object));
                    put_off.push(step);
                }
                Err(failure) => return Err(failure.of(&step.object)),
            }
        }
        if let Some(failure) = first.filter(|_| put_off.len() == count) {
            return Err(failure);
        }
        steps = put_off;
    }
    Ok(())
}

/// What there is to do, in its order, and how many objects are as they should be.
async fn plan(
    api: &Api,
    file: &mut [Documents; 4],
    prune: &[bool; 4],
) -> Result<(Vec<Step>, usize), Failure> {
    let (mut steps, mut removals, mut same) = (Vec::new(), Vec::new(), 0);
    // Whoever fills in what is missing wants to know of all of it.
    let mut wrong = Vec::new();
    for ((noun, wanted), prune) in NOUNS.into_iter().zip(file).zip(prune) {
        let there = plan::by_name(noun, api.all(noun.collection).await?);
        for (name, document) in wanted.iter_mut() {
            let object = format!("{} {name}", noun.kind.as_str());
            let (action, difference) = match there.get(name) {
                Some(view) if view["origin"] == "file" => {
                    eprintln!("{} stands in the configuration file: skipped", plain(&object));
                    continue;
                }
                known => {
                    let open = export::unmark(known, document);
                    if !open.is_empty() {
                        wrong.push(Failure::wrong_fields(open).of(&object));
                        continue;
                    }
                    match known {
                        Some(view) => (Action::Change, plan::compare(noun, view, document)),
                        None => (Action::Add, plan::new(noun, document)),
                    }
                }
            };
            let fields = match difference {
                Ok(difference) => difference.fields,
                Err(failure) => {
                    wrong.push(failure.of(&object));
                    continue;
                }
            };
            if action == Action::Change && fields.is_empty() {
                same += 1;
                continue;
            }
            steps.push(Step { object, action, fields, noun, name: name.clone() });
        }
        let gone = there.iter().filter(|(name, view)| {
            *prune && view["origin"] == "api" && !wanted.contains_key(*name)
        });
        removals.extend(gone.map(|(name, _)| Step {
            object: format!("{} {name}", noun.kind.as_str()),
            action: Action::Remove,
            fields: Vec::new(),
            noun,
            name: name.clone(),
        }));
    }
    Failure::together(wrong)?;
    // Who uses others goes before them.
    steps.extend(removals.into_iter().rev());
    Ok((steps, same))
}

/// Does it. False: it was so already.
async fn act(api: &Api, file: &[Documents; 4], step: &Step) -> Result<bool, Failure> {
    let noun = step.noun;
    let path = api::path(noun.collection, &step.name);
    let of_kind = NOUNS.into_iter().zip(file).find(|(one, _)| one.kind == noun.kind);
    let document = of_kind.and_then(|(_, documents)| documents.get(&step.name));
    match (step.action, document) {
        (Action::Add, Some(document)) => {
            api.post(noun.collection, &Value::Object(document.clone())).await?;
        }
        (Action::Change, Some(document)) => {
            // As it is now, for others may have changed it since the comparison.
            let read = api.get(&path).await?;
            let body = plan::compare(noun, &read.body, document)?.patch;
            let changed = api.patch(&path, &body, read.tag.clone()).await?;
            return Ok(changed.tag != read.tag);
        }
        (Action::Remove, _) => {
            let removed = api.delete(&path).await;
            removed.map_err(|failure| failure.in_words(|text| words::of(text, &step.name)))?;
        }
        (_, None) => {}
    }
    Ok(true)
}

fn print(access: &Access, steps: &[Step], same: usize, would: &str) -> Result<(), Failure> {
    if access.output != Format::Table {
        return output::value(access.output, &json!(steps));
    }
    let mut lines = String::new();
    let mut line = |text: String| {
        // Writing to a text cannot fail.
        writeln!(lines, "{}", plain(&text)).ok();
    };
    for Step { object, action, fields, .. } in steps {
        line(format!("{} {object}", action.sign()));
        for Field { path, before, after } in fields {
            let shown =
                |text: &str| if text.is_empty() { "nothing".to_owned() } else { text.to_owned() };
            let after = after.as_deref().map_or_else(|| "nothing".to_owned(), shown);
            line(match before {
                None => format!("    {path}: {after}"),
                Some(before) => format!("    {path}: {} → {after}", shown(before)),
            });
        }
    }
    let count = |wanted| steps.iter().filter(|step| step.action == wanted).count();
    let (added, changed, removed) =
        (count(Action::Add), count(Action::Change), count(Action::Remove));
    line(format!(
        "{would}added: {added}, changed: {changed}, removed: {removed}, the same: {same}"
    ));
    output::write(lines.as_bytes())
}

/// The objects of a file, in the order of [`NOUNS`], and whether it speaks of such objects at all.
fn read(file: &Path) -> Result<([Documents; 4], [bool; 4]), Failure> {
    let in_file = |failure: Failure| failure.of(file.display());
    let mut document = values::mapping(file)?;
    for other in OTHERS {
        if document.remove(other).is_some() {
            eprintln!("{other} is no part of the inventory: skipped");
        }
    }
    let [of_clusters, of_groups, of_tenants] = ["clusters", "cluster_groups", "tenants"]
        .map(|key| document.get(key).is_some_and(Value::is_array));
    let mut take = |key: &str| match document.remove(key) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(items)) => Ok(items),
        Some(_) => Err(in_file(Failure::wrong(format_args!("{key}: is no list")))),
    };
    let (mut clusters, groups, tenants) =
        (take("clusters")?, take("cluster_groups")?, take("tenants")?);
    // With --prune a key with a slip in it would remove everything.
    if let Some(key) = document.keys().next() {
        return Err(in_file(Failure::wrong(format_args!(
            "{key}: is no key here; clusters, cluster_groups and tenants are"
        ))));
    }
    let mut nodes = Vec::new();
    for cluster in clusters.iter_mut().filter_map(Value::as_object_mut) {
        let name = cluster.get("name").cloned().unwrap_or_default();
        let own = match cluster.remove("nodes") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(own)) => own,
            Some(_) => {
                let name = output::text(Some(&name));
                return Err(in_file(Failure::wrong(format_args!(
                    "cluster {name}: nodes: is no list"
                ))));
            }
        };
        for mut node in own {
            if let Value::Object(node) = &mut node {
                node.insert("cluster".to_owned(), name.clone());
            }
            nodes.push(node);
        }
    }
    let all = [clusters, groups, nodes, tenants];
    let mut named: [Documents; 4] = Default::default();
    for ((noun, items), named) in NOUNS.into_iter().zip(all).zip(&mut named) {
        let what = noun.kind.as_str();
        let mut seen = BTreeSet::new();
        for (index, item) in items.into_iter().enumerate() {
            let name = item.get(noun.key).and_then(Value::as_str).map(str::to_owned);
            let (Value::Object(mut item), Some(name)) = (item, name) else {
                return Err(in_file(Failure::wrong(format_args!(
                    "{what} number {}: {}: is missing, or no text",
                    index + 1,
                    noun.key
                ))));
            };
            if !seen.insert(name.clone()) {
                return Err(in_file(Failure::wrong(format_args!("{what} {name} is there twice"))));
            }
            resolve(&mut item, file)
                .map_err(|failure| failure.of(format_args!("{what} {name}")))?;
            named.insert(name, item);
        }
    }
    Ok((named, [of_clusters, of_groups, of_clusters, of_tenants]))
}

/// Puts the values of secrets in that the file names as in the configuration: `{file: path}` or `{env: NAME}`.
fn resolve(document: &mut Map<String, Value>, beside: &Path) -> Result<(), Failure> {
    for (key, value) in document.iter_mut() {
        if key == "secrets"
            && let Value::Array(secrets) = value
        {
            for secret in secrets.iter_mut().filter_map(Value::as_object_mut) {
                resolve(secret, beside)?;
            }
        }
        if !["secret", "secret2", "stats_token"].contains(&key.as_str()) {
            continue;
        }
        if let Some(name) = value.get("env").and_then(Value::as_str) {
            let found = environment(name).ok_or_else(|| {
                Failure::wrong(format_args!("{key}: the environment variable {name} is not set"))
            })?;
            *value = found.into();
        } else if let Some(path) = value.get("file").and_then(Value::as_str) {
            let path = Path::new(path);
            // As in the configuration: from here, else from where the file is.
            let near = beside.parent().map(|dir| dir.join(path)).filter(|_| !path.exists());
            let found = first_line(near.as_deref().unwrap_or(path));
            *value = found.map_err(|failure| failure.of(key))?.into();
        }
    }
    Ok(())
}
