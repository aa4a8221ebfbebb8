//! While an upgrade lets two processes serve at once, each learns from the store what the other created.

use log::warn;

use super::Edge;
use super::calls::Asked;
use crate::chain::Chain;
use crate::fleet::Phase;

impl Edge {
    /// Takes a meeting that the other process has created into the directory before anything is decided.
    /// Only for the half minute of an overlap, and then it asks the store only on a miss.
    pub(super) async fn learn(&self, asked: &Asked<'_>) {
        let (tenant, scope) = (&asked.caller.tenant.tenant, &asked.caller.scope);
        for name in ["meetingID", "parentMeetingID"] {
            let Some(id) = asked.params.get(name) else { continue };
            // One that has ended may run anew, by the other process.
            let known = self.fleet.find(tenant, scope, id.trim());
            if known.is_some_and(|entry| entry.phase() == Phase::Running) {
                continue;
            }
            match self.store.find_meetings(&[(scope.tenant.clone(), id.trim().to_owned())]).await {
                Ok(found) => {
                    for meeting in found {
                        let is_new =
                            self.fleet.directory.get_internal(&meeting.internal_id).is_none();
                        if is_new && asked.snapshot.node(meeting.node.as_str()).is_some() {
                            self.fleet.directory.adopt(meeting, true);
                        }
                    }
                }
                Err(trouble) => warn!("the store cannot be asked: {}", Chain(&trouble)),
            }
        }
    }
}
