//! Breakout rooms that people open inside a meeting: no front end asks for them, and their node makes up
//! both of their ids.

use tokio::time::Instant;

use super::meeting::{Breakout, Meeting};
use super::world::{World, sha1_hex};

impl World {
    /// Opens so many rooms of a live meeting; gives their internal ids. As on a node, the external id is a
    /// digest of the parent's internal id, time and number, with the time behind it, and the internal one is
    /// made of it as of any other. A room has its parent's settings and metadata.
    pub(super) fn open_rooms(
        &mut self,
        parent_id: &str,
        count: u64,
        now: Instant,
        now_ms: u64,
    ) -> Vec<String> {
        let Some(parent) = self.find_live(parent_id).cloned() else { return Vec::new() };
        let open = |sequence: u64| {
            let parent_internal_id = parent.internal_id.clone();
            let hash = sha1_hex(&format!("{parent_internal_id}-{now_ms}-{sequence}"));
            let external_id = format!("{hash}-{now_ms}");
            let internal_id = format!("{}-{now_ms}", sha1_hex(&external_id));
            let room = Meeting {
                name: format!("{} (Room - {sequence})", parent.name),
                external_id,
                internal_id: internal_id.clone(),
                created_ms: now_ms,
                created: now,
                voice_bridge: format!("{}{sequence}", parent.voice_bridge),
                ended_url: None,
                documents: Vec::new(),
                breakout: Some(Breakout { parent_internal_id, sequence, free_join: false }),
                rooms: Vec::new(),
                attendees: Vec::new(),
                has_user_joined: false,
                empty_since: None,
                ..parent.clone()
            };
            self.insert(room);
            internal_id
        };
        (1..=count).map(open).collect()
    }
}
