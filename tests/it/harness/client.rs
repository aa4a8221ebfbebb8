//! A front end of one tenant: signs what it sends, as its secret and algorithm say.

use std::borrow::Cow;
use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use http::Method;
use portico::bbb::{self, Algorithm, Params};

use super::http::{Reply, request};

/// A front end. Each method that changes it gives a changed copy, so one may be kept as a base for others.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    pub(crate) host: String,
    /// What stands before the call.
    pub(crate) base: String,
    pub(crate) secret: String,
    pub(crate) algorithm: Algorithm,
    pub(crate) headers: Vec<(String, String)>,
}

/// What the checksum of a form with its checksum in the body covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signed {
    /// Nothing but call and secret, since BigBlueButton 3.0.
    Nothing,
    /// The sorted parameters, until 2.7.
    Sorted,
}

impl Client {
    /// At the same address under another `Host`.
    pub(crate) fn host(&self, host: &str) -> Self {
        Self { host: host.to_owned(), ..self.clone() }
    }

    /// With another path before the call, such as `/bigbluebutton/api`.
    pub(crate) fn base(&self, base: &str) -> Self {
        Self { base: base.to_owned(), ..self.clone() }
    }

    /// With another secret.
    pub(crate) fn secret(&self, secret: &str) -> Self {
        Self { secret: secret.to_owned(), ..self.clone() }
    }

    /// Signing with another hash; the default is sha256.
    pub(crate) fn signing(&self, algorithm: Algorithm) -> Self {
        Self { algorithm, ..self.clone() }
    }

    /// With one more header.
    pub(crate) fn header(&self, name: &str, value: &str) -> Self {
        let mut client = self.clone();
        client.headers.push((name.to_owned(), value.to_owned()));
        client
    }

    /// The checksum of these bytes.
    pub(crate) fn checksum(&self, call: &str, query: &str) -> String {
        bbb::checksum(self.algorithm, call, query.as_bytes(), &self.secret)
    }

    /// Path and query with the checksum at the end.
    pub(crate) fn target(&self, call: &str, query: &str) -> String {
        let query = bbb::signed_query(self.algorithm, call, query.as_bytes(), &self.secret);
        format!("{}/{call}?{query}", self.base)
    }

    /// A signed GET.
    pub(crate) async fn get(&self, call: &str, query: &str) -> Reply {
        self.try_get(call, query).await.expect("an answer")
    }

    /// A signed GET that may get no answer.
    pub(crate) async fn try_get(&self, call: &str, query: &str) -> io::Result<Reply> {
        self.try_send(Method::GET, &self.target(call, query), &[], Bytes::new()).await
    }

    /// A POST of a form with its checksum in the body, signed over nothing.
    pub(crate) async fn post_form(&self, call: &str, form: &str) -> Reply {
        self.post_signed_form(call, form, Signed::Nothing).await
    }

    /// A POST of a form with its checksum in the body.
    pub(crate) async fn post_signed_form(&self, call: &str, form: &str, signed: Signed) -> Reply {
        let covered = match signed {
            Signed::Nothing => String::new(),
            Signed::Sorted => sorted(form),
        };
        let separator = if form.is_empty() { "" } else { "&" };
        let body = format!("{form}{separator}checksum={}", self.checksum(call, &covered));
        self.send(Method::POST, &format!("{}/{call}", self.base), &[FORM], body).await
    }

    /// A POST with a signed query and a form that the checksum does not cover.
    pub(crate) async fn post_query_and_form(&self, call: &str, query: &str, form: &str) -> Reply {
        self.send(Method::POST, &self.target(call, query), &[FORM], form.to_owned()).await
    }

    /// A POST with a signed query and an XML body.
    pub(crate) async fn post_xml(&self, call: &str, query: &str, body: impl Into<Bytes>) -> Reply {
        self.send(Method::POST, &self.target(call, query), &[XML], body).await
    }

    /// Sends anything, unsigned.
    pub(crate) async fn send(
        &self,
        method: Method,
        target: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Reply {
        self.try_send(method, target, headers, body).await.expect("an answer")
    }

    /// Sends anything, unsigned, that may get no answer.
    pub(crate) async fn try_send(
        &self,
        method: Method,
        target: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> io::Result<Reply> {
        let more = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let headers: Vec<_> = self.headers.iter().cloned().chain(more).collect();
        request(self.address, method, &self.host, target, &headers, body).await
    }

    /// Creates a meeting with that id and nothing special.
    pub(crate) async fn create(&self, id: &str) -> Reply {
        self.get("create", &format!("name=A+meeting&meetingID={id}")).await.success()
    }

    /// The ids in `getMeetings`, sorted.
    pub(crate) async fn listed(&self) -> Vec<String> {
        let reply = self.get("getMeetings", "").await.success();
        let xml = reply.xml();
        let meetings = xml.child("meetings").expect("a list");
        let id = |meeting: &bbb::Element| meeting.child_text("meetingID").map(Cow::into_owned);
        let mut ids: Vec<_> = meetings.elements().filter_map(id).collect();
        ids.sort();
        ids
    }
}

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const XML: (&str, &str) = ("content-type", "application/xml");

/// What a BigBlueButton 2.7 computes the checksum of a form over: its parameters by name, decoded and encoded
/// again as a Java `URLEncoder` does.
pub(crate) fn sorted(form: &str) -> String {
    let params = Params::parse(form.as_bytes());
    let mut pairs: Vec<(String, String)> =
        params.iter().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
    pairs.sort();
    let mut serializer = form_urlencoded::Serializer::new(String::new());
    serializer.extend_pairs(pairs);
    serializer.finish()
}
