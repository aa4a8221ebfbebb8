//! What the webhooks of front ends are told, whoever tells it, and which of them go when a meeting is over.
//!
//! Nodes tell by their bbb-webhooks. Of a meeting that its node has lost nobody there tells the end, so we do. It
//! counts as the same end, whoever tells it first.

use log::warn;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use url::Url;

use super::{Fleet, Phase, now_ms};
use crate::chain::Chain;
use crate::model::{MeetingKey, NewDelivery, NodeName, Scope};
use crate::store::Store;

/// The event that tells of the end of a meeting.
pub const MEETING_ENDED: &str = "meeting-ended";

/// What bbb-webhooks posts of one event: a form of these fields, in this order.
pub fn form_of(domain: &str, event: &Value, timestamp: &str) -> String {
    form_urlencoded::Serializer::new(String::new())
        .append_pair("domain", domain)
        .append_pair("event", &format!("[{event}]"))
        .append_pair("timestamp", timestamp)
        .finish()
}

impl Fleet {
    /// What goes to every hook that wants this event of a meeting, and whose hook it is. `form` is as
    /// [`form_of`] makes it.
    pub fn to_hooks(
        &self,
        event: &str,
        key: &MeetingKey,
        internal_id: &str,
        form: &str,
    ) -> Vec<(Scope, NewDelivery)> {
        // A meeting ends once, whatever else is told of that. What a node tells twice has the same words.
        let subject = match event {
            MEETING_ENDED => format!("{MEETING_ENDED} {internal_id}"),
            _ => hex::encode(Sha256::digest(form)),
        };
        let received_at_ms = now_ms();
        let hooks = self.hooks.that_want(event, &key.scope, &key.id).into_iter();
        let delivery = |hook: crate::model::Hook| {
            let origin = Url::parse(&hook.callback_url);
            let delivery = NewDelivery {
                token: hook.token,
                subject: subject.clone(),
                origin: origin.map(|url| url.origin().ascii_serialization()).unwrap_or_default(),
                payload: form.as_bytes().to_vec(),
                received_at_ms,
            };
            (hook.scope, delivery)
        };
        hooks.map(delivery).collect()
    }

    /// The same of the end of a meeting that its node has lost.
    pub fn end_to_hooks(
        &self,
        node: &NodeName,
        key: &MeetingKey,
        internal_id: &str,
    ) -> Vec<(Scope, NewDelivery)> {
        let (snapshot, now_ms) = (self.snapshot(), now_ms());
        let node = snapshot.node(node.as_str());
        let domain = node.and_then(|node| node.spec.url.host_str()).unwrap_or_default();
        let event = json!({"data": {
            "type": "event",
            "id": MEETING_ENDED,
            "attributes": {"meeting": {
                "internal-meeting-id": internal_id,
                "external-meeting-id": key.id,
            }},
            "event": {"ts": now_ms},
        }});
        let form = form_of(domain, &event, &now_ms.to_string());
        self.to_hooks(MEETING_ENDED, key, internal_id, &form)
    }

    /// Takes the hooks of a meeting that is over out, here, at all instances and in the store. If the room runs
    /// again its hooks are those of that.
    pub async fn remove_hooks_of(&self, store: &dyn Store, key: &MeetingKey, internal_id: &str) {
        if self.runs_as_another(key, internal_id) {
            return;
        }
        let runs = |viewer: &Scope| self.runs_elsewhere(viewer, &key.scope, &key.id);
        for hook in self.hooks.remove_of_meeting(&key.scope, &key.id, runs) {
            self.tell_hook_removed(hook.id);
            let forgotten = async {
                // In this order: a hook whose end alone is written would be back with a restart.
                store.remove_hook(hook.id).await?;
                store.end_callbacks(&hook.token, now_ms()).await
            };
            if let Err(trouble) = forgotten.await {
                warn!("a webhook of a meeting that is over stays: {}", Chain(&trouble));
            }
        }
    }

    /// Whether another meeting than this one runs by that name.
    pub fn runs_as_another(&self, key: &MeetingKey, internal_id: &str) -> bool {
        let entry = self.directory.get(&key.scope, &key.id);
        entry.is_some_and(|entry| {
            entry.phase() == Phase::Running && entry.internal_id() != internal_id
        })
    }

    /// Whether a meeting of this id runs that `viewer` sees and `owner` does not own.
    fn runs_elsewhere(&self, viewer: &Scope, owner: &Scope, id: &str) -> bool {
        let snapshot = self.snapshot();
        let Some(tenant) = snapshot.tenant(viewer.tenant.as_str()) else { return false };
        let scopes = tenant.tenant.secrets.iter().map(|own| tenant.tenant.scope(own.sub_id));
        scopes.filter(|scope| scope != owner && viewer.sees(scope)).any(|scope| {
            let entry = self.directory.get(&scope, id);
            entry.is_some_and(|entry| entry.phase() == Phase::Running)
        })
    }
}
