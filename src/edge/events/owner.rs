//! Whose meeting an event is about.
//!
//! While a meeting is in the directory its internal id tells. Before and after, its name on the node does. By
//! that name another meeting may run by now: then what is told of a recording, or of the end of a meeting
//! that was ours, is about an earlier session, and anything else about a double that is to be ended.

use serde_json::Value;

use crate::edge::Edge;
use crate::fleet::{MEETING_ENDED, Node, Phase, Snapshot, identity};
use crate::model::{MeetingKey, Scope, SubId};
use crate::store;

/// Events of the recording of a meeting, which come when it is over.
const OF_RECORDINGS: &str = "rap-";

/// Which event, and of which meeting, in the node's words.
#[derive(Debug)]
pub(super) struct About {
    pub(super) id: String,
    pub(super) internal_id: String,
    pub(super) external_id: String,
}

impl About {
    /// `None` if it is about no meeting.
    pub(super) fn read(event: &Value) -> Option<Self> {
        let data = event.get("data")?;
        let meeting = data.get("attributes")?.get("meeting")?.as_object()?;
        let text = |name| meeting.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        Some(Self {
            id: data.get("id")?.as_str()?.to_owned(),
            internal_id: text("internal-meeting-id"),
            external_id: text("external-meeting-id"),
        })
    }

    fn is_of_recording(&self) -> bool {
        self.id.starts_with(OF_RECORDINGS)
    }
}

impl Edge {
    /// The owner of an event's meeting, as far as `node` may speak of it.
    pub(super) async fn owner_of(
        &self,
        about: &About,
        node: &Node,
        snapshot: &Snapshot,
    ) -> Result<Option<MeetingKey>, store::Error> {
        let entry = self.fleet.directory.get_internal(&about.internal_id);
        if let Some(entry) = entry.as_ref().filter(|entry| entry.phase() != Phase::Lost) {
            return Ok((entry.node() == node.name()).then(|| entry.key().clone()));
        }
        let key = match by_name(&about.external_id, node, snapshot) {
            Some(key) => Some(key),
            None if about.external_id.is_empty() => self.by_internal(about, node).await?,
            None => self.by_digest(about, node, snapshot).await?,
        };
        let Some(key) = key else { return Ok(None) };
        if entry.is_none() {
            // Another instance may have created it, or the one that has its name by now.
            let names = [about.internal_id.clone(), key.id.clone()];
            self.look_up_names(&key.scope.tenant, names).await;
            if let Some(entry) = self.fleet.directory.get_internal(&about.internal_id) {
                return Ok((entry.node() == node.name()).then(|| entry.key().clone()));
            }
        }
        if about.is_of_recording() || !self.fleet.runs_as_another(&key, &about.internal_id) {
            return Ok(Some(key));
        }
        // A lost one was created again elsewhere: what ends is the double.
        if about.id != MEETING_ENDED || entry.is_some() {
            return Ok(None);
        }
        let own = self.store.callbacks_of(&key, &about.internal_id).await?;
        Ok(own.iter().any(|callback| callback.node == *node.name()).then_some(key))
    }

    /// The same where a digest stands in for an id that is too long for a node: somebody is creating that
    /// meeting, or callbacks remember it.
    async fn by_digest(
        &self,
        about: &About,
        node: &Node,
        snapshot: &Snapshot,
    ) -> Result<Option<MeetingKey>, store::Error> {
        let named = identity::owner(&about.external_id).filter(|(_, id)| identity::is_digest(id));
        let Some((scope, digest)) = named else { return Ok(None) };
        if !may_speak_for(&scope, node, snapshot) {
            return Ok(None);
        }
        let is_meant = |key: &MeetingKey| key.scope == scope && identity::digest(&key.id) == digest;
        if let Some(key) = self.fleet.claims.of(&scope).into_iter().find(is_meant) {
            return Ok(Some(key));
        }
        Ok(self.by_internal(about, node).await?.filter(is_meant))
    }

    /// The same where a node has forgotten the name, as bbb-webhooks does some time after the end: callbacks
    /// remember the meeting by its internal id.
    async fn by_internal(
        &self,
        about: &About,
        node: &Node,
    ) -> Result<Option<MeetingKey>, store::Error> {
        let callbacks = self.store.callbacks_of_internal(&about.internal_id).await?;
        let mut own = callbacks.into_iter().filter(|callback| callback.node == *node.name());
        Ok(own.next().map(|callback| callback.key))
    }
}

/// A meeting that has just begun, or is over: its name on the node says whose it is.
fn by_name(external: &str, node: &Node, snapshot: &Snapshot) -> Option<MeetingKey> {
    let key = named(external, snapshot)?;
    may_speak_for(&key.scope, node, snapshot).then_some(key)
}

/// Others than the tenant's own nodes have no say.
fn may_speak_for(scope: &Scope, node: &Node, snapshot: &Snapshot) -> bool {
    snapshot.tenant(scope.tenant.as_str()).is_some_and(|tenant| {
        tenant.tenant.secret(scope.sub).is_some()
            && tenant.nodes.iter().any(|own| own.name() == node.name())
    })
}

/// Whether a node has made this id up for a breakout room of its own: then it says nothing.
fn is_made_up(external: &str) -> bool {
    external.split_once('-').is_some_and(|(digest, time)| {
        digest.len() == 40
            && digest.bytes().all(|byte| byte.is_ascii_hexdigit())
            && time.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn named(external: &str, snapshot: &Snapshot) -> Option<MeetingKey> {
    match identity::owner(external) {
        Some((_, id)) if identity::is_digest(id) => None,
        Some((scope, id)) => {
            let tenant = snapshot.tenant(scope.tenant.as_str())?;
            tenant.tenant.secret(scope.sub)?;
            Some(MeetingKey { scope, id: id.to_owned() })
        }
        None if external.is_empty() || is_made_up(external) => None,
        None => {
            let tenant = snapshot.plain_tenant()?;
            let scope = tenant.tenant.scope(SubId::MAIN);
            Some(MeetingKey { scope, id: external.to_owned() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_a_node_makes_up_are_told_from_those_of_front_ends() {
        let digest = "640ab2bae07bedc4c163f679a746f7ab7fb5d1fa";
        assert!(is_made_up(&format!("{digest}-1531155809613")));
        for id in ["room", "room-1", digest, "x40ab2bae07bedc4c163f679a746f7ab7fb5d1fa-1"] {
            assert!(!is_made_up(id), "{id}");
        }
    }
}
