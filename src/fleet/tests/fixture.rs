//! A small pool to test with: its inventory, what its nodes list, and how meetings get into it.

use crate::bbb::{Element, MeetingInfo};
use crate::fleet::{Fleet, Reconciled, Thresholds, Wanted, identity};
use crate::model::{
    AdminState, Cluster, ClusterGroup, Extent, Inventory, Meeting, MeetingIds, MeetingKey, Node,
    NodeName, Policy, Scope, Secret, Tenant,
};

pub(in crate::fleet) const THRESHOLDS: Thresholds = Thresholds { down_after: 3, up_after: 2 };

pub(in crate::fleet) fn scope(text: &str) -> Scope {
    Scope::parse(text).unwrap()
}

pub(in crate::fleet) fn key(text: &str, id: &str) -> MeetingKey {
    MeetingKey { scope: scope(text), id: id.to_owned() }
}

pub(in crate::fleet) fn node(name: &str, weight: f64, tags: &[&str]) -> Node {
    Node {
        name: NodeName::new(name),
        cluster: "main".to_owned(),
        url: format!("http://{name}.example/bigbluebutton/api").parse().unwrap(),
        secret: Secret::new("s"),
        weight,
        capacity: 200,
        tags: tags.iter().map(ToString::to_string).collect(),
        load_url: None,
    }
}

pub(in crate::fleet) fn tenant(slug: &str, required_tags: &[&str]) -> Tenant {
    let required_tags = required_tags.iter().map(ToString::to_string).collect();
    Tenant { required_tags, ..Tenant::sample(slug, &[0, 5]) }
}

pub(in crate::fleet) fn inventory(nodes: Vec<Node>, policy: Policy) -> Inventory {
    Inventory {
        clusters: vec![Cluster { name: "main".to_owned(), policy, ..Cluster::default() }],
        groups: vec![ClusterGroup { name: "all".to_owned(), clusters: vec!["main".to_owned()] }],
        nodes,
        tenants: vec![tenant("acme", &[]), tenant("other", &[])],
        ..Inventory::default()
    }
}

pub(in crate::fleet) fn fleet(names: &[&str]) -> Fleet {
    let nodes = names.iter().map(|name| node(name, 1.0, &[])).collect();
    Fleet::new(inventory(nodes, Policy::default()), |_| AdminState::Ready)
}

/// A main meeting as its node lists it.
pub(in crate::fleet) fn listed(
    node_meeting_id: &str,
    created_ms: u64,
    attendees: u32,
) -> MeetingInfo<'static> {
    let mut meeting = Element::new("meeting");
    meeting.push_text("meetingName", "a name");
    meeting.push_text("meetingID", node_meeting_id);
    meeting.push_text("internalMeetingID", &internal_id(node_meeting_id, created_ms));
    meeting.push_text("createTime", &created_ms.to_string());
    meeting.push_text("participantCount", &attendees.to_string());
    meeting.push_text("endTime", "0");
    meeting.push_text("isBreakout", "false");
    MeetingInfo::from_element(meeting)
}

/// The same with another text in one of its elements.
pub(in crate::fleet) fn with_text(
    meeting: MeetingInfo<'_>,
    name: &str,
    text: &str,
) -> MeetingInfo<'static> {
    let mut element = meeting.into_element();
    element.set_child_text(name, text);
    MeetingInfo::from_element(element)
}

pub(in crate::fleet) fn internal_id(node_meeting_id: &str, created_ms: u64) -> String {
    use sha1::Digest;
    format!("{}-{created_ms}", hex::encode(sha1::Sha1::digest(node_meeting_id)))
}

pub(in crate::fleet) fn poll(
    fleet: &Fleet,
    name: &str,
    meetings: Vec<MeetingInfo<'_>>,
) -> Reconciled {
    let snapshot = fleet.snapshot();
    let mut poll = fleet.begin_poll(snapshot.node(name).unwrap());
    for meeting in meetings {
        poll.meeting(meeting);
    }
    poll.finish(THRESHOLDS, 1).1
}

/// Internal ids of what runs elsewhere, too.
pub(super) fn doubles(reconciled: &Reconciled) -> Vec<String> {
    reconciled.doubles.iter().map(|double| double.internal_id().to_owned()).collect()
}

/// Places a meeting and enters it as created at `created_ms`; returns its node.
pub(in crate::fleet) fn create(fleet: &Fleet, key: &MeetingKey, created_ms: u64) -> NodeName {
    let snapshot = fleet.snapshot();
    let tenant = snapshot.tenant(key.scope.tenant.as_str()).unwrap();
    let reservation = tenant.place(&Wanted::new(key)).unwrap();
    let node = reservation.node().name().clone();
    let id = identity::node_meeting_id(&key.scope, MeetingIds::Scoped, &key.id);
    let place = tenant.admit(key.scope.sub).unwrap();
    let meeting = meeting(key, &node, &id, created_ms);
    fleet.directory.enter(meeting, Some(reservation), place, Vec::new());
    node
}

pub(in crate::fleet) fn meeting(
    key: &MeetingKey,
    node: &NodeName,
    id: &str,
    created_ms: u64,
) -> Meeting {
    Meeting {
        key: key.clone(),
        node: node.clone(),
        node_meeting_id: id.to_owned(),
        internal_id: internal_id(id, created_ms),
        created_at_ms: created_ms,
        parent_internal_id: None,
        extent: Extent::default(),
        xml: Box::from(*b"<meeting/>"),
    }
}

pub(in crate::fleet) fn reserved(fleet: &Fleet, name: &str) -> u32 {
    fleet.snapshot().node(name).unwrap().live.reserved()
}
