//! What the trail says of a file that is put in force.

use serde_json::json;

use crate::fleet::now_ms;
use crate::model::{Change, Inventory, ObjectName};

/// Who it was, for those who read the trail.
const WHO: &str = "file";

/// What a file changes: the names of what comes, of what was other before, of what goes, and of what the API had made
/// and the file takes over. `None` where there was nothing before, or nothing is other than it was.
pub(super) fn of_file(before: Option<&Inventory>, file: &Inventory, by: &str) -> Option<Change> {
    let before = before?;
    let is_managed = |name: &ObjectName| before.managed.contains(name);
    let names = |wanted: &dyn Fn(&ObjectName) -> bool| -> Vec<String> {
        file.names().filter(|name| wanted(name)).map(|name| name.to_string()).collect()
    };
    let added = names(&|name| before.get(name).is_none());
    let taken_over = names(&is_managed);
    let changed = names(&|name| {
        !is_managed(name) && before.get(name).is_some_and(|known| file.get(name) != Some(known))
    });
    let gone = |name: &ObjectName| !is_managed(name) && file.get(name).is_none();
    let removed: Vec<_> = before.names().filter(gone).map(|name| name.to_string()).collect();
    if [&added, &changed, &removed, &taken_over].into_iter().all(Vec::is_empty) {
        return None;
    }
    let told = json!({
        "by": by, "added": added, "changed": changed, "removed": removed, "taken_over": taken_over,
    });
    Some(Change {
        at_ms: now_ms(),
        who: WHO.to_owned(),
        action: "apply".to_owned(),
        object: "configuration file".to_owned(),
        before: None,
        after: Some(told.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::model::{Kind, Tenant};

    #[test]
    fn each_object_is_told_once() {
        let tenants = |slugs: &[&str]| Inventory {
            tenants: slugs.iter().map(|slug| Tenant::sample(slug, &[0])).collect(),
            ..Inventory::default()
        };
        let mut before = tenants(&["same", "other", "gone", "managed", "taken"]);
        before.managed.extend(["managed", "taken"].map(|slug| ObjectName::new(Kind::Tenant, slug)));
        let mut file = tenants(&["same", "other", "taken", "new"]);
        file.tenants[1].name = "Other".to_owned();
        let change = of_file(Some(&before), &file, "edge-1").unwrap();
        let told: Value = serde_json::from_str(&change.after.unwrap()).unwrap();
        let expected = json!({
            "by": "edge-1", "added": ["tenant new"], "changed": ["tenant other"],
            "removed": ["tenant gone"], "taken_over": ["tenant taken"],
        });
        assert_eq!((told, change.who.as_str()), (expected, "file"));
        assert_eq!(of_file(None, &file, "edge-1"), None);
        assert_eq!(of_file(Some(&file), &file, "edge-1"), None);
    }
}
