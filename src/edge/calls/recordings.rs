//! `getRecordings`: asked of all nodes that the tenant may use, and brought together.
//!
//! Each node filters as it was asked to; here only what is the caller's own stays. A page is cut from the
//! whole, which comes in the order of the nodes and of each node's own list. A recording that several nodes
//! have, because they share their disks, is listed once.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::sync::Arc;

use super::{Asked, Decision};
use crate::bbb::{Call, Element, Failure, ListNames, Params};
use crate::edge::Edge;
use crate::edge::fan_out::{Heard, Item, Question};
use crate::edge::refusal::{self, Refusal};
use crate::edge::reply::Reply;
use crate::fleet::{Node, identity, recording};
use crate::model::SubId;

const HEAD: &[u8] = b"<response><returncode>SUCCESS</returncode><recordings>";
const TAIL: &[u8] = b"</recordings>";
const NONE: &[u8] = b"<messageKey>noRecordings</messageKey>\
    <message>There are no recordings for the meeting(s).</message>";
const END: &[u8] = b"</response>";

/// The largest page, as with BigBlueButton.
const MAX_LIMIT: usize = 100;
/// Recordings or meetings in one question.
const MAX_IDS: usize = 2_000;
/// More meetings than these are not looked for by the nodes, but here, in all that they have.
const MAX_IDS_FOR_NODES: usize = 500;

/// Lists recordings of the caller's meetings.
pub(super) async fn get_recordings(edge: &Edge, asked: &Asked<'_>) -> Result<Decision, Refusal> {
    check_count(&asked.params)?;
    let (wanted, page) = (Wanted::read(&asked.params), Page::read(&asked.params));
    let params = wanted.for_nodes(asked);
    let question = question(asked, &params);
    let keep = |before, recording: Element| {
        let Accepted { id, parent, recording } = wanted.accept(asked, recording)?;
        let xml = if before < page.end { recording.to_vec().into() } else { Box::default() };
        Some(Item { id, parent, xml })
    };
    let mut heard = edge.fan_out(&asked.caller.tenant.nodes, &question, &keep).await?;
    let is_filtered = asked
        .params
        .iter()
        .any(|(name, _)| matches!(&*name, "recordID" | "state") || name.starts_with("meta_"));
    find_parents(edge, asked, &mut heard, is_filtered).await?;
    if heard.lists.is_empty() && heard.unheard > 0 {
        return Err(Refusal::node(refusal::recordings_unavailable()));
    }
    let lists = std::mem::take(&mut heard.lists).into_iter().map(|(_, items)| items).collect();
    let body = page.of(lists);
    let share = heard.into_share(body.capacity());
    Ok(Decision::Respond(Reply::xml(body).with_share(share)))
}

fn question<'q>(asked: &'q Asked<'_>, params: &'q Params<'q>) -> Question<'q> {
    let tenant = &asked.caller.scope.tenant;
    Question { tenant, call: Call::GetRecordings, names: ListNames::RECORDINGS, params }
}

/// The nodes that have some of the caller's recordings.
pub(super) struct Located {
    /// Each with the ids of those that it has.
    pub(super) on: Vec<(Arc<Node>, Vec<Box<str>>)>,
    /// Nodes that could not be asked.
    unheard: usize,
}

impl Located {
    /// Why there is none: it is only sure to be missing if every node was heard.
    pub(super) fn missing(&self, failure: Failure) -> Refusal {
        if self.unheard == 0 {
            Refusal::client(failure)
        } else {
            Refusal::node(refusal::recordings_unavailable())
        }
    }

    /// Whether one of these ids was found nowhere, but not every node was heard.
    pub(super) fn may_have_missed(&self, ids: &[String]) -> bool {
        let is_found = |id: &String| self.on.iter().any(|(_, on)| on.iter().any(|it| **it == **id));
        self.unheard > 0 && !ids.iter().all(is_found)
    }
}

