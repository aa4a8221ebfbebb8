//! From a request to a decision: route, authenticate, read the body, decide.
//!
//! Whoever signs in the query is authenticated before a byte of the body is read. A form that carries its
//! own checksum has to be read first; what such forms may hold in memory together is bounded.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderValue, StatusCode, header};
use pingora::http::RequestHeader;
use pingora_proxy::Session;
use tokio::sync::SemaphorePermit;

use super::authenticate::{Caller, authenticate};
use super::callbacks::Incoming;
use super::calls::{self, Asked, Decision};
use super::client::{self, Client};
use super::proxy::Context;
use super::refusal::{self, Fault, Refusal};
use super::reply::{Dialect, Reply};
use super::request::Request;
use super::route::{Route, Who, route};
use super::upload::{self, Broken, MAX_FORM_BYTES, Pump, Upload};
use super::{Edge, assets, b3lb, branding, events, form, head};
use crate::bbb::{Call, Failure};
use crate::fleet::{HOOK_PREFIX, Snapshot};

/// Forms of callers that are not known yet may hold so much memory together, in KiB.
pub(super) const STRANGERS_FORMS_KIB: usize = 64 * 1024;

/// A form that does not count may have so many bytes.
const MAX_LEFT_OUT_BYTES: usize = 64 * 1024;

/// Everything that nodes call stands below it.
const NODES_PREFIX: &str = "/b3lb/";

/// What a request carries behind its head.
#[derive(Clone)]
enum Body {
    None,
    Form,
    /// A form in parts, with their boundary.
    Multipart(String),
    Slides {
        length: Option<u64>,
    },
}

