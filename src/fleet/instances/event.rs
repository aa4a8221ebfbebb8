//! What instances tell each other, as it stands in the log.
//!
//! JSON, so that two versions understand each other while they are exchanged: a kind or a field that is
//! not known is passed over, and what is added later has a default. Bytes that are no event are none. Names
//! of people stand in the `<meeting>` elements only, which are never shown where anything is logged.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use super::row::Row;
use super::words;
use crate::fleet::People;
use crate::model::{AdminState, CallbackToken, Health, Hook, MeetingKey, NodeName, Scope};

/// An event is told in parts from here on. A single meeting may make it larger.
pub const MAX_TOLD_BYTES: usize = 256 * 1024;
/// What is larger is not read. A meeting of 10,000 attendees is about 3 MB.
pub const MAX_READ_BYTES: usize = 16 * 1024 * 1024;

/// The number that an instance gives to one of its placements; with its name unique over all.
pub type Token = u64;

/// Something that has happened at one instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event {
    /// An instance is in touch, for the first time or again, and knows no more than the store.
    Hello,
    /// Somebody's picture of these nodes differs from that of who polls them.
    Ask {
        /// Which nodes.
        nodes: Vec<NodeName>,
    },
    /// A meeting is about to be created.
    Placing(Placing),
    /// It is not: its create has failed.
    GivenUp {
        /// Which placement.
        token: Token,
    },
    /// A meeting was created, and runs.
    Created(Box<Created>),
    /// A front end has ended a meeting.
    Ended {
        /// Which one.
        internal_id: String,
    },
    /// A meeting that was lost was found again.
    Revived {
        /// Which one.
        internal_id: String,
    },
    /// The key of a meeting is another one's from now on.
    Moved(Box<Moved>),
    /// A meeting is gone.
    Removed {
        /// Which one.
        internal_id: String,
    },
    /// A request could not reach a node.
    Doubt {
        /// Which node.
        node: NodeName,
        /// Why.
        reason: String,
    },
    /// What a poll has found.
    Polled(Box<Polled>),
    /// Joins that were signed since the last time.
    Joins {
        /// Their number for each node.
        nodes: Vec<(NodeName, u32)>,
    },
    /// What counts for rates, since the last time. Whose it is, is for the one who counts to say.
    Rates {
        /// Names and numbers.
        counts: Vec<(String, u64)>,
    },
    /// A front end has a webhook.
    HookPut {
        /// The hook.
        hook: Box<ToldHook>,
    },
    /// It has it no longer.
    HookRemoved {
        /// Its number.
        id: u64,
    },
    /// An operator wants something else of a node.
    NodeState {
        /// Which node.
        node: NodeName,
        /// What is wanted.
        state: AdminState,
    },
    /// Something that a later version tells.
    #[serde(other)]
    Unknown,
}

/// A placement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Placing {
    /// Its number.
    pub token: Token,
    /// What is to be created.
    pub key: MeetingKey,
    /// The chosen node.
    pub node: NodeName,
    /// Whether it weighs on the node: a breakout room does not, it only counts for its tenant.
    #[serde(default = "words::yes")]
    pub reserves: bool,
    /// The attendees that are expected.
    #[serde(default = "words::usual_size")]
    pub size: f32,
}

/// A meeting that was created.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Created {
    /// The placement that has led to it.
    #[serde(default)]
    pub token: Option<Token>,
    /// The meeting.
    pub meeting: Row,
    /// As it is listed.
    pub xml: Xml,
    /// Whether the store has it.
    #[serde(default)]
    pub saved: bool,
    /// Nodes on which its create has failed before.
    #[serde(default)]
    pub tried: Vec<NodeName>,
}

/// Who has a key, whatever anybody else has had under it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Moved {
    /// The meeting that has the key.
    pub meeting: Row,
    /// As it is listed.
    pub xml: Xml,
    /// Whether the store has it.
    #[serde(default)]
    pub saved: bool,
    /// The one that had it and is to be ended wherever it shows up. What merely makes room goes on.
    #[serde(default)]
    pub loser: Option<String>,
}

/// What one instance has found on a node, for all who do not poll it. Where there is much it comes in
/// several events; all but the last have only `changed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Polled {
    /// The node.
    pub node: NodeName,
    /// Meetings that are not as they were last told.
    #[serde(default)]
    pub changed: Vec<Changed>,
    /// The rest.
    #[serde(default)]
    pub state: Option<State>,
}

