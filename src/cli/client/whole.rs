//! Whether the inventory that a file would make is right as a whole, before anything is changed.

use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

use super::apply::{Documents, NOUNS};
use super::export::{self, FILL_IN};
use super::failure::Failure;
use super::objects::NODES;
use super::{Api, api, plan};
use crate::model::{Inventory, Kind, Object};

/// No object has this tag, so that a change with it is only looked at.
const OF_NOTHING: &str = "\"only-asked\"";
/// In place of secrets that are still to be filled in, for reading the rest.
const OPEN: &str = "still-to-be-filled-in";

/// Looks at what is there already, with what the file says over it.
///
/// # Errors
/// All that is wrong.
pub(super) async fn check(
    api: &Api,
    file: &[Documents; 4],
    prune: &[bool; 4],
) -> Result<(), Failure> {
    let (mut wrong, mut inventory, mut urls) = (Vec::new(), Inventory::default(), Vec::new());
    let mut are_all_read = true;
    for ((noun, wanted), prune) in NOUNS.into_iter().zip(file).zip(prune) {
        let there = plan::by_name(noun, api.all(noun.collection).await?);
        let is_of_file = |view: &Value| view["origin"] == "file";
        for (name, view) in &there {
            let is_left = is_of_file(view) || !*prune && !wanted.contains_key(name);
            if is_left && let Ok(object) = plan::becomes(noun, view, &Map::new()) {
                inventory.put(object);
            }
        }
        for (name, document) in wanted {
            let known = there.get(name);
            if known.is_some_and(is_of_file) {
                continue;
            }
            let called = format!("{} {name}", noun.kind.as_str());
            let open = export::unmark(known, &mut document.clone());
            if !open.is_empty() {
                wrong.push(Failure::fields(open).of(&called));
            }
            let document = filled(document);
            let read = match known {
                Some(view) => plan::becomes(noun, view, &document),
                None => plan::read(noun, &Value::Object(document)),
            };
            match read {
                Ok(object) => {
                    if let Object::Node(node) = &object
                        && known.is_none_or(|view| view["url"] != node.url.as_str())
                    {
                        urls.push((name, node.url.clone()));
                    }
                    inventory.put(object);
                }
                Err(failure) => {
                    are_all_read &= noun.kind == Kind::Node || noun.kind == Kind::Tenant;
                    wrong.push(failure.of(&called));
                }
            }
        }
    }
    for clash in inventory.clashes(None) {
        // What is missing may only be wrong, which is told above.
        if are_all_read || !clash.is_of_missing() {
            let field = (clash.field.to_owned(), clash.message);
            wrong.push(Failure::fields([field]).of(clash.object));
        }
    }
    for (name, url) in urls {
        if let Some(refused) = refused(api, name, url.as_str()).await? {
            wrong.push(refused.of(format_args!("node {name}")));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(Failure::all_wrong(wrong)) }
}

/// Why a node may not have this URL, as far as only Portico itself knows: where it is reached. Nothing is changed,
/// whether there is such a node or not.
async fn refused(api: &Api, name: &str, url: &str) -> Result<Option<Failure>, Failure> {
    let path = api::path(NODES.collection, name);
    let tag = HeaderValue::from_static(OF_NOTHING);
    let Err(failure) = api.patch(&path, &json!({"url": url}), Some(tag)).await else {
        return Ok(None);
    };
    match failure.status {
        Some(StatusCode::UNPROCESSABLE_ENTITY) => Ok(Some(failure)),
        // Who may only read is told nothing of it; what changes is refused in the end.
        Some(status) if status.is_client_error() => Ok(None),
        _ => Err(failure),
    }
}

/// With a text wherever a secret is still to be filled in.
fn filled(document: &Map<String, Value>) -> Map<String, Value> {
    let is_open = |value: &Value| value.get(FILL_IN).is_some();
    let mut document = document.clone();
    if document.get("secret").is_some_and(is_open) {
        document.insert("secret".to_owned(), OPEN.into());
    }
    let secrets = document.get_mut("secrets").and_then(Value::as_array_mut);
    for (index, secret) in secrets.into_iter().flatten().enumerate() {
        if let Some(secret) = secret.get_mut("secret").filter(|secret| is_open(secret)) {
            *secret = format!("{OPEN}-{index}").into();
        }
    }
    document
}