/// The words of `recordID`.
pub(super) fn record_ids(params: &Params<'_>) -> Vec<String> {
    list(params, "recordID")
}

/// Finds out where these recordings are. One that is not the caller's is nowhere.
pub(super) async fn locate(
    edge: &Edge,
    asked: &Asked<'_>,
    ids: &[String],
) -> Result<Located, Refusal> {
    let mut params = Params::default();
    params.push("recordID", &ids.join(","));
    let question = question(asked, &params);
    // Nodes match by beginnings.
    let keep = |_before, recording: Element| {
        let Accepted { id, parent, .. } = Wanted::default().accept(asked, recording)?;
        ids.iter().any(|wanted| **wanted == *id).then(|| Item { id, parent, xml: Box::default() })
    };
    let mut heard = edge.fan_out(&asked.caller.tenant.nodes, &question, &keep).await?;
    find_parents(edge, asked, &mut heard, true).await?;
    let Heard { lists, unheard, .. } = heard;
    let ids = |items: Vec<Item>| {
        let mut ids: Vec<_> = items.into_iter().map(|item| item.id).collect();
        // Old builds list each format of a recording by itself.
        ids.dedup();
        ids
    };
    let found = lists.into_iter().filter(|(_, items)| !items.is_empty());
    Ok(Located { on: found.map(|(node, items)| (node, ids(items))).collect(), unheard })
}

/// Leaves out recordings of breakout rooms whose parents are not the caller's. Where the list was filtered, parents
/// that are not in it are asked for.
async fn find_parents(
    edge: &Edge,
    asked: &Asked<'_>,
    heard: &mut Heard,
    is_filtered: bool,
) -> Result<(), Refusal> {
    let items = || heard.lists.iter().flat_map(|(_, items)| items);
    let mut unknown: HashSet<&str> = items().filter_map(|item| item.parent.as_deref()).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let mut own: HashSet<Box<str>> = items()
        .filter(|item| item.parent.is_none() && unknown.contains(&*item.id))
        .map(|item| item.id.clone())
        .collect();
    unknown.retain(|id| !own.contains(*id));
    if is_filtered && !unknown.is_empty() {
        let ids: Vec<_> = unknown.into_iter().take(MAX_IDS_FOR_NODES).collect();
        let mut params = Params::default();
        params.push("recordID", &ids.join(","));
        let question = question(asked, &params);
        let keep = |_before, recording: Element| {
            let Accepted { id, parent, .. } = Wanted::default().accept(asked, recording)?;
            let is_own = parent.is_none() && ids.contains(&&*id);
            is_own.then(|| Item { id, parent: None, xml: Box::default() })
        };
        let parents = edge.fan_out(&asked.caller.tenant.nodes, &question, &keep).await?;
        own.extend(parents.lists.into_iter().flat_map(|(_, items)| items).map(|item| item.id));
    }
    for (_, items) in &mut heard.lists {
        items.retain(|item| item.parent.as_ref().is_none_or(|parent| own.contains(parent)));
    }
    Ok(())
}

/// A recording that is wanted, in the words of its owner.
struct Accepted {
    id: Box<str>,
    /// Where it is a breakout room's: it is the caller's if this one is.
    parent: Option<Box<str>>,
    recording: Element,
}

/// Which recordings are asked for. What is empty does not filter.
#[derive(Default)]
struct Wanted {
    record_prefixes: Vec<String>,
    /// Meetings by what their owner calls them, and by the digest that may stand in for that.
    meetings: HashMap<String, String>,
    /// What `meta_meetingId` must be like: on nodes it is another.
    like: Vec<String>,
}

