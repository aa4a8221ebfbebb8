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
    /// Those that have a number, and are not on the disk yet.
    saving: Vec<Saving>,
    last_id: u64,
}

#[derive(Debug)]
struct Saving {
    id: u64,
    scope: Scope,
    callback_url: String,
    /// Closes when it is saved, or was given up.
    done: watch::Receiver<()>,
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
#[derive(Debug)]
pub enum Wish<'h> {
    /// It has a number now, and is to be saved and then [entered](Wished::enter).
    New(Wished<'h>),
    /// The scope has a hook with this URL.
    Known(Hook),
    /// Somebody is saving a hook of the scope with this URL. When this closes, the wish is to be made again.
    Saving(watch::Receiver<()>),
    /// The scope has too many.
    TooMany,
}

/// A hook that is being saved. Dropped, it is given up.
#[must_use = "a dropped hook is given up"]
#[derive(Debug)]
pub struct Wished<'h> {
    hooks: &'h Hooks,
    hook: Hook,
    _until_done: watch::Sender<()>,
}

impl Wished<'_> {
    /// The hook, with its number.
    pub fn hook(&self) -> &Hook {
        &self.hook
    }

    /// Begins to count the hook.
    pub fn enter(self) {
        // What is dropped then finds nothing to give up.
        self.hooks.enter(self.hook.clone());
    }
}

impl Drop for Wished<'_> {
    fn drop(&mut self) {
        self.hooks.table.write().saving.retain(|saving| saving.id != self.hook.id);
    }
}

impl Hooks {
    /// Takes up the hooks that there were when we last looked.
    pub fn restore(&self, hooks: Vec<Hook>) {
        let last_id = hooks.iter().map(|hook| hook.id).max().unwrap_or_default();
        *self.table.write() = Table { hooks, saving: Vec::new(), last_id };
    }

    /// Takes up what other instances have made of the hooks of a tenant, or of all: this is what the store had.
    /// `since` is what [`Hooks::changes`] said before the store was asked: whatever has changed here since then
    /// may not have been in it, so then nothing is done.
    pub fn follow(&self, tenant: Option<&Slug>, hooks: Vec<Hook>, since: u64) {
        let mut table = self.table.write();
        let is_meant = |hook: &Hook| tenant.is_none_or(|tenant| hook.scope.tenant == *tenant);
        let is_same = || table.hooks.iter().filter(|hook| is_meant(hook)).eq(hooks.iter());
        if *self.changes.borrow() != since || is_same() {
            return;
        }
        table.hooks.retain(|hook| !is_meant(hook));
        table.last_id = hooks.iter().map(|hook| hook.id).fold(table.last_id, u64::max);
        table.hooks.extend(hooks);
        table.hooks.sort_by_key(|hook| hook.id);
        drop(table);
        self.changes.send_modify(|count| *count += 1);
    }

    /// Numbers up to this one are in use elsewhere.
    pub fn skip(&self, last_id: u64) {
        let mut table = self.table.write();
        table.last_id = table.last_id.max(last_id);
    }