impl Edge {
    /// Decides on a request.
    pub(super) async fn pipeline(
        &self,
        session: &mut Session,
        ctx: &mut Context,
    ) -> Result<Decision, Refusal> {
        if self.farewell.is_said() {
            session.set_keepalive(None);
        }
        let req = session.req_header();
        let peer = session.client_addr().and_then(|address| address.as_inet()).map(SocketAddr::ip);
        let trusted = &self.settings.trusted_proxies;
        let Client { address, host } =
            client::identify(peer, &req.headers, req.uri.host(), trusted);
        ctx.client = address;
        if let Some(refused) = self.refuse_head(session, address) {
            ctx.track.blame("refused".to_owned(), Fault::Client);
            session.set_keepalive(None);
            let path = session.req_header().uri.path();
            return Ok(Decision::Respond(self.in_apis_words(path, refused)));
        }
        let target = head::Target::of(session.req_header());
        if let Some(api) = self.api_at(target.path()) {
            let (path, query) = (target.path(), target.query());
            let asked = self.ask_api(api, session, path, query, address, &ctx.track);
            return Ok(Decision::Respond(Box::pin(asked).await));
        }
        let req = session.req_header();
        if target.path().starts_with(HOOK_PREFIX) {
            let received = Box::pin(self.receive_events(session, target.path(), &ctx.track)).await;
            return Ok(Decision::Respond(received));
        }
        if let Some(incoming) = Incoming::of(target.path(), target.query()) {
            let received = Box::pin(self.receive(session, incoming, &ctx.track)).await;
            return Ok(Decision::Respond(received));
        }
        match self.b3lb(&host, target.path(), &req.method, &req.headers, &ctx.track) {
            Some(b3lb::Answer::Reply(reply)) => return Ok(Decision::Respond(reply)),
            Some(b3lb::Answer::Ping) => {
                return Ok(Decision::Respond(Box::pin(self.ping(&ctx.track)).await));
            }
            None => {}
        }
        let base_domain = self.settings.base_domain.as_deref();
        let Some(Route { who, call: name }) = route(&host, target.path(), base_domain) else {
            let snapshot = self.fleet.snapshot();
            if let Some(reply) = assets::answer(&snapshot, &req.method, &req.headers, target.path())
            {
                return Ok(Decision::Respond(reply));
            }
            ctx.track.blame("notFound".to_owned(), Fault::Client);
            return Ok(Decision::Respond(nothing_here()));
        };
        let request = Request::new(req.method.clone(), target.query(), &req.headers);
        let content_type = req.headers.get(header::CONTENT_TYPE).cloned();
        let Some(call) = Call::from_path(name).filter(|call| !calls::is_gone(*call)) else {
            ctx.dialect = request.dialect(None);
            ctx.track.blame(Failure::UNSUPPORTED_REQUEST.key.to_string(), Fault::Client);
            return Ok(Decision::Respond(unknown_call(ctx.dialect)));
        };
        ctx.track.call(call);
        ctx.dialect = request.dialect(Some(call));
        if !call.allows(request.method.as_str()) {
            ctx.track.blame("methodNotAllowed".to_owned(), Fault::Client);
            return Ok(Decision::Respond(method_not_allowed(call, ctx.dialect)));
        }
        if call == Call::Root {
            let content_type = content_type.as_ref().and_then(|own| own.to_str().ok());
            return Ok(Decision::Respond(calls::version(content_type)));
        }
        if !call.is_signed() {
            let (request, _share) =
                self.strangers_request(session, call, request, content_type).await?;
            let address = self.own_address(session);
            if let Some(reply) = calls::without_session(call, &request.params(call), &address) {
                if call != Call::SignOut {
                    ctx.track.failed(&Failure::MISSING_SESSION);
                }
                return Ok(Decision::Respond(reply));
            }
            return Err(Refusal::client(refusal::unsupported(call)));
        }
        let snapshot = self.fleet.peek();
        let body = match self.body_kind(session, call, content_type.as_ref()) {
            Ok(body) => body,
            Err(refusal) => {
                // Of two mistakes a wrong checksum is the one to be told. That of a form is not known.
                if request.has_query() {
                    authenticate(&snapshot, &who, call, &request).map_err(Refusal::client)?;
                }
                return Err(refusal);
            }
        };
        let (request, caller) =
            self.identify_caller(session, &snapshot, &who, call, request, &body).await?;
        ctx.track.scope(&caller.scope);
        if let Some(refused) = self.tenant_rates.refuse(&caller, ctx.dialect) {
            ctx.track.blame(refusal::TOO_MANY_REQUESTS.key.to_string(), Fault::Client);
            return Ok(Decision::Respond(refused));
        }
        let params = request.params(call);
        let (upload, pump) = match body {
            Body::Slides { length } => {
                Box::pin(upload::invite(session)).await;
                let max = self.settings.max_body_bytes;
                let kind = content_type.map(as_nodes_take_it);
                let begun = Box::pin(Upload::begin(session, kind, length, max)).await;
                let (upload, pump) = begun.map_err(|broken| refuse_body(broken, max))?;
                (Some(upload), pump)
            }
            Body::None | Body::Form | Body::Multipart(_) => (None, None),
        };
        let base = if call == Call::Create { self.own_base(session, &snapshot) } else { None };
        let look_base = branding::base(self, session, &caller, call);
        let (request, snapshot, track) = (&request, &**snapshot, &ctx.track);
        let mut asked = Asked {
            call,
            caller,
            params,
            request,
            snapshot,
            upload,
            base,
            look_base,
            track,
            is_unsure: false,
        };
        if self.has_others() {
            asked.is_unsure = Box::pin(self.learn_before(&asked)).await;
        }
        self.decide(session, &asked, pump).await
    }

    /// Reads the form, if there is one, and finds out who is asking, whichever can come first.
    async fn identify_caller<'r, 's>(
        &self,
        session: &mut Session,
        snapshot: &'s Snapshot,
        who: &Who<'_>,
        call: Call,
        request: Request<'r>,
        body: &Body,
    ) -> Result<(Request<'r>, Caller<'s>), Refusal> {
        let is_form = matches!(body, Body::Form | Body::Multipart(_));
        if !is_form || request.has_query() {
            let caller = authenticate(snapshot, who, call, &request).map_err(Refusal::client)?;
            if !is_form {
                return Ok((request, caller));
            }
            if !request.takes_form(call) {
                Box::pin(self.leave_out_form(session)).await?;
                return Ok((request, caller));
            }
            let form = Box::pin(self.read_form(session, body)).await?;
            return Ok((request.with_form(form), caller));
        }
        let (form, _share) = Box::pin(self.read_strangers_form(session, body)).await?;
        let request = request.with_form(form);
        let caller = authenticate(snapshot, who, call, &request).map_err(Refusal::client)?;
        Ok((request, caller))
    }