/// A meeting as a poll shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Changed {
    /// Which one.
    pub internal_id: String,
    /// Who is in it.
    #[serde(default)]
    pub people: People,
    /// As it is listed. Empty: too large to be told.
    #[serde(default)]
    pub xml: Xml,
    /// Whether it was ended by force.
    #[serde(default)]
    pub ended: bool,
    /// Where others may not know it.
    #[serde(default)]
    pub row: Option<Row>,
    /// Whether the store has it.
    #[serde(default)]
    pub saved: bool,
}

/// A node after a poll.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// What was counted; nothing where the poll failed.
    pub counts: Option<Counts>,
    /// CPU utilisation in 1/10000.
    pub cpu: u32,
    /// How long its last list of meetings took, in µs.
    pub latency_us: u64,
    /// Its health; one that only a later version knows is unknown.
    #[serde(deserialize_with = "words::health")]
    pub health: Health,
    /// Why, unless all is well.
    pub reason: Option<String>,
    /// For how long, ms: clocks differ. Nothing where nobody knows.
    pub age_ms: Option<u64>,
    /// Failed polls in a row.
    pub failures: u32,
    /// Good ones in a row.
    pub successes: u32,
    /// Meetings whose reservation has served.
    pub settled: Vec<String>,
    /// Meetings that are over.
    pub over: Vec<String>,
    /// The node's meetings are lost.
    pub lost: bool,
    /// What its meetings are, in one number.
    pub digest: u64,
    /// All of its meetings, where somebody has asked.
    pub all: Option<Vec<String>>,
}

/// What a good poll has counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Main meetings.
    pub meetings: u32,
    /// Attendees in them.
    pub attendees: u32,
    /// Joins that it has counted among them.
    pub joins: u32,
}

/// A `<meeting>` element. People are named in it, so it is never shown.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Xml(String);

impl Xml {
    /// Takes an element over.
    pub fn of(xml: &[u8]) -> Self {
        Self(String::from_utf8_lossy(xml).into_owned())
    }

    /// The element; nothing where it is left out.
    pub(super) fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The element, unless it is left out.
    pub fn get(&self) -> Option<Bytes> {
        (!self.0.is_empty()).then(|| Bytes::from(self.0.clone().into_bytes()))
    }

    /// Its length.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it is left out.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Xml {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} bytes>", self.0.len())
    }
}

/// A webhook.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldHook {
    id: u64,
    scope: Scope,
    token: String,
    callback_url: String,
    #[serde(default)]
    meeting_id: Option<String>,
    #[serde(default)]
    events: Vec<String>,
    #[serde(default)]
    raw: bool,
    #[serde(default)]
    created_at_ms: u64,
}

/// Its URL and its token are secrets of its owner.
impl fmt::Debug for ToldHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToldHook").field("id", &self.id).finish_non_exhaustive()
    }
}

impl From<&Hook> for ToldHook {
    fn from(hook: &Hook) -> Self {
        Self {
            id: hook.id,
            scope: hook.scope.clone(),
            token: hook.token.expose().to_owned(),
            callback_url: hook.callback_url.clone(),
            meeting_id: hook.meeting_id.clone(),
            events: hook.events.clone(),
            raw: hook.raw,
            created_at_ms: hook.created_at_ms,
        }
    }
}

impl ToldHook {
    /// The hook, if its token is one.
    pub fn into_hook(self) -> Option<Hook> {
        Some(Hook {
            id: self.id,
            scope: self.scope,
            token: CallbackToken::parse(&self.token)?,
            callback_url: self.callback_url,
            meeting_id: self.meeting_id,
            events: self.events,
            raw: self.raw,
            created_at_ms: self.created_at_ms,
        })
    }
}

impl Event {
    /// The bytes for the log.
    ///
    /// # Panics
    /// Never: nothing in an event is without a form in JSON.
    pub fn to_bytes(&self) -> Bytes {
        serde_json::to_vec(self).expect("an event has a form in JSON").into()
    }

