//! One create of a meeting at a time.
//!
//! Whoever creates a meeting holds its claim from before the choice of a node until the directory knows
//! the outcome; others who would create the same meeting wait, and then find it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::model::{MeetingKey, Scope};

type InFlight = Arc<Mutex<HashMap<MeetingKey, watch::Receiver<()>>>>;

/// How many creates of a meeting are in flight at other instances.
type Elsewhere = Arc<Mutex<HashMap<MeetingKey, u32>>>;

/// The creates in flight.
#[derive(Default)]
pub struct Claims(InFlight, Elsewhere);

/// A create in flight at another instance; it counts until this is dropped.
pub(super) struct Held(Elsewhere, MeetingKey);

/// The right to create one meeting; dropping it lets the next one through.
pub struct Claim {
    claims: InFlight,
    key: MeetingKey,
    /// Dropping it wakes those who wait.
    _done: watch::Sender<()>,
}

impl Claims {
    /// Waits until nobody else creates this meeting, then claims it.
    ///
    /// # Cancel safety
    /// Dropping the future claims nothing.
    pub async fn claim(&self, key: &MeetingKey) -> Claim {
        loop {
            let mut other = match self.0.lock().entry(key.clone()) {
                Entry::Occupied(entry) => entry.get().clone(),
                Entry::Vacant(entry) => {
                    let (done, waiting) = watch::channel(());
                    entry.insert(waiting);
                    return Claim { claims: self.0.clone(), key: key.clone(), _done: done };
                }
            };
            // Nothing is ever sent: the wait ends, with an error, when the claim is dropped.
            drop(other.changed().await);
        }
    }

    /// Counts a create of another instance. Nobody waits for it: which of two instances may create a
    /// meeting is decided by the store.
    pub(super) fn hold(&self, key: &MeetingKey) -> Held {
        *self.1.lock().entry(key.clone()).or_default() += 1;
        Held(self.1.clone(), key.clone())
    }

    /// Claims this meeting unless somebody creates it right now.
    pub fn try_claim(&self, key: &MeetingKey) -> Option<Claim> {
        let mut claims = self.0.lock();
        let Entry::Vacant(entry) = claims.entry(key.clone()) else { return None };
        let (done, waiting) = watch::channel(());
        entry.insert(waiting);
        Some(Claim { claims: self.0.clone(), key: key.clone(), _done: done })
    }

    /// The meetings of this scope that are being created right now, here or at other instances.
    pub fn of(&self, scope: &Scope) -> Vec<MeetingKey> {
        let is_own = |key: &&MeetingKey| key.scope == *scope;
        let mut keys: Vec<_> = self.0.lock().keys().filter(is_own).cloned().collect();
        keys.extend(self.1.lock().keys().filter(is_own).cloned());
        keys
    }

    /// The meetings of this tenant that are being created right now, here or at other instances.
    pub fn of_tenant(&self, slug: &str) -> Vec<MeetingKey> {
        let is_own = |key: &&MeetingKey| key.scope.tenant.as_str() == slug;
        let mut keys: Vec<_> = self.0.lock().keys().filter(is_own).cloned().collect();
        keys.extend(self.1.lock().keys().filter(is_own).cloned());
        keys
    }

    /// Whether somebody creates this meeting right now, here or at another instance.
    pub fn is_claimed(&self, key: &MeetingKey) -> bool {
        self.0.lock().contains_key(key) || self.1.lock().contains_key(key)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut elsewhere = self.0.lock();
        if let Some(count) = elsewhere.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                elsewhere.remove(&self.1);
            }
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.claims.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn only_one_holds_a_claim_and_nobody_waits_for_ever() {
        let claims = Arc::new(Claims::default());
        let inside = Arc::new(AtomicUsize::new(0));
        let key = MeetingKey { scope: Scope::parse("acme").expect("a scope"), id: "room".into() };
        let tasks: Vec<_> = (0..100)
            .map(|_| {
                let (claims, inside, key) = (claims.clone(), inside.clone(), key.clone());
                tokio::spawn(async move {
                    let claim = claims.claim(&key).await;
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    tokio::task::yield_now().await;
                    inside.fetch_sub(1, Ordering::SeqCst);
                    drop(claim);
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("no claim is shared");
        }
        assert!(!claims.is_claimed(&key));
    }
}
