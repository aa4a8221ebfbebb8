//! The calls of front ends and browsers.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use http::header::LOCATION;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use tokio::time::timeout;
use url::Url;

use crate::bbb::{Answer, Call};
use crate::cli::client::failure::Failure;
use crate::cli::client::lost::Place;
use crate::cli::client::signing::Signer;
use crate::cli::client::way::Way;
use crate::trace::Room;

/// A person has given up by then.
const TIMEOUT: Duration = Duration::from_secs(30);
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// Why a call has failed, in a word that failures of its kind share.
pub(super) type Trouble = String;

/// What a front end says of a meeting.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hints {
    pub(super) max_participants: Option<u32>,
    pub(super) size: Option<u32>,
}

/// All front ends of a trace, and the browsers of its people.
pub(super) struct Front {
    way: Way,
    server: String,
    signers: HashMap<String, Signer>,
}

impl Front {
    pub(super) fn new(server: &str) -> Result<Self, Failure> {
        let way = Way::network(server.starts_with("https://"))?;
        Ok(Self { way, server: server.to_owned(), signers: HashMap::new() })
    }

    /// Whether anybody answers there.
    pub(super) async fn reach(&self) -> Result<(), Failure> {
        let place = Place {
            tried: self.server.clone(),
            listener: "server.listen",
            named_by: "--server URL, or server.public_url of the configuration, says so".to_owned(),
            before: None,
        };
        let wrong = |error| Failure::wrong(format_args!("--server {}: {error}", self.server));
        let request = Request::get(format!("{}/bigbluebutton/api", self.server));
        let request = request.body(Full::<Bytes>::default()).map_err(wrong)?;
        match timeout(TIMEOUT, self.way.send(request)).await {
            Ok(Ok(_whatever)) => Ok(()),
            Ok(Err(error)) => Err(place.lost(error.as_ref(), false)),
            Err(_elapsed) => Err(place.silent(TIMEOUT.as_secs()).without_effect()),
        }
    }

    /// A tenant of the trace is this one of Portico's.
    pub(super) fn add(&mut self, tenant: &str, slug: &str, secret: String) {
        self.signers.insert(tenant.to_owned(), Signer::of_tenant(&self.server, slug, secret));
    }

    /// Whether a tenant is served there.
    pub(super) async fn is_served(&self, tenant: &str) -> Result<(), Trouble> {
        self.ask(tenant, Call::GetMeetings, &[]).await.map(drop)
    }

    /// Creates a meeting; gives its internal id.
    pub(super) async fn create(&self, room: &Room, hints: Hints) -> Result<String, Trouble> {
        let mut pairs = vec![
            ("name", format!("Meeting {}", room.meeting_id)),
            ("meetingID", room.meeting_id.clone()),
            // It ends when the trace says so, in a time that is not that of the node.
            ("meetingExpireIfNoUserJoinedInMinutes", "0".to_owned()),
            ("meetingExpireWhenLastUserLeftInMinutes", "0".to_owned()),
        ];
        pairs.extend(hints.max_participants.map(|max| ("maxParticipants", max.to_string())));
        pairs.extend(hints.size.map(|size| ("meta_bbb-meeting-size-hint", size.to_string())));
        let answer = self.ask(&room.tenant, Call::Create, &pairs).await?;
        let id = answer.text("internalMeetingID");
        id.map(Cow::into_owned).ok_or_else(|| "no internalMeetingID".to_owned())
    }

    /// Asks for the way into a meeting.
    pub(super) async fn join(&self, room: &Room, user: &str) -> Result<String, Trouble> {
        let pairs = [
            ("meetingID", room.meeting_id.clone()),
            ("fullName", format!("Person {user}")),
            ("userID", user.to_owned()),
            ("role", "VIEWER".to_owned()),
        ];
        let link = self.link(&room.tenant, Call::Join, &pairs)?;
        self.redirect(link).await
    }

    /// Ends a meeting.
    pub(super) async fn end(&self, room: &Room) -> Result<(), Trouble> {
        let pairs = [("meetingID", room.meeting_id.clone())];
        self.ask(&room.tenant, Call::End, &pairs).await.map(drop)
    }

    /// Goes to a node, as a browser does; gives the token of the session there.
    pub(super) async fn follow(&self, location: String) -> Result<String, Trouble> {
        let client = self.redirect(location).await?;
        let client = Url::parse(&client).map_err(|_no_url| "sent to no URL".to_owned())?;
        let token = client.query_pairs().find(|(name, _)| name == "sessionToken");
        token.map(|(_, token)| token.into_owned()).ok_or_else(|| "no session".to_owned())
    }

    async fn ask(
        &self,
        tenant: &str,
        call: Call,
        pairs: &[(&str, String)],
    ) -> Result<Answer, Trouble> {
        let (status, _, body) = self.get(self.link(tenant, call, pairs)?).await?;
        succeeded(status, &body)
    }

    fn link(&self, tenant: &str, call: Call, pairs: &[(&str, String)]) -> Result<String, Trouble> {
        let signer = self.signers.get(tenant).ok_or("no such tenant")?;
        let pairs: Vec<_> =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        Ok(signer.link(call, &pairs))
    }

    /// Where a link sends a browser on to.
    async fn redirect(&self, link: String) -> Result<String, Trouble> {
        let (status, headers, body) = self.get(link).await?;
        if !status.is_redirection() {
            return succeeded(status, &body).and(Err("no redirect".to_owned()));
        }
        let location = headers.get(LOCATION).and_then(|location| location.to_str().ok());
        let location = location.ok_or("a redirect without a place")?;
        if location.contains("errors=") {
            return Err("sent away with an error".to_owned());
        }
        Ok(location.to_owned())
    }

    async fn get(&self, link: String) -> Result<(StatusCode, HeaderMap, Bytes), Trouble> {
        let request = Request::get(link).body(Full::default());
        let request = request.map_err(|_broken| "sent to no URL".to_owned())?;
        let exchange = async {
            let answer = self.way.send(request).await.map_err(|_why| "no connection")?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
            let body = body.map_err(|_why| "the answer breaks off")?.to_bytes();
            Ok((head.status, head.headers, body))
        };
        timeout(TIMEOUT, exchange).await.map_err(|_elapsed| "timeout".to_owned())?
    }
}

/// The answer of a call that has worked.
fn succeeded(status: StatusCode, body: &[u8]) -> Result<Answer, Trouble> {
    let Ok(answer) = Answer::parse(body) else { return Err(format!("{}", status.as_u16())) };
    if answer.is_success() {
        return Ok(answer);
    }
    Err(answer.message_key().map_or_else(|| status.as_u16().to_string(), Cow::into_owned))
}
