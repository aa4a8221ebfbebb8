//! What a file of the inventory would change: compared object by object, before anything is done.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use super::export;
use super::failure::Failure;
use super::objects::Noun;
use super::output::{flatten, text};
use crate::admin::told;
use crate::config;
use crate::model::{Kind, Object};

/// In place of secrets that are there already, for reading the rest.
const KEPT: &str = "kept-as-it-is";
/// In place of secrets, for everybody.
const HIDDEN: &str = "(set)";
/// Fields that are taken and never given.
const SECRETS: [&str; 3] = ["secret", "secret2", "stats_token"];

/// What becomes of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Action {
    Add,
    Change,
    Remove,
}

impl Action {
    pub(super) fn sign(self) -> char {
        match self {
            Self::Add => '+',
            Self::Change => '~',
            Self::Remove => '-',
        }
    }
}

/// A field of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Field {
    #[serde(rename = "field")]
    pub(super) path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) before: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) after: Option<String>,
}

/// How an object differs from what a file says of it.
pub(super) struct Difference {
    pub(super) fields: Vec<Field>,
    /// What makes it so.
    pub(super) patch: Value,
}

/// A new object: all that the file says of it.
pub(super) fn new(noun: &Noun, wanted: &Map<String, Value>) -> Result<Difference, Failure> {
    let patch = Value::Object(wanted.clone());
    check(noun, &patch)?;
    let mut shown = patch.clone();
    hide(&mut shown);
    let fields = rows(&shown)
        .into_iter()
        .map(|(path, after)| Field { path, before: None, after: Some(after) })
        .collect();
    Ok(Difference { fields, patch })
}

/// An object that is there. What the file does not name stays.
pub(super) fn compare(
    noun: &Noun,
    view: &Value,
    wanted: &Map<String, Value>,
) -> Result<Difference, Failure> {
    let (before, patch, whole) = merged(noun, view, wanted);
    let (before, after) = (rows(&before), rows(&check(noun, &whole)?));
    let mut fields: Vec<_> = before
        .iter()
        .filter(|(path, text)| after.get(*path) != Some(text))
        .map(|(path, text)| (path, Some(text), after.get(path)))
        .chain(
            after
                .iter()
                .filter(|(path, _)| !before.contains_key(*path))
                .map(|(path, text)| (path, None, Some(text))),
        )
        .map(|(path, before, after)| Field {
            path: path.clone(),
            before: before.cloned(),
            after: after.cloned(),
        })
        .collect();
    let mut shown = patch.clone();
    // Nobody can see whether the secrets that the file names are others than before.
    hide(&mut shown);
    for (path, text) in rows(&shown) {
        if text == HIDDEN && SECRETS.iter().any(|secret| path.ends_with(secret)) {
            fields.push(Field { path, before: None, after: Some(text) });
        }
    }
    Ok(Difference { fields, patch })
}

/// An object that is there, as it becomes; what nobody is told stands in for its secrets.
///
/// # Errors
/// What is wrong with it.
pub(super) fn becomes(
    noun: &Noun,
    view: &Value,
    wanted: &Map<String, Value>,
) -> Result<Object, Failure> {
    let (_, _, whole) = merged(noun, view, wanted);
    read(noun, &whole)
}

/// An object by its document.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read(noun: &Noun, document: &Value) -> Result<Object, Failure> {
    config::read_object(noun.kind, document).map_err(failure)
}

/// What it was, the patch, and what comes of it.
fn merged(noun: &Noun, view: &Value, wanted: &Map<String, Value>) -> (Value, Value, Value) {
    let before = Value::Object(export::document(view));
    let mut patch = Value::Object(wanted.clone());
    if let Some(secrets) = patch.get_mut("secrets") {
        *secrets = overlaid(&before["secrets"], secrets);
    }
    let mut whole = before.clone();
    json_patch::merge(&mut whole, &patch);
    keep(noun, &mut whole, &before);
    (before, patch, whole)
}

/// As the API tells it, if it is right.
fn check(noun: &Noun, document: &Value) -> Result<Value, Failure> {
    told(noun.kind, document).map_err(failure)
}

fn failure(wrong: Vec<config::Problem>) -> Failure {
    Failure::wrong_fields(wrong.into_iter().map(|problem| (problem.path, problem.message)))
}

/// The list of secrets with those of the file over it, by `sub_id`: those it does not name stay.
fn overlaid(before: &Value, wanted: &Value) -> Value {
    let Some(wanted) = wanted.as_array() else { return wanted.clone() };
    let mut all = before.as_array().cloned().unwrap_or_default();
    for one in wanted {
        let known = all.iter_mut().find(|known| known["sub_id"] == one["sub_id"]);
        match known {
            Some(known) => json_patch::merge(known, one),
            None => all.push(one.clone()),
        }
    }
    Value::Array(all)
}

/// Puts something in the place of secrets that stay.
fn keep(noun: &Noun, whole: &mut Value, before: &Value) {
    if noun.kind == Kind::Node
        && let Value::Object(node) = whole
    {
        node.entry("secret").or_insert_with(|| KEPT.into());
    }
    let known = |sub_id: &Value| {
        before["secrets"]
            .as_array()
            .is_some_and(|all| all.iter().any(|one| one["sub_id"] == *sub_id))
    };
    let secrets = whole.get_mut("secrets").and_then(Value::as_array_mut);
    for secret in secrets.into_iter().flatten().filter_map(Value::as_object_mut) {
        let sub_id = secret.get("sub_id").cloned().unwrap_or_default();
        if known(&sub_id) {
            secret.entry("secret").or_insert_with(|| format!("{KEPT}-{sub_id}").into());
        }
    }
}

/// Takes all secrets out.
fn hide(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                if SECRETS.contains(&key.as_str()) {
                    *value = HIDDEN.into();
                } else {
                    hide(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(hide),
        _ => {}
    }
}

fn rows(value: &Value) -> BTreeMap<String, String> {
    let mut rows = Vec::new();
    flatten("", value, &mut rows);
    rows.into_iter().collect()
}

/// The objects of a list by their names.
pub(super) fn by_name(noun: &Noun, views: Vec<Value>) -> BTreeMap<String, Value> {
    views.into_iter().map(|view| (text(view.get(noun.key)), view)).collect()
}
