//! The webhooks of front ends, in memory: looked through for every event of a node.

use hmac::{Hmac, KeyInit, Mac};
use parking_lot::RwLock;
use sha2::Sha256;
use tokio::sync::watch;

use super::Node;
use crate::model::{Hook, Scope, Slug};

/// Hooks that one scope may have; a front end makes one for all its meetings, or one for each that runs. Each
/// is looked at for every event of every node, and each event is told to all that want it.
const MAX_OF_SCOPE: usize = 100;

/// Where nodes post what happens, before their name and token.
pub const HOOK_PREFIX: &str = "/b3lb/h/";

/// All hooks there are.
#[derive(Debug, Default)]
pub struct Hooks {
    table: RwLock<Table>,
    /// Counts changes.
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Table {
    hooks: Vec<Hook>,
    last_id: u64,
}

/// The path under which a node posts what happens. Nobody can guess it who does not know the node's secret.
///
/// # Panics
/// Never: an HMAC takes keys of any length.
pub fn hook_path(node: &Node) -> String {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(node.spec.secret.expose().as_bytes())
        .expect("an HMAC takes keys of any length");
    mac.update(b"portico webhook ");
    mac.update(node.name().as_str().as_bytes());
    format!("{HOOK_PREFIX}{}/{}", node.name(), hex::encode(mac.finalize().into_bytes()))
}

/// What becomes of a wish for a hook.
#[derive(Debug, PartialEq, Eq)]
pub enum Wish {
    /// It has a number now, and is to be saved and then [entered](Hooks::enter).
    New(Hook),
    /// The scope has a hook with this URL.
    Known(Hook),
    /// The scope has too many.
    TooMany,
}

impl Hooks {
    /// Takes up the hooks that there were when we last looked.
    pub fn restore(&self, hooks: Vec<Hook>) {
        let last_id = hooks.iter().map(|hook| hook.id).max().unwrap_or_default();
        *self.table.write() = Table { hooks, last_id };
    }

    /// Gives a wish its number, which its `id` need not have. The hook does not count before it is entered.
    pub fn wish(&self, hook: Hook) -> Wish {
        let mut table = self.table.write();
        let mut own = table.hooks.iter().filter(|own| own.scope == hook.scope);
        if let Some(known) = own.clone().find(|own| own.callback_url == hook.callback_url) {
            return Wish::Known(known.clone());
        }
        if own.by_ref().count() >= MAX_OF_SCOPE {
            return Wish::TooMany;
        }
        table.last_id += 1;
        Wish::New(Hook { id: table.last_id, ..hook })
    }

    /// Begins to count a hook.
    pub fn enter(&self, hook: Hook) {
        self.table.write().hooks.push(hook);
        self.changes.send_modify(|count| *count += 1);
    }

    /// The hooks that a caller in `scope` may see: those of this meeting and those of all meetings, or all.
    pub fn list(&self, scope: &Scope, meeting_id: Option<&str>) -> Vec<Hook> {
        let is_meant = |hook: &&Hook| {
            let own = hook.meeting_id.as_deref();
            scope.sees(&hook.scope) && (meeting_id.is_none() || own.is_none() || own == meeting_id)
        };
        self.table.read().hooks.iter().filter(is_meant).cloned().collect()
    }

    /// Takes a hook out, if there is one of this number that a caller in `scope` may see.
    pub fn remove(&self, scope: &Scope, id: u64) -> Option<Hook> {
        let mut table = self.table.write();
        let at = table.hooks.iter().position(|hook| hook.id == id && scope.sees(&hook.scope))?;
        let removed = table.hooks.swap_remove(at);
        drop(table);
        self.changes.send_modify(|count| *count += 1);
        Some(removed)
    }

    /// Takes out the hooks of a meeting that is over.
    pub fn remove_of_meeting(&self, owner: &Scope, meeting_id: &str) -> Vec<Hook> {
        let is_over = |hook: &mut Hook| {
            hook.scope.sees(owner) && hook.meeting_id.as_deref() == Some(meeting_id)
        };
        self.table.write().hooks.extract_if(.., is_over).collect()
    }

    /// The hooks that want this event of the meeting that `owner` calls `meeting_id`.
    pub fn that_want(&self, event: &str, owner: &Scope, meeting_id: &str) -> Vec<Hook> {
        let table = self.table.read();
        table.hooks.iter().filter(|hook| hook.wants(event, owner, meeting_id)).cloned().collect()
    }

    /// Whether there ever were any that this process knows of.
    pub fn were_any(&self) -> bool {
        self.table.read().last_id > 0
    }

    /// Changes with every hook that comes or goes.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Whether a tenant has any.
    pub fn has_any(&self, tenant: &Slug) -> bool {
        self.table.read().hooks.iter().any(|hook| hook.scope.tenant == *tenant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::CallbackToken;

    fn hook(scope: &str, url: &str, meeting_id: Option<&str>) -> Hook {
        Hook {
            id: 0,
            scope: Scope::parse(scope).unwrap(),
            token: CallbackToken::new([0; CallbackToken::BYTES]),
            callback_url: url.to_owned(),
            meeting_id: meeting_id.map(str::to_owned),
            events: Vec::new(),
            raw: false,
            created_at_ms: 0,
        }
    }

    fn entered(hooks: &Hooks, hook: Hook) -> u64 {
        let Wish::New(hook) = hooks.wish(hook) else { panic!("it is not new") };
        let id = hook.id;
        hooks.enter(hook);
        id
    }

    #[test]
    fn scopes_neither_see_nor_remove_each_others_hooks() {
        let hooks = Hooks::default();
        let first = entered(&hooks, hook("acme", "http://a", None));
        let second = entered(&hooks, hook("acme-5", "http://a", Some("room")));
        let third = entered(&hooks, hook("other", "http://a", None));
        let [acme, acme5] = ["acme", "acme-5"].map(|text| Scope::parse(text).unwrap());
        let ids = |scope, meeting_id| -> Vec<u64> {
            hooks.list(scope, meeting_id).iter().map(|hook| hook.id).collect()
        };
        assert_eq!(ids(&acme, None), [first, second]);
        assert_eq!(ids(&acme, Some("else")), [first]);
        assert_eq!(ids(&acme5, None), [second]);
        assert_eq!(hooks.remove(&acme, third), None);
        assert!(
            matches!(hooks.wish(hook("acme", "http://a", None)), Wish::Known(own) if own.id == first)
        );
        assert_eq!(hooks.remove_of_meeting(&acme5, "room").len(), 1);
        assert!(hooks.remove(&acme, first).is_some() && ids(&acme, None).is_empty());
        assert!(
            hooks.has_any(&"other".parse().unwrap()) && !hooks.has_any(&"acme".parse().unwrap())
        );
    }

    #[test]
    fn numbers_go_on_after_a_restart_and_a_scope_has_so_many() {
        let hooks = Hooks::default();
        hooks.restore(vec![Hook { id: 7, ..hook("acme", "http://a", None) }]);
        assert_eq!(entered(&hooks, hook("acme", "http://b", None)), 8);
        for number in 2..MAX_OF_SCOPE {
            entered(&hooks, hook("acme", &number.to_string(), None));
        }
        assert_eq!(hooks.wish(hook("acme", "http://c", None)), Wish::TooMany);
        assert!(matches!(hooks.wish(hook("acme-1", "http://c", None)), Wish::New(_)));
    }
}
