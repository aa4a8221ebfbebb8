//! The recording calls, over the recordings that were published on command.

use crate::bbb::Failure;
use crate::sim::Shared;
use crate::sim::recording::{Recording, State};
use crate::sim::reply::{self, Reply};
use crate::sim::request::Request;
use crate::sim::world::sha1_hex;
use crate::sim::xml::{Xml, is_name};

const NONE: (&str, &str) = ("noRecordings", "There are no recordings for the meeting(s).");

/// The largest page.
const MAX_LIMIT: u64 = 100;

pub(super) fn list(node: &Shared, request: &Request) -> Reply {
    let filter = Filter::from_request(request);
    let world = node.world.lock();
    let found: Vec<_> =
        world.recordings.iter().filter(|recording| filter.accepts(recording)).collect();
    let total = found.len() as u64;
    let offset = request.number("offset").unwrap_or(0);
    let limit = request.number("limit").map(|limit| limit.clamp(1, MAX_LIMIT));
    let skip = usize::try_from(offset).unwrap_or(usize::MAX);
    let take = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let page: Vec<_> = found.into_iter().skip(skip).take(take).collect();
    let mut xml = Xml::success();
    xml.open("recordings");
    for recording in &page {
        recording.print(&mut xml, &node.server_url);
    }
    xml.close("recordings");
    if page.is_empty() {
        xml.message(NONE.0, NONE.1);
    }
    if let Some(limit) = limit {
        xml.open("pagination").open("pageable").number("offset", offset).number("limit", limit);
        xml.flag("paged", true).flag("unpaged", false).close("pageable");
        xml.number("totalElements", total).flag("empty", page.is_empty()).close("pagination");
    }
    reply::xml_cacheable(xml.end())
}

pub(super) fn publish(node: &Shared, request: &Request) -> Result<Reply, Failure> {
    let ids = record_ids(request)?;
    let wanted = request.text("publish").ok_or(Failure::MISSING_PUBLISH)?;
    change(node, &ids, |recording| {
        recording.state = if wanted == "true" { State::Published } else { State::Unpublished };
    })?;
    Ok(reply::xml(Xml::success().text("published", &wanted).end()))
}

pub(super) fn delete(node: &Shared, request: &Request) -> Result<Reply, Failure> {
    let ids = record_ids(request)?;
    // Their files stay, in another directory.
    change(node, &ids, |recording| recording.state = State::Deleted)?;
    Ok(reply::xml(Xml::success().flag("deleted", true).end()))
}

pub(super) fn update(node: &Shared, request: &Request) -> Result<Reply, Failure> {
    let ids = record_ids(request)?;
    let mut changes = request.with_prefix("meta_");
    changes.retain(|(name, _)| is_name(name));
    change(node, &ids, |recording| {
        for (name, value) in &changes {
            let name = name.to_ascii_lowercase();
            recording.metadata.retain(|(known, _)| *known != name);
            if !value.is_empty() {
                recording.metadata.push((name, value.clone()));
            }
        }
    })?;
    Ok(reply::xml(Xml::success().flag("updated", true).end()))
}

/// What `getRecordings` was asked for. A list that is empty does not filter.
struct Filter {
    record_prefixes: Vec<String>,
    states: Vec<String>,
    metadata: Vec<(String, String)>,
}

impl Filter {
    fn from_request(request: &Request) -> Self {
        let mut record_prefixes = request.list("recordID");
        if record_prefixes.is_empty() {
            record_prefixes = request.list("meetingID").iter().map(|id| sha1_hex(id)).collect();
        }
        let mut states = request.list("state");
        if states.is_empty() {
            states = vec!["published".to_owned(), "unpublished".to_owned()];
        }
        Self { record_prefixes, states, metadata: request.with_prefix("meta_") }
    }

    fn accepts(&self, recording: &Recording) -> bool {
        let has_id = self.record_prefixes.is_empty()
            || self.record_prefixes.iter().any(|prefix| recording.record_id.starts_with(prefix));
        let has_state =
            self.states.iter().any(|state| state == "any" || state == recording.state.as_str());
        let has_metadata = self.metadata.iter().all(|(name, wanted)| {
            let is_meant = |(known, value): &(String, String)| {
                known.eq_ignore_ascii_case(name) && is_like(value, wanted)
            };
            recording.metadata.iter().any(is_meant)
        });
        has_id && has_state && has_metadata
    }
}

/// `%` at either end of the pattern stands for anything.
fn is_like(value: &str, pattern: &str) -> bool {
    match (pattern.strip_prefix('%'), pattern.strip_suffix('%')) {
        (Some(rest), Some(_)) => value.contains(rest.strip_suffix('%').unwrap_or(rest)),
        (Some(end), None) => value.ends_with(end),
        (None, Some(start)) => value.starts_with(start),
        (None, None) => value == pattern,
    }
}

fn change(
    node: &Shared,
    ids: &[String],
    mut apply: impl FnMut(&mut Recording),
) -> Result<(), Failure> {
    let mut found = false;
    let mut world = node.world.lock();
    let known = world.recordings.iter_mut().filter(|known| known.is_there());
    for recording in known.filter(|known| ids.contains(&known.record_id)) {
        apply(recording);
        found = true;
    }
    if found { Ok(()) } else { Err(Failure::RECORDINGS_NOT_FOUND) }
}

fn record_ids(request: &Request) -> Result<Vec<String>, Failure> {
    let ids = request.list("recordID");
    if ids.is_empty() { Err(Failure::MISSING_RECORD_ID) } else { Ok(ids) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_signs_stand_for_anything_at_the_ends() {
        for (pattern, accepted) in [
            ("room", false),
            ("my room", true),
            ("my%", true),
            ("%room", true),
            ("%y r%", true),
            ("%x%", false),
        ] {
            assert_eq!(is_like("my room", pattern), accepted, "{pattern}");
        }
    }
}
