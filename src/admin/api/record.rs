//! What the trail says of a change: who, what, and the fields that differ, without secrets.

use serde_json::{Map, Value};

use super::caller::Who;
use super::documents::{self, Secrets};
use crate::fleet::now_ms;
use crate::model::{AssetKind, Change, Object, ObjectName};

/// Fields whose values nobody reads.
const SECRETS: [&str; 3] = ["secret", "secret2", "stats_token"];
const HIDDEN: &str = "(hidden)";
const CHANGED: &str = "(changed)";

type Document = Map<String, Value>;

/// A change of an object: all of what came or went; of what was changed the fields that differ.
pub(super) fn of_objects(
    who: &Who,
    action: &str,
    name: &ObjectName,
    before: Option<&Object>,
    after: Option<&Object>,
) -> Change {
    let (mut old, mut new) = (before.map(whole), after.map(whole));
    if let (Some(old), Some(new)) = (&mut old, &mut new) {
        let same: Vec<_> =
            old.iter().filter(|(key, value)| new.get(*key) == Some(*value)).map(key_of).collect();
        for key in same {
            old.remove(&key);
            new.remove(&key);
        }
    }
    let text = |document: &Document, other: Option<&Document>| {
        let mut document = document.clone();
        hide(&mut document, other);
        Value::Object(document).to_string()
    };
    let (before, after) =
        (old.as_ref().map(|old| text(old, None)), new.as_ref().map(|new| text(new, old.as_ref())));
    of_texts(who, action, name, before, after)
}

/// A change that is told as it is.
pub(super) fn of_texts(
    who: &Who,
    action: &str,
    name: &ObjectName,
    before: Option<String>,
    after: Option<String>,
) -> Change {
    Change {
        at_ms: now_ms(),
        who: who.name.clone(),
        action: action.to_owned(),
        object: name.to_string(),
        before,
        after,
    }
}

fn key_of((key, _): (&String, &Value)) -> String {
    key.clone()
}

/// All of an object, its secrets as well, and the digests of its files.
fn whole(object: &Object) -> Document {
    let Value::Object(mut document) = documents::write(object, Secrets::Shown) else {
        return Document::new();
    };
    if let Object::Tenant(tenant) = object {
        let files = AssetKind::ALL.into_iter().filter_map(|kind| {
            let (_, digest) = tenant.branding.get(kind)?.file()?;
            Some((kind.as_str().to_owned(), digest.into()))
        });
        let files: Document = files.collect();
        if !files.is_empty() {
            document.insert("files".to_owned(), Value::Object(files));
        }
    }
    document
}

/// Takes secrets out; where there is one to compare with, it says which have changed.
fn hide(document: &mut Document, before: Option<&Document>) {
    for key in SECRETS {
        if let Some(secret) = document.get_mut(key) {
            let is_same = before.is_none_or(|before| before.get(key) == Some(&*secret));
            *secret = if is_same { HIDDEN } else { CHANGED }.into();
        }
    }
    let Some(Value::Array(secrets)) = document.get_mut("secrets") else { return };
    for secret in secrets.iter_mut().filter_map(Value::as_object_mut) {
        let sub_id = secret.get("sub_id").cloned();
        let known = before.map(|before| {
            let all = before.get("secrets").and_then(Value::as_array);
            let mut all = all.into_iter().flatten().filter_map(Value::as_object);
            all.find(|known| known.get("sub_id") == sub_id.as_ref()).cloned().unwrap_or_default()
        });
        hide(secret, known.as_ref());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::{Kind, Secret, SubId, Tenant};

    fn change(edit: impl Fn(&mut Tenant)) -> (Value, Value) {
        let before = Tenant::sample("acme", &[0, 1]);
        let mut after = before.clone();
        edit(&mut after);
        let [before, after] = [before, after].map(|tenant| Object::Tenant(Box::new(tenant)));
        let who = Who { name: "ann (1)".to_owned(), token: "1".to_owned() };
        let name = ObjectName::new(Kind::Tenant, "acme");
        let change = of_objects(&who, "update", &name, Some(&before), Some(&after));
        let read = |text: Option<String>| {
            serde_json::from_str(&text.expect("it is told")).expect("it is JSON")
        };
        (read(change.before), read(change.after))
    }

    #[test]
    fn what_stays_is_not_told() {
        let (before, after) = change(|tenant| tenant.name = "Acme".to_owned());
        assert_eq!(before["name"], Tenant::sample("acme", &[0]).name);
        assert_eq!(after, json!({"name": "Acme"}));
    }

    #[test]
    fn which_secret_has_changed_is_told_and_no_secret() {
        let (before, after) = change(|tenant| {
            tenant.secrets[1].secret = Secret::new("a new one");
            tenant.secrets.retain(|secret| secret.sub_id != SubId::MAIN);
        });
        assert_eq!(before["secrets"][1]["secret"], HIDDEN);
        assert_eq!(after["secrets"][0]["secret"], CHANGED);
        assert_eq!(after["secrets"][0]["sub_id"], 1);
        assert!(!after.to_string().contains("a new one"));
        let (before, after) = change(|tenant| tenant.stats_token = Some(Secret::new("mine")));
        assert_eq!((before, after), (json!({}), json!({"stats_token": CHANGED})));
    }
}