impl Wanted {
    fn read(params: &Params<'_>) -> Self {
        let record_prefixes = record_ids(params);
        // With both, BigBlueButton looks at recordID alone.
        let ids = if record_prefixes.is_empty() { list(params, "meetingID") } else { Vec::new() };
        let mut meetings = HashMap::new();
        for id in ids {
            meetings.insert(identity::digest(&id), id.clone());
            meetings.insert(id.clone(), id);
        }
        let like = params.iter().filter(|(name, _)| is_meeting_id(name));
        let like = like.map(|(_, value)| value.into_owned()).collect();
        Self { record_prefixes, meetings, like }
    }

    /// The same question in the words of nodes.
    fn for_nodes<'a>(&self, asked: &Asked<'a>) -> Params<'a> {
        let mut params = asked.params.as_ref().clone();
        let own: Vec<_> = params.iter().map(|(name, _)| name.into_owned()).collect();
        for name in own.iter().filter(|name| is_meeting_id(name)) {
            params.remove(name);
        }
        params.remove_all(&["meetingID", "offset", "limit"]);
        let tenant = &asked.caller.tenant.tenant;
        let scopes: Vec<_> = match asked.caller.scope.sub {
            SubId::MAIN => tenant.secrets.iter().map(|own| tenant.scope(own.sub_id)).collect(),
            _ => vec![asked.caller.scope.clone()],
        };
        let ids: HashSet<&String> = self.meetings.values().collect();
        if !ids.is_empty() && ids.len() * scopes.len() <= MAX_IDS_FOR_NODES {
            let on_nodes = ids.iter().flat_map(|id| {
                let of = |scope| identity::node_meeting_id(scope, tenant.meeting_ids, id);
                scopes.iter().map(of)
            });
            params.push("meetingID", &on_nodes.collect::<Vec<_>>().join(","));
        }
        params
    }

    /// The recording, if it is wanted and the caller's, or may be.
    fn accept(&self, asked: &Asked<'_>, mut recording: Element) -> Option<Accepted> {
        let id: Box<str> = recording.child_text("recordID")?.trim().into();
        let is_meant = |prefix: &String| id.starts_with(prefix.as_str());
        if !self.record_prefixes.is_empty() && !self.record_prefixes.iter().any(is_meant) {
            return None;
        }
        let Some(key) = recording::owner(asked.snapshot, &recording) else {
            // A node does not find them by the ids of meetings.
            let parent = recording::parent(&recording).filter(|_| self.meetings.is_empty())?;
            let is_like = self.is_like(&recording.child_text("meetingID")?);
            return is_like.then_some(Accepted { id, parent: Some(parent), recording });
        };
        if !asked.caller.scope.sees(&key.scope) {
            return None;
        }
        let meeting_id =
            if self.meetings.is_empty() { &key.id } else { self.meetings.get(&key.id)? };
        if !self.is_like(meeting_id) {
            return None;
        }
        recording::reword(&mut recording, meeting_id);
        Some(Accepted { id, parent: None, recording })
    }

    fn is_like(&self, meeting_id: &str) -> bool {
        self.like.iter().all(|pattern| is_like(meeting_id, pattern))
    }
}

/// Which part of the whole is answered.
struct Page {
    offset: usize,
    limit: Option<usize>,
    end: usize,
}

impl Page {
    fn read(params: &Params<'_>) -> Self {
        let number = |name| params.get(name)?.trim().parse::<usize>().ok();
        let offset = number("offset").unwrap_or(0);
        let limit = number("limit").map(|limit| limit.clamp(1, MAX_LIMIT));
        let end = limit.map_or(usize::MAX, |limit| offset.saturating_add(limit));
        Self { offset, limit, end }
    }

