//! What other instances say, by their rows in the store, of the meetings that polls find.
//!
//! The row of a key holds for all instances. So strangers are asked about before they are adopted, all those of a
//! list in one statement; a row is never written over without a reason; and where memory says otherwise than the
//! row, memory follows. The store being away ends nothing.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use log::warn;
use tokio::time::timeout;

use super::poll::Poll;
use crate::chain::Chain;
use crate::fleet::{Double, Entry, Phase, Told};
use crate::model::{Meeting, MeetingKey};
use crate::store::{Error, Saving, Standing};

/// A poll does not wait for longer: its node's figures get no better by it.
const ASKED_WITHIN: Duration = Duration::from_secs(3);

impl Poll {
    /// Whether somebody else may have created what we do not know.
    fn has_company(&self) -> bool {
        self.store.is_shared() || self.fleet.is_overlapping()
    }

    /// What the store says of meetings that a poll does not know.
    pub(super) async fn ask_store(&self, strange: &[MeetingKey]) -> Told {
        if strange.is_empty() || !self.has_company() {
            return Told::Nothing;
        }
        let Some(standings) = self.standings(strange).await else { return Told::Away };
        let (mut rows, mut claimed) = (HashMap::new(), HashSet::new());
        for Standing { key, is_claimed, meeting } in standings {
            if is_claimed {
                claimed.insert(key.clone());
            }
            if let Some(meeting) = meeting {
                rows.insert(key, meeting);
            }
        }
        Told::Said { rows, claimed }
    }

    /// None: the store is away.
    async fn standings(&self, keys: &[MeetingKey]) -> Option<Vec<Standing>> {
        match timeout(ASKED_WITHIN, self.store.find_claims(keys)).await {
            Ok(Ok(standings)) => Some(standings),
            Ok(Err(error)) => {
                let (node, count) = (&self.node, keys.len());
                warn!("node {node}: {count} meetings cannot be asked for: {}", Chain(&error));
                None
            }
            Err(_elapsed) => {
                warn!("node {}: the store does not say whose its meetings are", self.node);
                None
            }
        }
    }

    /// Whether a double is to be resolved as the directory has it: nobody creates the meeting at this moment, and
    /// the store has no other mind. Where it has, the directory follows, and the next poll sees what is left.
    pub(super) async fn is_left_to_us(&self, double: &Double) -> bool {
        if !self.store.is_shared() {
            return true;
        }
        let standings = self.standings(std::slice::from_ref(double.key())).await;
        let Some(Standing { is_claimed, meeting, .. }) = standings.and_then(|mut all| all.pop())
        else {
            return false;
        };
        match meeting {
            _ if is_claimed => false,
            None => true,
            Some(row) if row.internal_id == double.rival().internal_id() => true,
            Some(row) => {
                self.fleet.follow(row);
                false
            }
        }
    }

    /// Saves a meeting. Where others save theirs, too, it takes nobody's place.
    pub(super) async fn put(&self, entry: &Entry) -> Result<Saving, Error> {
        let meeting = entry.to_meeting();
        if self.has_company() {
            return self.store.put_found(&meeting).await;
        }
        self.store.put_meeting(&meeting).await.map(|()| Saving::Kept)
    }

    /// The store has another meeting of this key.
    pub(super) async fn yield_to(&self, row: Meeting, entry: &Entry) {
        let known = self.fleet.directory.get_internal(&row.internal_id);
        let is_given_up = known.as_ref().is_some_and(|known| known.phase() != Phase::Running);
        // A node runs one meeting of a name: the younger one.
        let is_outdated = row.node == *entry.node() && row.created_at_ms < entry.created_at_ms();
        if !is_given_up && !is_outdated {
            self.fleet.follow(row);
            return;
        }
        let saved = match self.store.remove_meeting(&row.key, &row.internal_id).await {
            Ok(is_removed) => {
                // Once its row is gone, no poll can tell any more that it is over.
                if is_removed && let Some(known) = known {
                    self.fleet.learn_end(&known);
                }
                self.put(entry).await
            }
            Err(error) => Err(error),
        };
        match saved {
            Ok(Saving::Kept) => entry.mark_saved(),
            // The next poll looks again.
            Ok(Saving::Other(_)) => {}
            Err(error) => warn!("a meeting is still not saved: {}", Chain(&error)),
        }
    }
}
