//! B3LB's own endpoints, for the monitoring that its operators have: `/b3lb/ping`, and the statistics and
//! metrics of a tenant, by host or by path.
//!
//! What a tenant runs is for whoever has its `stats_token`. All is read from memory at the moment of the
//! request, nothing is kept as text. B3LB also gives the figures of all tenants away, on its base domain and
//! without a token; here those are on the operators' side only.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use http::{HeaderMap, Method, StatusCode, header};
use serde::Serialize;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::Edge;
use super::authenticate::find;
use super::refusal::Fault;
use super::reply::Reply;
use super::route::{Who, by_host};
use super::track::Track;
use crate::fleet::{Figures, Phase, TenantEntry};
use crate::model::{Scope, Secret, SubId};

const TEXT: &str = "text/plain";
const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Ping,
    Stats,
    Metrics,
}

/// What is to be answered.
pub(super) enum Answer {
    /// This.
    Reply(Reply),
    /// What a ping gets, which takes a look at the store.
    Ping,
}

impl Edge {
    /// The answer to a request for one of these; `None` for any other path.
    pub(super) fn b3lb(
        &self,
        host: &str,
        path: &str,
        method: &Method,
        headers: &HeaderMap,
        track: &Track,
    ) -> Option<Answer> {
        let (what, scope) = parse(path)?;
        if method != Method::GET {
            track.blame("methodNotAllowed".to_owned(), Fault::Client);
            let mut reply = Reply::new(StatusCode::METHOD_NOT_ALLOWED, HTML, "");
            reply.allow = Some("GET");
            return Some(Answer::Reply(reply));
        }
        if what == What::Ping {
            return Some(Answer::Ping);
        }
        let snapshot = self.fleet.snapshot();
        let base_domain = self.settings.base_domain.as_deref();
        let who = scope.map_or_else(|| by_host(host, base_domain), Who::Scope);
        let found = find(&snapshot, &who);
        let token = found.as_ref().and_then(|(tenant, _)| tenant.tenant.stats_token.as_ref());
        let is_right = opens(headers, token.map(Secret::expose).unwrap_or_default());
        let Some((tenant, at)) = found.filter(|_| is_right) else {
            track.blame("unauthorized".to_owned(), Fault::Client);
            let reply = Reply::new(StatusCode::UNAUTHORIZED, HTML, "Unauthorized");
            return Some(Answer::Reply(reply));
        };
        let sub = tenant.tenant.secrets[at].sub_id;
        track.scope(&tenant.tenant.scope(sub));
        Some(Answer::Reply(match what {
            What::Metrics => Reply::new(StatusCode::OK, TEXT, metrics(tenant, sub)),
            _ => Reply::new(StatusCode::OK, JSON, self.stats(tenant)),
        }))
    }

    /// What the tenant runs, by where its meetings come from: server name, then product.
    fn stats(&self, tenant: &TenantEntry) -> String {
        let mut by_origin = BTreeMap::<String, BTreeMap<String, Stats>>::new();
        let whole = Scope { tenant: tenant.tenant.slug.clone(), sub: SubId::MAIN };
        for entry in self.fleet.directory.visible_to(&whole) {
            if entry.phase() != Phase::Running || !entry.counts() {
                continue;
            }
            let (origin, people) = (entry.origin(), entry.people());
            let server = by_origin.entry(origin.server.to_string()).or_default();
            let stats = server.entry(origin.product.to_string()).or_default();
            stats.meetings += 1;
            stats.participants += u64::from(people.attendees);
            stats.listeners += u64::from(people.listeners);
            stats.voices += u64::from(people.voices);
            stats.moderators += u64::from(people.moderators);
            stats.videos += u64::from(people.videos);
        }
        serde_json::to_string(&by_origin).unwrap_or_else(|_no_such_map| "{}".to_owned())
    }
}

/// The figures of one origin, by B3LB's names.
#[derive(Debug, Default, Serialize)]
struct Stats {
    #[serde(rename = "participantCount")]
    participants: u64,
    #[serde(rename = "listenerCount")]
    listeners: u64,
    #[serde(rename = "voiceParticipantCount")]
    voices: u64,
    #[serde(rename = "moderatorCount")]
    moderators: u64,
    #[serde(rename = "videoCount")]
    videos: u64,
    #[serde(rename = "meetingCount")]
    meetings: u64,
}

/// What a path asks for, and whose, if it says so.
fn parse(path: &str) -> Option<(What, Option<&str>)> {
    let rest = path.strip_prefix("/b3lb/")?;
    if rest == "ping" {
        return Some((What::Ping, None));
    }
    let (scope, what) = match rest.strip_prefix("t/") {
        Some(rest) => rest.split_once('/').map(|(scope, what)| (Some(scope), what))?,
        None => (None, rest),
    };
    match what {
        "stats" => Some((What::Stats, scope)),
        "metrics" => Some((What::Metrics, scope)),
        _ => None,
    }
}

/// Whether the `Authorization` header is the token, bare as B3LB has it or behind `Bearer`. An empty token
/// opens nothing. Digests are compared, so that the time tells neither length nor content, and an unknown
/// tenant takes as long.
fn opens(headers: &HeaderMap, token: &str) -> bool {
    let given = headers.get(header::AUTHORIZATION).and_then(|given| given.to_str().ok());
    let given = given.unwrap_or_default().trim();
    let given = match given.split_at_checked("Bearer ".len()) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("Bearer ") => rest.trim(),
        _ => given,
    };
    let is_equal = Sha256::digest(given).ct_eq(&Sha256::digest(token));
    !token.is_empty() && bool::from(is_equal)
}

/// A column of the figures.
type Figure = fn(&Figures) -> u64;