    /// The answer, of what each node has.
    fn of(&self, lists: Vec<Vec<Item>>) -> Vec<u8> {
        let bytes = lists.iter().flatten().map(|item| item.xml.len());
        let mut body = Vec::with_capacity(HEAD.len() + bytes.sum::<usize>() + 512);
        body.extend_from_slice(HEAD);
        let (mut total, mut shown) = (0, 0);
        let mut of_other_nodes = HashSet::new();
        for items in lists {
            let mut ids = Vec::with_capacity(items.len());
            for Item { id, xml, .. } in items {
                if of_other_nodes.contains(&id) {
                    continue;
                }
                if (self.offset..self.end).contains(&total) {
                    body.extend_from_slice(&xml);
                    shown += 1;
                }
                total += 1;
                ids.push(id);
            }
            of_other_nodes.extend(ids);
        }
        body.extend_from_slice(TAIL);
        if shown == 0 {
            body.extend_from_slice(NONE);
        }
        if let Some(limit) = self.limit {
            let (offset, empty) = (self.offset, shown == 0);
            let mut pagination = String::new();
            write!(
                pagination,
                "<pagination><pageable><offset>{offset}</offset><limit>{limit}</limit>\
                 <paged>true</paged><unpaged>false</unpaged></pageable>\
                 <totalElements>{total}</totalElements><empty>{empty}</empty></pagination>"
            )
            .unwrap_or_default();
            body.extend_from_slice(pagination.as_bytes());
        }
        body.extend_from_slice(END);
        body
    }
}

fn is_meeting_id(name: &str) -> bool {
    name.eq_ignore_ascii_case("meta_meetingId")
}

/// As nodes compare metadata: `%` at either end of the pattern stands for anything.
fn is_like(value: &str, pattern: &str) -> bool {
    match (pattern.strip_prefix('%'), pattern.strip_suffix('%')) {
        (Some(rest), Some(_)) => value.contains(rest.strip_suffix('%').unwrap_or(rest)),
        (Some(end), None) => value.ends_with(end),
        (None, Some(start)) => value.starts_with(start),
        (None, None) => value == pattern,
    }
}

/// Refuses lists of ids that nobody has, each of which would be compared with each recording.
pub(super) fn check_count(params: &Params<'_>) -> Result<(), Refusal> {
    let count = |name| params.get(name).map_or(0, |list| list.matches(',').count());
    if ["recordID", "meetingID"].into_iter().any(|name| count(name) >= MAX_IDS) {
        return Err(Refusal::client(Failure::REQUEST_NOT_RECOGNIZED));
    }
    Ok(())
}

/// The words of a comma-separated parameter.
fn list(params: &Params<'_>, name: &str) -> Vec<String> {
    let list = params.get(name).unwrap_or_default();
    list.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(ids: &[&str]) -> Vec<Item> {
        let item = |id: &&str| {
            let xml = id.as_bytes().into();
            Item { id: (*id).into(), parent: None, xml }
        };
        ids.iter().map(item).collect()
    }

    fn page(query: &[u8]) -> String {
        // Two nodes share their disks, the third lists formats one by one.
        let lists = vec![items(&["a", "b"]), items(&["b", "a", "c"]), items(&["d", "d"])];
        String::from_utf8(Page::read(&Params::parse(query)).of(lists)).expect("UTF-8")
    }

    #[test]
    fn what_several_nodes_have_is_listed_once() {
        let head = "<response><returncode>SUCCESS</returncode><recordings>";
        assert_eq!(page(b""), format!("{head}abcdd</recordings></response>"));
        assert_eq!(page(b"offset=3"), format!("{head}dd</recordings></response>"));
        let second = page(b"offset=2&limit=2");
        assert!(second.starts_with(&format!("{head}cd</recordings><pagination>")), "{second}");
        assert!(second.contains("<totalElements>5</totalElements><empty>false</empty>"));
        let far = format!("offset={}&limit=100", usize::MAX);
        assert!(page(far.as_bytes()).contains("<messageKey>noRecordings</messageKey>"));
    }

    #[test]
    fn percent_signs_stand_for_anything_at_the_ends() {
        for (pattern, is_meant) in
            [("room", false), ("my%", true), ("%room", true), ("%y r%", true), ("%x%", false)]
        {
            assert_eq!(is_like("my room", pattern), is_meant, "{pattern}");
        }
    }
}
