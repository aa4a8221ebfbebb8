//! What can be wrong with a node, on command.

use std::collections::HashMap;
use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::channel::Channel;

use super::reply::Reply;

/// One way to misbehave. It lasts until another one, or none, is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The right answer, so much later.
    Delay(Duration),
    /// The process is down: its port refuses connections and open connections are cut.
    ///
    /// Set for one call only, it is the same as [`Fault::Reset`], because the connection exists already.
    Refuse,
    /// The request is read, then the connection ends with a TCP reset.
    Reset,
    /// This HTTP status with a page that is not XML, as nginx answers when the application behind it is ill.
    Status(u16),
    /// Status 200 with a `FAILED`, as when an error inside is reported in the API's own words.
    Failed,
    /// A `SUCCESS` that breaks off in the middle of an element.
    BadXml,
    /// Status 200 with an HTML page, as from a captive portal or a default site.
    Html,
    /// The right answer about a meeting with another `meetingID`.
    WrongId,
    /// A correct beginning, and then meetings without end.
    EndlessBody,
    /// The right answer, one byte every [`DRIBBLE_PAUSE`].
    Dribble,
    /// The request is read and never answered.
    Hang,
}

/// Slow enough that a whole answer takes longer than any sensible time-out, fast enough to defeat a per-read one.
pub const DRIBBLE_PAUSE: Duration = Duration::from_millis(100);

/// What the node is told to do wrong: as a whole, or for single calls.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) everywhere: Option<Fault>,
    pub(super) of_call: HashMap<String, Fault>,
}

impl Faults {
    /// The fault of a request for `call`; what is set for a call goes before what is set for the node.
    pub(super) fn of(&self, call: &str) -> Option<Fault> {
        self.of_call.get(call).copied().or(self.everywhere)
    }

    pub(super) fn set_call(&mut self, call: &str, fault: Option<Fault>) {
        match fault {
            Some(fault) => self.of_call.insert(call.to_owned(), fault),
            None => self.of_call.remove(call),
        };
    }
}

impl Fault {
    /// Reads `kind` and, for the kinds that need it, `ms` or `status` as the control API and tests write them.
    pub(super) fn from_words(kind: &str, number: Option<u64>) -> Option<Self> {
        Some(match kind {
            "delay" => Self::Delay(Duration::from_millis(number?)),
            "refuse" => Self::Refuse,
            "reset" => Self::Reset,
            "status" => Self::Status(
                number.and_then(|n| u16::try_from(n).ok()).filter(|n| (200..1000).contains(n))?,
            ),
            "failed" => Self::Failed,
            "bad-xml" => Self::BadXml,
            "html" => Self::Html,
            "wrong-id" => Self::WrongId,
            "endless-body" => Self::EndlessBody,
            "dribble" => Self::Dribble,
            "hang" => Self::Hang,
            _ => return None,
        })
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Delay(_) => "delay",
            Self::Refuse => "refuse",
            Self::Reset => "reset",
            Self::Status(_) => "status",
            Self::Failed => "failed",
            Self::BadXml => "bad-xml",
            Self::Html => "html",
            Self::WrongId => "wrong-id",
            Self::EndlessBody => "endless-body",
            Self::Dribble => "dribble",
            Self::Hang => "hang",
        }
    }
}

pub(super) const FAILED: &str = "<response><returncode>FAILED</returncode>\
     <messageKey>simulatedFailure</messageKey><message>Something went wrong.</message></response>";

pub(super) const BAD_XML: &str =
    "<response><returncode>SUCCESS</returncode><meetings><meeting><meetingName>Half a mee";

pub(super) const HTML_PAGE: &str = "<!DOCTYPE html>\n<html><head><title>Welcome to nginx!</title></head>\
     <body><h1>Welcome to nginx!</h1></body></html>\n";

/// The same answer about somebody else's meeting.
pub(super) fn with_wrong_id(reply: Reply) -> Reply {
    reply.map(|content| {
        let text = String::from_utf8_lossy(&content).replace("<meetingID>", "<meetingID>another-");
        Bytes::from(text)
    })
}

/// A body as it comes from a [`Fault`]: pieces that are sent while somebody reads.
pub(super) type SlowBody = Channel<Bytes, Infallible>;

/// Meetings until the reader goes away. The channel holds one piece, so nothing piles up here.
pub(super) fn endless() -> (SlowBody, impl Future<Output = ()> + Send + 'static) {
    let (mut sender, body) = Channel::new(1);
    let write = async move {
        let head = Bytes::from_static(b"<response><returncode>SUCCESS</returncode><meetings>");
        let mut sent = sender.send_data(head).await;
        for number in 0_u64.. {
            if sent.is_err() {
                return;
            }
            let meeting = format!(
                "<meeting><meetingName>{number}</meetingName><meetingID>{number}</meetingID></meeting>"
            );
            sent = sender.send_data(Bytes::from(meeting.repeat(16))).await;
        }
    };
    (body, write)
}

/// `content`, byte after byte.
pub(super) fn dribble(content: Bytes) -> (SlowBody, impl Future<Output = ()> + Send + 'static) {
    let (mut sender, body) = Channel::new(1);
    let write = async move {
        for at in 0..content.len() {
            if sender.send_data(content.slice(at..=at)).await.is_err() {
                return;
            }
            tokio::time::sleep(DRIBBLE_PAUSE).await;
        }
    };
    (body, write)
}
