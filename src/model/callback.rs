//! Callbacks: what a node calls, and what is to reach the front end because of it.

use std::fmt;
use std::str::FromStr;

use super::{MeetingKey, NodeName};

/// What a callback tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallbackKind {
    /// `meta_endCallbackUrl`: the meeting is over, and whether it was recorded.
    End,
    /// `meetingEndedURL`: the meeting is over.
    MeetingEnded,
    /// `meta_bbb-recording-ready-url`: a recording can be played.
    RecordingReady,
    /// `meta_analytics-callback-url`: what happened in the meeting.
    Analytics,
    /// `hooks/create`: an event of bbb-webhooks. Its token is in no URL.
    Hook,
}

impl CallbackKind {
    /// Every kind.
    pub const ALL: [Self; 5] =
        [Self::End, Self::MeetingEnded, Self::RecordingReady, Self::Analytics, Self::Hook];

    /// The word in the store, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::End => "end",
            Self::MeetingEnded => "meeting_ended",
            Self::RecordingReady => "recording_ready",
            Self::Analytics => "analytics",
            Self::Hook => "hook",
        }
    }
}

impl FromStr for CallbackKind {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(())
    }
}

impl fmt::Display for CallbackKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What makes the URL of a callback unguessable; whoever knows it may speak for the node.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CallbackToken(Box<str>);

impl CallbackToken {
    /// Random bytes in a token.
    pub const BYTES: usize = 24;

    /// A token of random bytes.
    pub fn new(random: [u8; Self::BYTES]) -> Self {
        Self(hex::encode(random).into())
    }

    /// Reads a token from a URL or the store: as many lower-case hex digits as it has.
    pub fn parse(text: &str) -> Option<Self> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        (text.len() == 2 * Self::BYTES && text.bytes().all(is_digit)).then(|| Self(text.into()))
    }

    /// The digits, for the URL and the store only.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for CallbackToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// One URL of ours that a node may call about one meeting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Callback {
    /// Stands in the URL.
    pub token: CallbackToken,
    /// What it tells of.
    pub kind: CallbackKind,
    /// Whose meeting, and what the front end calls it.
    pub key: MeetingKey,
    /// The node that was asked to create the meeting.
    pub node: NodeName,
    /// What it was asked to create it as.
    pub node_meeting_id: String,
    /// The meeting's internal id, once the node has said it.
    pub internal_id: Option<String>,
    /// Where the front end wants to be told; none where only we want to know.
    pub target: Option<String>,
    /// ms since 1970.
    pub created_at_ms: u64,
}

/// A callback that has come in and is to be delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDelivery {
    /// The callback that it came by.
    pub token: CallbackToken,
    /// Tells deliveries of one callback apart; what comes twice has the same one.
    pub subject: String,
    /// Scheme, host and port of the target.
    pub origin: String,
    /// What to tell, in the front end's words, unsigned: `true` or `false` for [`CallbackKind::End`],
    /// nothing for [`CallbackKind::MeetingEnded`], a form for [`CallbackKind::Hook`], else JSON.
    pub payload: Vec<u8>,
    /// ms since 1970. What is only expected has the time from which on it counts as said.
    pub received_at_ms: u64,
}

/// A delivery that is due, but for what it is to tell, which may be large.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its number in the store.
    pub id: i64,
    /// The node that the meeting was created on.
    pub node: NodeName,
    /// What it tells of.
    pub kind: CallbackKind,
    /// Whose meeting, and what the front end calls it.
    pub key: MeetingKey,
    /// The front end's URL.
    pub target: String,
    /// ms since 1970.
    pub received_at_ms: u64,
    /// Attempts that have failed.
    pub attempts: u32,
}

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// The front end has it.
    Delivered,
    /// It is tried again at this time, ms since 1970.
    Again {
        /// When.
        at_ms: u64,
        /// Why it failed, without secrets.
        error: String,
    },
    /// It was not sent, as it is not time to. It is looked at again at this time, ms since 1970, and this was no
    /// attempt.
    Waits {
        /// When.
        at_ms: u64,
        /// For what, without secrets.
        error: String,
    },
    /// It was given up.
    Dead {
        /// Why it failed, without secrets.
        error: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_and_does_not_print() {
        let token = CallbackToken::new([0xa7; CallbackToken::BYTES]);
        assert_eq!(CallbackToken::parse(token.expose()), Some(token.clone()));
        assert_eq!(format!("{token:?}"), "***");
        for bad in ["", "a7", &"A7".repeat(24), &"g7".repeat(24), &"a7".repeat(25)] {
            assert_eq!(CallbackToken::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn kinds_read_back() {
        for kind in CallbackKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
    }
}