    /// Reads a form that does not count, and forgets it: what is left of a body would be streamed to the node
    /// that a request is forwarded to.
    async fn leave_out_form(&self, session: &mut Session) -> Result<(), Refusal> {
        upload::invite(session).await;
        let max = MAX_LEFT_OUT_BYTES.min(self.settings.max_body_bytes);
        upload::skip(session, max, self.settings.header_timeout)
            .await
            .map_err(|broken| refuse_body(broken, max))
    }

    /// A request that nobody signs, with its form if there is one, and the form's share of the memory, which is
    /// to be kept as long.
    async fn strangers_request<'r>(
        &self,
        session: &mut Session,
        call: Call,
        request: Request<'r>,
        content_type: Option<HeaderValue>,
    ) -> Result<(Request<'r>, Option<SemaphorePermit<'_>>), Refusal> {
        // Any other body means nothing to these calls.
        let Ok(body @ (Body::Form | Body::Multipart(_))) =
            self.body_kind(session, call, content_type.as_ref())
        else {
            return Ok((request, None));
        };
        let (form, share) = Box::pin(self.read_strangers_form(session, &body)).await?;
        Ok((request.with_form(form), share))
    }

    /// Where the client has asked us, without a path.
    fn own_address(&self, session: &Session) -> String {
        let known = self.settings.public_url.as_ref().map(|url| url.origin().ascii_serialization());
        known
            .or_else(|| client::origin(session, &self.settings.trusted_proxies))
            .unwrap_or_default()
    }

    /// The form as one query string.
    async fn read_form(&self, session: &mut Session, body: &Body) -> Result<Vec<u8>, Refusal> {
        upload::invite(session).await;
        let max = MAX_FORM_BYTES.min(self.settings.max_body_bytes);
        let bytes = upload::read_whole(session, max, self.settings.header_timeout)
            .await
            .map_err(|broken| refuse_body(broken, max))?;
        Self::as_query(body, bytes).await
    }

    /// The same of a caller that is not known yet, with its share of the memory for such forms.
    async fn read_strangers_form(
        &self,
        session: &mut Session,
        body: &Body,
    ) -> Result<(Vec<u8>, Option<SemaphorePermit<'_>>), Refusal> {
        upload::invite(session).await;
        let max = MAX_FORM_BYTES.min(self.settings.max_body_bytes);
        let (within, memory) = (self.settings.header_timeout, &self.strangers_forms);
        let (bytes, share) = upload::read_whole_within(session, max, within, memory)
            .await
            .map_err(|broken| refuse_body(broken, max))?;
        Ok((Self::as_query(body, bytes).await?, share))
    }

    async fn as_query(body: &Body, bytes: Vec<u8>) -> Result<Vec<u8>, Refusal> {
        match body {
            Body::Multipart(boundary) => form::from_parts(bytes, boundary)
                .await
                .ok_or_else(|| Refusal::client(Failure::REQUEST_NOT_RECOGNIZED)),
            _ => Ok(bytes),
        }
    }

    /// Decides on a request whose caller is known.
    async fn decide(
        &self,
        session: &mut Session,
        asked: &Asked<'_>,
        pump: Option<Pump>,
    ) -> Result<Decision, Refusal> {
        let decision = calls::decide(self, asked);
        let Some(pump) = pump else { return decision.await };
        Box::pin(self.decide_meanwhile(session, decision, pump)).await
    }

    /// Moves the rest of an upload while the decision is made.
    async fn decide_meanwhile(
        &self,
        session: &mut Session,
        decision: impl Future<Output = Result<Decision, Refusal>>,
        pump: Pump,
    ) -> Result<Decision, Refusal> {
        tokio::pin!(decision);
        let pumped = tokio::select! {
            decision = &mut decision => return decision,
            pumped = pump.run(session) => pumped,
        };
        match (decision.await, pumped) {
            // What the node says of half a body does not matter.
            (_, Err(broken)) => Err(refuse_body(broken, self.settings.max_body_bytes)),
            (decision, Ok(())) => decision,
        }
    }

    /// What is wrong with a request before anybody looks at what it says.
    fn refuse_head(&self, session: &Session, client: IpAddr) -> Option<Reply> {
        let with_status = |status, failure: &Failure| {
            let mut reply = Reply::failure(failure, Dialect::Xml);
            reply.status = status;
            Some(reply)
        };
        if head::has_two_lengths(session) {
            return with_status(StatusCode::BAD_REQUEST, &Failure::REQUEST_NOT_RECOGNIZED);
        }
        if head::bytes(session.req_header()) > self.settings.max_header_bytes {
            let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            return with_status(status, &refusal::HEADER_TOO_LARGE);
        }
        if self.address_rates.as_ref().is_some_and(|rates| {
            rates.is_over(client, || self.may_be_a_nodes(session.req_header()))
        }) {
            return with_status(StatusCode::TOO_MANY_REQUESTS, &refusal::TOO_MANY_REQUESTS);
        }
        None
    }

    /// Whether a request is written as only a node can know.
    fn may_be_a_nodes(&self, req: &RequestHeader) -> bool {
        if !req.uri.path().starts_with(NODES_PREFIX) {
            return false;
        }
        let target = head::Target::of(req);
        let snapshot = self.fleet.peek();
        Incoming::of(target.path(), target.query()).is_some_and(|incoming| incoming.has_token())
            || events::sender(&snapshot, target.path()).is_some()
    }

    /// What the body is, by its declared type and length.
    fn body_kind(
        &self,
        session: &mut Session,
        call: Call,
        content_type: Option<&HeaderValue>,
    ) -> Result<Body, Refusal> {
        let length = head::content_length(&session.req_header().headers);
        // On a GET without body, front ends send any content type.
        let has_body = length.is_some_and(|length| length > 0) || !session.is_body_empty();
        if !has_body {
            return Ok(Body::None);
        }
        let max = self.settings.max_body_bytes;
        if length.is_some_and(|length| length > max as u64) {
            return Err(refuse_body(Broken::TooLarge, max));
        }
        let unsupported = || Refusal::client(Failure::UNSUPPORTED_CONTENT_TYPE);
        let full = content_type.and_then(|own| own.to_str().ok()).unwrap_or_default();
        let mime = full.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match mime.as_str() {
            "application/x-www-form-urlencoded" => Ok(Body::Form),
            // With the file in it, it goes to the node as it is.
            "multipart/form-data" if call == Call::PutRecordingTextTrack => {
                Ok(Body::Slides { length })
            }
            "multipart/form-data" => {
                form::boundary(full).map(Body::Multipart).ok_or_else(unsupported)
            }
            "application/xml" | "text/xml"
                if matches!(call, Call::Create | Call::InsertDocument) =>
            {
                Ok(Body::Slides { length })
            }
            _ => Err(unsupported()),
        }
    }
}

