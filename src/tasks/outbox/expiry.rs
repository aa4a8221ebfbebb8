//! Forgets what was over long ago. One instance is enough, as for what housekeeping forgets.

use std::sync::Arc;

use log::warn;

use crate::bus::Duties;
use crate::chain::Chain;
use crate::store::{CALLBACKS_KEPT_MS, Store};

/// What the duty to forget is called.
const DUTY: &str = "expiry";

/// See the module.
#[derive(Clone)]
pub(super) struct Expiry {
    store: Arc<dyn Store>,
    duties: Duties,
}

impl Expiry {
    pub(super) fn new(store: Arc<dyn Store>, duties: Duties) -> Self {
        Self { store, duties }
    }

    /// Forgets it, if that is left to us. Who takes the duty over does so within the hour.
    pub(super) async fn run(&self, now_ms: u64) {
        if !self.duties.is_ours(DUTY) {
            return;
        }
        if let Err(trouble) = self.store.expire_callbacks(now_ms).await {
            warn!("old callbacks cannot be forgotten: {}", Chain(&trouble));
        }
        // No longer any danger, and of no interest after a while.
        let before_s = now_ms.saturating_sub(CALLBACKS_KEPT_MS) / 1000;
        if let Err(trouble) = self.store.forget_tokens(before_s).await {
            warn!("old tokens cannot be forgotten: {}", Chain(&trouble));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::*;
    use crate::bus::Living;
    use crate::model::{
        Callback, CallbackKind, CallbackToken, InstanceId, MeetingKey, NodeName, Scope,
    };
    use crate::store::Embedded;

    #[tokio::test]
    async fn one_of_all_who_are_alive_forgets_what_is_over() {
        let dir = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(Embedded::open(dir.path()).unwrap());
        let token = CallbackToken::new([7; CallbackToken::BYTES]);
        let old = Callback {
            token: token.clone(),
            kind: CallbackKind::End,
            key: MeetingKey { scope: Scope::parse("acme").unwrap(), id: "m".to_owned() },
            node: NodeName::new("bbb01"),
            node_meeting_id: "m@acme".to_owned(),
            internal_id: None,
            target: None,
            created_at_ms: 0,
        };
        store.put_callbacks(&[old]).await.unwrap();
        store.end_callbacks(&token, 1).await.unwrap();
        let all: Vec<_> =
            (0..3).map(|number| InstanceId::named(&format!("edge-{number}"))).collect();
        let sees = |own: &InstanceId| Living::among(own.clone(), all.clone());
        let owner = sees(&all[0]).owner_of(DUTY).clone();
        let is_there = async || store.find_callback(&token).await.unwrap().is_some();
        let run = async |own: &InstanceId| {
            let (_sender, living) = watch::channel(sees(own));
            Expiry::new(store.clone(), Duties::among(living)).run(2 * CALLBACKS_KEPT_MS).await;
        };
        for other in all.iter().filter(|other| **other != owner) {
            run(other).await;
            assert!(is_there().await, "{other} has left it to {owner}");
        }
        run(&owner).await;
        assert!(!is_there().await);
    }
}