const GAUGES: [(&str, &str, Figure); 5] = [
    ("b3lb_attendees", "Attendees in meetings now.", |now| now.people.attendees.into()),
    ("b3lb_listeners", "Attendees who only listen now.", |now| now.people.listeners.into()),
    ("b3lb_voices", "Attendees with a microphone now.", |now| now.people.voices.into()),
    ("b3lb_videos", "Webcams now.", |now| now.people.videos.into()),
    ("b3lb_meetings", "Meetings that run now.", |now| now.meetings.into()),
];

const COUNTERS: [(&str, &str, Figure); 5] = [
    ("b3lb_meetings_total", "Meetings created.", |all| all.meetings_total),
    ("b3lb_meeting_duration_seconds_count", "Meetings that have ended.", |all| all.ended),
    ("b3lb_meeting_duration_seconds_sum", "Their durations.", |all| all.ended_seconds),
    ("b3lb_attendee_limit_hits", "Refusals by a limit on attendees.", |all| {
        all.attendee_limit_hits
    }),
    ("b3lb_meeting_limit_hits", "Refusals by a limit on meetings.", |all| all.meeting_limit_hits),
];

/// Prometheus' text for one secret; for the main one, of all of them.
///
/// The row of the main secret is the sum of the whole tenant, as in B3LB.
fn metrics(entry: &TenantEntry, sub: SubId) -> String {
    let tenant = &entry.tenant;
    // B3LB has its slugs in capitals, and dashboards have them from there.
    let slug = tenant.slug.as_str().to_ascii_uppercase();
    let is_main = sub == SubId::MAIN;
    let secrets = || {
        let all = tenant.secrets.iter().zip(&entry.uses);
        all.filter(|(secret, _)| is_main || secret.sub_id == sub)
    };
    let label = |sub: SubId| {
        if sub == SubId::MAIN { slug.clone() } else { format!("{slug}-{:03}", sub.get()) }
    };
    let mut text = Text::default();
    if is_main {
        let mut one = |name, help, value: u32| {
            text.block(name, help, "gauge", "tenant", [(slug.clone(), u64::from(value))]);
        };
        one("b3lb_tenant_attendee_limit", "Attendees at once; 0 is none.", tenant.limits.attendees);
        one("b3lb_tenant_meeting_limit", "Meetings at once; 0 is none.", tenant.limits.meetings);
    }
    let limits = secrets().map(|(secret, _)| (label(secret.sub_id), secret.limits));
    let rows = limits.clone().map(|(label, limits)| (label, u64::from(limits.attendees)));
    text.block("b3lb_secret_attendee_limit", "The same of a secret.", "gauge", "secret", rows);
    let rows = limits.map(|(label, limits)| (label, u64::from(limits.meetings)));
    text.block("b3lb_secret_meeting_limit", "The same of a secret.", "gauge", "secret", rows);

    let figures: Vec<_> = secrets()
        .map(|(secret, _)| match secret.sub_id {
            SubId::MAIN => (label(SubId::MAIN), entry.tally.whole()),
            sub => (label(sub), entry.tally.part(sub)),
        })
        .collect();
    let rows = |figure: Figure| figures.iter().map(move |(label, of)| (label.clone(), figure(of)));
    for (name, help, figure) in GAUGES {
        text.block(name, help, "gauge", "secret", rows(figure));
    }
    let whole = entry.uses.iter().map(crate::fleet::Uses::joins).sum::<u64>();
    let joins = secrets().map(|(secret, uses)| match secret.sub_id {
        SubId::MAIN => (label(SubId::MAIN), whole),
        sub => (label(sub), uses.joins()),
    });
    text.block("b3lb_attendees_total", "Joins given.", "counter", "secret", joins);
    for (name, help, figure) in COUNTERS {
        text.block(name, help, "counter", "secret", rows(figure));
    }
    text.0
}

/// Prometheus' text format. Labels are slugs and numbers, which need no escaping.
#[derive(Default)]
struct Text(String);

impl Text {
    fn block(
        &mut self,
        name: &str,
        help: &str,
        kind: &str,
        label: &str,
        rows: impl IntoIterator<Item = (String, u64)>,
    ) {
        let mut line = |line: std::fmt::Arguments<'_>| {
            self.0.write_fmt(line).expect("a text takes everything");
        };
        line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        for (of, value) in rows {
            line(format_args!("{name}{{{label}=\"{of}\"}} {value}\n"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_paths_lead_here() {
        for (path, expected) in [
            ("/b3lb/ping", Some((What::Ping, None))),
            ("/b3lb/stats", Some((What::Stats, None))),
            ("/b3lb/t/acme/metrics", Some((What::Metrics, Some("acme")))),
            ("/b3lb/t/acme-005/stats", Some((What::Stats, Some("acme-005")))),
            ("/b3lb/t/acme/ping", None),
            ("/b3lb/t/acme/x/stats", None),
            ("/b3lb/stats/", None),
            ("/b3lb/statsX", None),
            ("/b3lb//stats", None),
            ("/metrics", None),
        ] {
            assert_eq!(parse(path), expected, "{path}");
        }
    }

    #[test]
    fn nothing_but_the_token_opens() {
        let with = |value: &str| {
            HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().expect("a header"))])
        };
        for (header, token, is_right) in [
            ("hush", "hush", true),
            ("Bearer hush", "hush", true),
            ("bearer  hush ", "hush", true),
            ("Basic hush", "hush", false),
            ("hus", "hush", false),
            ("", "hush", false),
            ("Bearer ", "", false),
            ("", "", false),
        ] {
            assert_eq!(opens(&with(header), token), is_right, "{header:?} {token:?}");
        }
        assert!(!opens(&HeaderMap::new(), ""));
    }
}