    /// Gives a wish its number, which its `id` need not have. The hook does not count before it is entered, but
    /// the same wish is not granted a second time.
    pub fn wish(&self, hook: Hook) -> Wish<'_> {
        let mut table = self.table.write();
        let is_own = |scope: &Scope| *scope == hook.scope;
        let hooks = table.hooks.iter().filter(|own| is_own(&own.scope));
        let saving = table.saving.iter().filter(|own| is_own(&own.scope));
        if let Some(known) = hooks.clone().find(|own| own.callback_url == hook.callback_url) {
            return Wish::Known(known.clone());
        }
        if let Some(same) = saving.clone().find(|own| own.callback_url == hook.callback_url) {
            return Wish::Saving(same.done.clone());
        }
        if hooks.count() + saving.count() >= MAX_OF_SCOPE {
            return Wish::TooMany;
        }
        table.last_id += 1;
        let hook = Hook { id: table.last_id, ..hook };
        let (until_done, done) = watch::channel(());
        let (scope, callback_url) = (hook.scope.clone(), hook.callback_url.clone());
        table.saving.push(Saving { id: hook.id, scope, callback_url, done });
        Wish::New(Wished { hooks: self, hook, _until_done: until_done })
    }

    /// Begins to count a hook.
    pub fn enter(&self, hook: Hook) {
        let mut table = self.table.write();
        table.saving.retain(|saving| saving.id != hook.id);
        table.hooks.retain(|known| known.id != hook.id);
        table.hooks.push(hook);
        drop(table);
        self.changes.send_modify(|count| *count += 1);
    }

    /// Takes up a hook that another instance has.
    pub(super) fn take_up(&self, hook: Hook) {
        let mut table = self.table.write();
        table.last_id = table.last_id.max(hook.id);
        match table.hooks.iter_mut().find(|own| own.id == hook.id) {
            Some(own) => *own = hook,
            None => table.hooks.push(hook),
        }
        drop(table);
        self.changes.send_modify(|count| *count += 1);
    }

    /// Forgets a hook that another instance has removed.
    pub(super) fn forget(&self, id: u64) {
        self.table.write().hooks.retain(|hook| hook.id != id);
        self.changes.send_modify(|count| *count += 1);
    }

    /// Brings the table in line with the store, which knows of all instances' hooks.
    pub(super) fn resync(&self, hooks: Vec<Hook>) {
        let mut table = self.table.write();
        table.last_id = hooks.iter().map(|hook| hook.id).fold(table.last_id, u64::max);
        table.hooks = hooks;
        drop(table);
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

    /// Takes out the hooks of a meeting that is over: its owner's own, and those of who sees it, unless another
    /// meeting `runs` by this id that they see.
    pub fn remove_of_meeting(
        &self,
        owner: &Scope,
        meeting_id: &str,
        runs: impl Fn(&Scope) -> bool,
    ) -> Vec<Hook> {
        let is_over = |hook: &mut Hook| {
            hook.meeting_id.as_deref() == Some(meeting_id)
                && hook.scope.sees(owner)
                && (hook.scope == *owner || !runs(&hook.scope))
        };
        let removed: Vec<_> = self.table.write().hooks.extract_if(.., is_over).collect();
        if !removed.is_empty() {
            self.changes.send_modify(|count| *count += 1);
        }
        removed
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
        let Wish::New(wished) = hooks.wish(hook) else { panic!("it is not new") };
        let id = wished.hook().id;
        wished.enter();
        id
    }

    #[test]
    fn a_wish_waits_for_an_equal_one_and_is_granted_if_that_was_given_up() {
        let hooks = Hooks::default();
        let wish = || hooks.wish(hook("acme", "http://a", None));
        let Wish::New(first) = wish() else { panic!("it is new") };
        let Wish::Saving(done) = wish() else { panic!("the first is not saved yet") };
        assert!(matches!(hooks.wish(hook("acme-5", "http://a", None)), Wish::New(_)));
        assert!(done.has_changed().is_ok() && hooks.list(&first.hook().scope, None).is_empty());
        drop(first);
        assert!(done.has_changed().is_err(), "whoever waits goes on");
        let Wish::New(second) = wish() else { panic!("the first was given up") };
        let Wish::Saving(done) = wish() else { panic!("the second is not saved yet") };
        let id = second.hook().id;
        second.enter();
        assert!(done.has_changed().is_err());
        assert!(matches!(wish(), Wish::Known(own) if own.id == id));
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
        let of_main = entered(&hooks, hook("acme", "http://b", Some("room")));
        let mut changes = hooks.changes();
        let removed = hooks.remove_of_meeting(&acme5, "room", |scope| *scope == acme);
        assert_eq!(removed.iter().map(|hook| hook.id).collect::<Vec<_>>(), [second]);
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        assert!(hooks.remove_of_meeting(&acme5, "room", |_| true).is_empty());
        assert!(!changes.has_changed().unwrap(), "nothing was there to go");
        let removed = hooks.remove_of_meeting(&acme5, "room", |_| false);
        assert_eq!(removed.iter().map(|hook| hook.id).collect::<Vec<_>>(), [of_main]);
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
        for number in 3..MAX_OF_SCOPE {
            entered(&hooks, hook("acme", &number.to_string(), None));
        }
        let Wish::New(last) = hooks.wish(hook("acme", "http://c", None)) else {
            panic!("one more")
        };
        assert!(matches!(hooks.wish(hook("acme", "http://d", None)), Wish::TooMany));
        last.enter();
        assert!(matches!(hooks.wish(hook("acme", "http://d", None)), Wish::TooMany));
        assert!(matches!(hooks.wish(hook("acme-1", "http://c", None)), Wish::New(_)));
    }
}