/// The type of a body for a node. Of XML nodes compare the whole header and know one spelling, front ends
/// several; only another charset than UTF-8 means something else.
fn as_nodes_take_it(content_type: HeaderValue) -> HeaderValue {
    let full = content_type.to_str().unwrap_or_default().to_ascii_lowercase();
    let mut parts = full.split(';').map(str::trim);
    let is_xml = parts.next().is_some_and(|mime| matches!(mime, "application/xml" | "text/xml"));
    let is_utf8 = parts
        .find_map(|part| part.strip_prefix("charset="))
        .is_none_or(|charset| charset.trim_matches('"') == "utf-8");
    if is_xml && is_utf8 { HeaderValue::from_static("application/xml") } else { content_type }
}

fn refuse_body(broken: Broken, max: usize) -> Refusal {
    Refusal::client(match broken {
        Broken::TooLarge => refusal::too_large(max),
        Broken::TooSlow | Broken::Gone => refusal::TOO_SLOW,
        Broken::NoRoom => refusal::TOO_MANY_REQUESTS,
    })
}

fn nothing_here() -> Reply {
    let text = "There is nothing here. The BigBlueButton API is at /bigbluebutton/api.\n";
    Reply::new(StatusCode::NOT_FOUND, "text/plain;charset=utf-8", text)
}

/// BigBlueButton's answer to a call that it does not know.
pub(super) fn unknown_call(dialect: Dialect) -> Reply {
    let mut reply = Reply::failure(&Failure::UNSUPPORTED_REQUEST, dialect);
    reply.status = StatusCode::NOT_FOUND;
    reply
}

fn method_not_allowed(call: Call, dialect: Dialect) -> Reply {
    let mut reply = Reply::failure(&Failure::REQUEST_NOT_RECOGNIZED, dialect);
    reply.status = StatusCode::METHOD_NOT_ALLOWED;
    reply.allow = Some(match (call.allows("GET"), call.allows("POST")) {
        (true, true) => "GET, POST",
        (true, false) => "GET",
        (false, _) => "POST",
    });
    reply
}
