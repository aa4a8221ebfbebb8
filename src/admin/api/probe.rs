//! Asks a node right now, and says in words what is wrong.

use std::ops::ControlFlow;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use http::{HeaderMap, header};
use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Desk;
use super::caller::Caller;
use super::explanation::Reason;
use super::problem::{Problem, Refused};
use super::request::Path;
use crate::bbb::{Algorithm, Answer, Call, ListError, MeetingsParser, signed_query};
use crate::chain::Chain;
use crate::fleet::now_ms;
use crate::model::{Cluster, Kind, Node, ObjectName};
use crate::node::{Client, Error, Stage};

/// Each of the two calls takes no longer.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// The version is a dozen short elements.
const MAX_VERSION_BYTES: usize = 64 * 1024;
/// As when it is polled.
const MAX_LIST_BYTES: usize = 64 * 1024 * 1024;
const MAX_MEETING_BYTES: usize = 8 * 1024 * 1024;
/// What every `BigBlueButton` since 0.9 says.
const API_VERSION: &str = "2.0";
/// Clocks that differ by more make joins and callbacks hard to follow.
const MAX_SKEW_SECONDS: u64 = 60;

pub(super) fn routes() -> OpenApiRouter<Desk> {
    OpenApiRouter::new().routes(routes!(probe_node))
}

/// What a node answers right now.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct ProbeDocument {
    /// Whether nothing is wrong.
    ok: bool,
    /// What is wrong, each with what helps.
    pub(super) problems: Vec<Reason>,
    /// The release, where the node reveals it.
    version: Option<String>,
    /// Meetings that it runs, whosever they are.
    meetings: Option<u32>,
    /// How far its clock is ahead of ours, in seconds; below 0: behind.
    clock_skew_seconds: Option<i64>,
    /// How long it took to answer `getMeetings`.
    milliseconds: Option<u64>,
}

/// Asks a node right now, with its secret, and says in words what is wrong: its name, its port, TLS, the secret, the
/// version, its clock.
#[utoipa::path(post, path = "/nodes/{name}/probe", tag = "nodes", security(("token" = [])),
    params(("name" = String, Path)),
    responses((status = 200, description = "What it answers", body = ProbeDocument), Refused))]
async fn probe_node(
    State(desk): State<Desk>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Json<ProbeDocument>, Problem> {
    caller.may_write()?;
    let snapshot = desk.fleet.snapshot();
    let node = snapshot.node(&name);
    let node = node.ok_or_else(|| Problem::not_found(&ObjectName::new(Kind::Node, name)))?;
    Ok(Json(probe(&desk.tools.client, &node.spec, node.cluster.checksum).await))
}

impl Desk {
    /// Refuses a node that does not answer as it should.
    pub(super) async fn must_answer(&self, node: &Node) -> Result<(), Problem> {
        let in_force = self.keeper.in_force();
        let mut clusters = in_force.inventory.clusters.iter();
        // That there is none is told when the node is added.
        let cluster = clusters.find(|cluster| cluster.name == node.cluster);
        let checksum = cluster.map_or_else(|| Cluster::default().checksum, |known| known.checksum);
        let found = probe(&self.tools.client, node, checksum).await;
        if found.ok {
            return Ok(());
        }
        let told = found.problems.into_iter().map(|problem| {
            let Reason { reason, remedy } = problem;
            ("url".to_owned(), format!("{reason}: {remedy}"))
        });
        Err(Problem::fields(told))
    }
}

async fn probe(client: &Client, node: &Node, checksum: Algorithm) -> ProbeDocument {
    let mut found = ProbeDocument::default();
    if let Err(problem) = ask_version(client, node, &mut found).await {
        // What cannot be reached, or is something else, has no meetings to tell of.
        found.problems.push(problem);
        return found;
    }
    if let Err(problem) = ask_meetings(client, node, checksum, &mut found).await {
        found.problems.push(problem);
    }
    found.ok = found.problems.is_empty();
    found
}

/// Without a signature: whether there is a `BigBlueButton` at all, which, and what time it is there.
async fn ask_version(
    client: &Client,
    node: &Node,
    found: &mut ProbeDocument,
) -> Result<(), Reason> {
    let asked_ms = now_ms();
    let call = Call::Root.as_str();
    let asked = client.call(&node.url, call, "", None, CALL_TIMEOUT, MAX_VERSION_BYTES);
    let response = asked.await.map_err(|error| of_error(&error))?;
    found.clock_skew_seconds = skew_of(&response.headers, asked_ms, now_ms());
    let answer = match (response.status, Answer::parse(&response.body)) {
        (200, Ok(answer)) => answer,
        (status, _) => return Err(no_bigbluebutton(&node.url, status)),
    };
    found.version = answer.text("bbbVersion").filter(|text| !text.is_empty()).map(shortened);
    let version = answer.text("version").unwrap_or_default();
    if version != API_VERSION {
        found.problems.push(Reason::new(
            format!("it speaks version {:?} of the API", shortened(version)),
            format!(
                "Portico speaks {API_VERSION}, as BigBlueButton has done since 0.9: update the node"
            ),
        ));
    }
    if let Some(seconds) = found.clock_skew_seconds
        && seconds.unsigned_abs() > MAX_SKEW_SECONDS
    {
        let how = if seconds > 0 { "ahead of" } else { "behind" };
        found.problems.push(Reason::new(
            format!("its clock is {} s {how} ours", seconds.unsigned_abs()),
            "let NTP set the clocks of both machines",
        ));
    }
    Ok(())
}

/// As it is polled.
async fn ask_meetings(
    client: &Client,
    node: &Node,
    checksum: Algorithm,
    found: &mut ProbeDocument,
) -> Result<(), Reason> {
    let call = Call::GetMeetings.as_str();
    let query = signed_query(checksum, call, b"", node.secret.expose());
    let mut parser = MeetingsParser::new(MAX_MEETING_BYTES);
    let (mut meetings, mut wrong) = (0, None);
    let mut each_chunk = |chunk: &[u8]| match parser.push(chunk, &mut |_| meetings += 1) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            wrong = Some(error);
            ControlFlow::Break(())
        }
    };
    let began = Instant::now();
    let asked =
        client.stream(&node.url, call, &query, CALL_TIMEOUT, MAX_LIST_BYTES, &mut each_chunk);
    let status = asked.await.map_err(|error| of_error(&error))?;
    if status != 200 {
        return Err(Reason::new(
            format!("it answers getMeetings with status {status}"),
            "see the log of bbb-web and nginx on the node",
        ));
    }
    let listed = wrong.map_or_else(|| parser.finish(), |error| Err(error.into()));
    match listed {
        Ok(()) => {
            found.meetings = Some(meetings);
            found.milliseconds = u64::try_from(began.elapsed().as_millis()).ok();
            Ok(())
        }
        Err(ListError::Failed(failure)) if failure.key == "checksumError" => Err(Reason::new(
            format!(
                "it refuses our checksum ({checksum}): the secret is wrong, or its cluster's algorithm"
            ),
            "take the secret that `bbb-conf --secret` prints on the node, and see supportedChecksumAlgorithms in \
             its bbb-web.properties",
        )),
        Err(error) => Err(Reason::new(
            format!(
                "its list of meetings cannot be used: {}",
                shortened(Chain(&error).to_string())
            ),
            "see the log of bbb-web on the node",
        )),
    }
}

