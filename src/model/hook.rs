//! A front end's wish to be told what happens in its meetings.

use super::{CallbackToken, Scope};

/// A webhook, as bbb-webhooks keeps them for one server and we for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// Its number, unique over all tenants.
    pub id: u64,
    /// Who is told: about its own meetings, the main secret about its whole tenant's.
    pub scope: Scope,
    /// What it is delivered under.
    pub token: CallbackToken,
    /// Where events are posted.
    pub callback_url: String,
    /// Only of the meeting that its front end calls so; such a hook goes when that ends.
    pub meeting_id: Option<String>,
    /// Only these events, in lower case; empty is all.
    pub events: Vec<String>,
    /// Whether the front end asked for raw data. Shown again, without effect: raw data has no id that could be
    /// put into its words.
    pub raw: bool,
    /// When it was made, ms since 1970 by our clock.
    pub created_at_ms: u64,
}

impl Hook {
    /// Whether it wants this event of the meeting that `owner` calls `meeting_id`.
    pub fn wants(&self, event: &str, owner: &Scope, meeting_id: &str) -> bool {
        self.scope.sees(owner)
            && self.meeting_id.as_deref().is_none_or(|own| own == meeting_id)
            && (self.events.is_empty()
                || self.events.iter().any(|own| own.eq_ignore_ascii_case(event)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_wants_its_own_meetings_and_events_only() {
        let scope = |text: &str| Scope::parse(text).unwrap();
        let hook = |own: &str, meeting_id: Option<&str>, events: &[&str]| Hook {
            id: 1,
            scope: scope(own),
            token: CallbackToken::new([0; CallbackToken::BYTES]),
            callback_url: String::new(),
            meeting_id: meeting_id.map(str::to_owned),
            events: events.iter().map(ToString::to_string).collect(),
            raw: false,
            created_at_ms: 0,
        };
        for (own, meeting_id, events, owner, wants) in [
            ("acme", None, &[][..], "acme", true),
            ("acme", None, &[], "acme-5", true),
            ("acme-5", None, &[], "acme", false),
            ("acme", None, &[], "other", false),
            ("acme", Some("room"), &[], "acme", true),
            ("acme", Some("else"), &[], "acme", false),
            ("acme", None, &["user-left", "user-joined"], "acme", true),
            ("acme", None, &["user-left"], "acme", false),
        ] {
            let hook = hook(own, meeting_id, events);
            assert_eq!(hook.wants("User-Joined", &scope(owner), "room"), wants, "{hook:?} {owner}");
        }
    }
}