    /// Reads what stands in the log; `None` is nothing that we understand.
    pub fn read(payload: &[u8]) -> Option<Self> {
        if payload.len() > MAX_READ_BYTES {
            return None;
        }
        match serde_json::from_slice(payload) {
            Ok(Self::Unknown) | Err(_) => None,
            Ok(event) => Some(event),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Extent;

    #[test]
    fn what_a_later_version_tells_is_passed_over() {
        let read = |text: &str| Event::read(text.as_bytes());
        assert_eq!(read(r#"{"kind":"given_up","token":7}"#), Some(Event::GivenUp { token: 7 }));
        assert_eq!(
            read(r#"{"kind":"given_up","token":7,"why":"x"}"#),
            Some(Event::GivenUp { token: 7 })
        );
        assert_eq!(read(r#"{"kind":"hello","more":[1]}"#), Some(Event::Hello));
        for unknown in [
            r#"{"kind":"a later one","token":7}"#,
            r#"{"kind":"given_up","token":"seven"}"#,
            r#"{"kind":"placing","token":7,"key":{"scope":"No Scope","id":"x"},"node":"a"}"#,
            "{}",
            "[]",
            "",
        ] {
            assert_eq!(read(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn a_health_or_a_wish_of_a_later_version_costs_nothing_else() {
        let text =
            r#"{"kind":"polled","node":"a","state":{"health":"HEALTH","counts":{"meetings":3}}}"#;
        for (health, known) in
            [("up", Health::Up), ("melting", Health::Unknown), ("", Health::Unknown)]
        {
            let Some(Event::Polled(polled)) =
                Event::read(text.replace("HEALTH", health).as_bytes())
            else {
                panic!("{health} is not read");
            };
            let state = polled.state.unwrap();
            assert_eq!((state.health, state.counts.unwrap().meetings), (known, 3));
        }
        let wish = r#"{"kind":"node_state","node":"a","state":"sleeping"}"#;
        assert_eq!(Event::read(wish.as_bytes()), None, "no default would be safe");
    }

    #[test]
    fn an_event_is_read_as_it_was_written_and_shows_no_people() {
        let key = MeetingKey { scope: Scope::parse("acme-5").unwrap(), id: "room \"1\"".into() };
        let node = NodeName::new("bbb01");
        let row = Row {
            key,
            node: node.clone(),
            node_meeting_id: "room@acme-5".into(),
            internal_id: "abc-1".into(),
            created_at_ms: 5,
            parent_internal_id: None,
            extent: Extent { expected_thousandths: 20_500, peak: 7 },
        };
        let xml = Xml::of(b"<meeting><fullName>Ada L\xffvelace</fullName></meeting>");
        let changed = Changed {
            internal_id: "abc-1".into(),
            people: People { attendees: 2, ..People::default() },
            xml,
            ended: true,
            row: Some(row),
            saved: true,
        };
        let state = State { counts: Some(Counts::default()), digest: 9, ..State::default() };
        let polled = Polled { node, changed: vec![changed], state: Some(state) };
        let event = Event::Polled(Box::new(polled));
        assert_eq!(Event::read(&event.to_bytes()).as_ref(), Some(&event));
        assert!(!format!("{event:?}").contains("Ada"));
    }

    proptest! {
        #[test]
        fn bytes_from_outside_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            Event::read(&bytes);
        }

        #[test]
        fn no_health_whatever_it_is_hides_what_a_poll_has_counted(
            health in prop_oneof![
                ".*".prop_map(serde_json::Value::from),
                any::<i64>().prop_map(serde_json::Value::from),
                Just(serde_json::json!({"up": [1, {"since": null}]})),
                Just(serde_json::Value::Null),
            ],
        ) {
            let state = serde_json::json!({"health": health, "counts": {"meetings": 3}});
            let event = serde_json::json!({"kind": "polled", "node": "a", "state": state});
            let read = Event::read(event.to_string().as_bytes());
            let Some(Event::Polled(polled)) = read else { panic!("{event} is not read") };
            prop_assert_eq!(polled.state.unwrap().counts.unwrap().meetings, 3);
        }

        #[test]
        fn nor_do_fields_of_any_kind(
            kind in prop::sample::select(&["hello", "ask", "placing", "created", "polled", "hook_put", "x"]),
            name in prop::sample::select(&["nodes", "node", "token", "state", "changed", "hook", "meeting"]),
            value in prop::sample::select(&["7", "-1", "null", "\"x\"", "[]", "{}", "[{}]", "1e99"]),
        ) {
            Event::read(format!(r#"{{"kind":"{kind}","{name}":{value}}}"#).as_bytes());
        }
    }
}