/// What a node says is not to fill our answer.
fn shortened(text: impl AsRef<str>) -> String {
    text.as_ref().chars().take(200).collect()
}

fn no_bigbluebutton(url: &url::Url, status: u16) -> Reason {
    let what = if status == 200 { "something else than" } else { "no" };
    let reason = format!(
        "there is {what} BigBlueButton at {}{}: status {status}",
        url.origin().ascii_serialization(),
        url.path()
    );
    let remedy = match status {
        301 | 302 | 307 | 308 => "it leads elsewhere: take the URL that it leads to, mostly https",
        502..=504 => "bbb-web does not run behind nginx: `bbb-conf --status` on the node",
        _ => "take the URL that `bbb-conf --secret` prints on the node",
    };
    Reason::new(reason, remedy)
}

/// How far a clock is ahead of ours; only what lies outside of the time that the call took counts.
fn skew_of(headers: &HeaderMap, asked_ms: u64, heard_ms: u64) -> Option<i64> {
    let date = headers.get(header::DATE)?.to_str().ok()?;
    let shown = jiff::fmt::rfc2822::parse(date).ok()?.timestamp().as_second();
    let second = |ms: u64| i64::try_from(ms / 1000).unwrap_or(i64::MAX);
    let (asked, heard) = (second(asked_ms), second(heard_ms));
    Some(if shown < asked { shown - asked } else { (shown - heard).max(0) })
}

fn of_error(error: &Error) -> Reason {
    let remedy = match error {
        Error::Resolve { .. } => {
            "check the host in the URL, and whether this machine's DNS knows it"
        }
        Error::Refused { .. } => {
            "nothing listens there: check host and port of the URL, and whether nginx runs on the node"
        }
        Error::Unreachable { .. } => "check routes and firewalls between this machine and the node",
        Error::Tls { certificate: true, .. } => {
            "renew the node's certificate, or take the host that it is for; a private authority has to be among \
             the roots of this machine"
        }
        Error::Tls { certificate: false, .. } => {
            "check whether the port speaks TLS at all, and TLS 1.2 or later"
        }
        Error::Timeout { stage: Stage::Connect, .. } => {
            "a firewall between this machine and the node may drop packets, or the host is off"
        }
        Error::Timeout { .. } => "the node is overloaded or hangs: see `bbb-conf --status` there",
        Error::Protocol { .. } => "check whether the URL is to begin with https, and its port",
        Error::Reset { .. } => {
            "see the log of nginx on the node, and what stands between it and this machine"
        }
        _ => "check the URL: it is the one that `bbb-conf --secret` prints on the node",
    };
    Reason::new(Chain(error).to_string(), remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_far_off_is_measured_by_the_date() {
        let at = |date: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::DATE, date.parse().unwrap());
            headers
        };
        // 1994-11-06T08:49:37Z
        let now = 784_111_777_000;
        for (date, skew) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(0)),
            ("Sun, 06 Nov 1994 08:49:39 GMT", Some(0)),
            ("Sun, 06 Nov 1994 09:49:39 GMT", Some(3600)),
            ("Sun, 06 Nov 1994 08:48:37 GMT", Some(-60)),
            ("yesterday", None),
        ] {
            assert_eq!(skew_of(&at(date), now, now + 2000), skew, "{date}");
        }
        assert_eq!(skew_of(&HeaderMap::new(), now, now), None);
    }
}
