//! `portico simulate placement`: plays a trace through what places meetings, and says where each would go.
//!
//! It is the same code that serves requests, in a time that the rows tell: a snapshot of nodes, the directory,
//! reservations, joins, polls and the history. Only what speaks to nodes is left out: what a poll would have found
//! stands in the rows.

use std::collections::{BTreeSet, HashMap};
use std::io::{BufWriter, Read, Write};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use jiff::tz::TimeZone;

use crate::bbb::{Element, MeetingInfo};
use crate::fleet::{Entry, Fleet, Hints, Phase, Thresholds, Wanted, identity};
use crate::model::{
    AdminState, Cluster, ClusterGroup, Extent, Health, Inventory, Meeting, MeetingIds, MeetingKey,
    Node, NodeName, Peak, Policy, Scope, Secret, Slug, SubId, Tenant,
};
use crate::trace::{Course, Room, Row, Rows, What, unpacked};

/// The Monday that time 0 of a trace stands for: 2024-01-01, 00:00 UTC. What is past lies before it.
const MONDAY_MS: i64 = 1_704_067_200_000;
/// A node is up with the first good poll, and down with the first bad one: rows tell what is, not what seems.
const THRESHOLDS: Thresholds = Thresholds { down_after: 1, up_after: 1 };
/// Attendees that a node of weight 1 is built for, as traces say.
const CAPACITY: u32 = 200;
const POLLED_EVERY_MS: i64 = 5_000;
const POOL: &str = "pool";

/// Plays the rows of `from`, which may be packed with gzip, and writes the node of each create to `to`.
pub(super) fn run(policy: Policy, from: impl Read, to: impl Write) -> Result<()> {
    let (mut rows, mut to) = (Rows::new(unpacked(from)?), BufWriter::new(to));
    let mut player = Player::new(policy);
    while let Some(row) = rows.read()? {
        let line = rows.line();
        if let Some(node) = player.play(row).with_context(|| format!("line {line}"))? {
            writeln!(to, "{node}")?;
            // Whoever asks waits for it.
            to.flush()?;
        }
    }
    Ok(())
}

/// A pool that lives through a trace.
struct Player {
    fleet: Fleet,
    course: Course,
    inventory: Inventory,
    /// Tenants by what the trace calls them.
    slugs: HashMap<String, Slug>,
    /// What the last polls have counted, by internal id.
    counts: HashMap<String, u32>,
    /// Nodes of which rows have told something since they were polled.
    changed: BTreeSet<NodeName>,
    polled_at_ms: HashMap<NodeName, i64>,
    now_ms: i64,
}

impl Player {
    fn new(policy: Policy) -> Self {
        let inventory = Inventory {
            clusters: vec![Cluster { name: POOL.to_owned(), policy, ..Cluster::default() }],
            groups: vec![ClusterGroup { name: POOL.to_owned(), clusters: vec![POOL.to_owned()] }],
            ..Inventory::default()
        };
        let fleet = Fleet::new(inventory.clone(), |_| AdminState::Ready);
        Self {
            fleet: fleet.in_zone(TimeZone::UTC).simulated(),
            course: Course::default(),
            inventory,
            slugs: HashMap::new(),
            counts: HashMap::new(),
            changed: BTreeSet::new(),
            polled_at_ms: HashMap::new(),
            now_ms: 0,
        }
    }

    /// What a row tells happens; for a create, the node that it goes to.
    fn play(&mut self, row: Row) -> Result<Option<NodeName>> {
        self.course.look(&row.what)?;
        let is_count = matches!(row.what, What::Count { .. });
        if !self.changed.is_empty() && (!is_count || row.at_ms != self.now_ms) {
            self.poll_changed();
        }
        if matches!(row.what, What::Create { .. }) {
            self.poll_all(row.at_ms);
        }
        self.go_on(row.at_ms);
        match row.what {
            What::Past { room, peak, .. } => {
                let hour = self.fleet.hour_of(moment(row.at_ms));
                let key = self.key(&room)?;
                self.fleet
                    .history
                    .learn(&Peak { key, hour, attendees: peak }, moment(row.at_ms) / 1000);
            }
            What::NodeUp { node, weight } => self.node_up(&node, weight)?,
            What::NodeDown { node } => self.node_down(&node)?,
            What::Create { room, max_participants, hint } => {
                let node = self.create(&room, Hints { max_participants, size: hint })?;
                self.course.placed(&room, node.as_str());
                return Ok(Some(node));
            }
            What::Join { room, .. } => {
                if let Some(entry) = self.running(&room)?
                    && let Some(node) = self.fleet.peek().node(entry.node().as_str())
                {
                    node.live.count_join();
                    entry.count_join();
                }
            }
            // A load balancer learns of it from its polls.
            What::Leave { .. } => {}
            What::End { room } => self.end(&room)?,
            What::Count { room, attendees, .. } => {
                if let Some(entry) = self.running(&room)? {
                    self.changed.insert(entry.node().clone());
                    self.counts.insert(entry.internal_id().to_owned(), attendees);
                }
            }
        }
        Ok(None)
    }

    fn create(&mut self, room: &Room, hints: Hints) -> Result<NodeName> {
        let key = self.key(room)?;
        let snapshot = self.fleet.snapshot();
        let tenant = snapshot.tenant(key.scope.tenant.as_str()).context("its tenant is known")?;
        let expected = self.fleet.expect(tenant, &key, hints);
        let wanted = Wanted { expected, ..Wanted::new(&key) };
        let reservation = match tenant.place(&wanted) {
            Ok(reservation) => reservation,
            Err(why) => bail!("no node for a meeting of tenant {}: {why}", room.tenant),
        };
        let place = tenant.admit(key.scope.sub).ok().context("there are no limits")?;
        let node = reservation.node().name().clone();
        let id = identity::node_meeting_id(&key.scope, MeetingIds::Scoped, &key.id);
        let created_at_ms = moment(self.now_ms);
        let meeting = Meeting {
            internal_id: format!("{id}-{created_at_ms}"),
            key,
            node: node.clone(),
            node_meeting_id: id,
            created_at_ms,
            parent_internal_id: None,
            extent: Extent::default(),
            xml: Box::default(),
        };
        self.fleet.directory.enter(meeting, Some(reservation), place, Vec::new());
        Ok(node)
    }

    fn end(&mut self, room: &Room) -> Result<()> {
        let Some(entry) = self.running(room)? else { return Ok(()) };
        entry.mark_ended();
        self.fleet.directory.remove(&entry);
        self.fleet.learn_end(&entry);
        self.counts.remove(entry.internal_id());
        // Nobody keeps it.
        drop(self.fleet.history.take_unsaved());
        Ok(())
    }

    fn node_up(&mut self, name: &str, weight: Option<f64>) -> Result<()> {
        let name = NodeName::new(name);
        // Without one it is back, and as large as before.
        if let Some(weight) = weight {
            self.inventory.nodes.retain(|node| node.name != name);
            self.inventory.nodes.push(Node {
                name: name.clone(),
                cluster: POOL.to_owned(),
                url: "http://localhost/bigbluebutton/api".parse()?,
                secret: Secret::new("none"),
                weight,
                capacity: CAPACITY,
                tags: Vec::new(),
                load_url: None,
            });
            self.fleet.apply(self.inventory.clone());
        }
        // What it ran before is gone: the first poll that misses it may be a race, the second is sure.
        (0..2).for_each(|_| self.poll(&name, false));
        Ok(())
    }

    fn node_down(&mut self, name: &str) -> Result<()> {
        let name = NodeName::new(name);
        let snapshot = self.fleet.snapshot();
        let node =
            snapshot.node(name.as_str()).with_context(|| format!("node {name} is unknown"))?;
        node.live.poll_failed("it is gone".to_owned(), THRESHOLDS, self.fleet.clock().moment());
        self.fleet.lose_meetings_on(&name);
        Ok(())
    }

    /// Polls what rows have told of, as of the moment that they tell.
    fn poll_changed(&mut self) {
        for node in std::mem::take(&mut self.changed) {
            self.poll(&node, true);
        }
    }

    fn go_on(&mut self, at_ms: i64) {
        self.now_ms = at_ms;
        self.fleet.clock().set(moment(at_ms));
    }

    /// Polls the others as of the last time that they would have been polled before then, or as of what has happened
    /// last: what is expected fades. The time never goes back for it.
    fn poll_all(&mut self, at_ms: i64) {
        let tick = at_ms.div_euclid(POLLED_EVERY_MS) * POLLED_EVERY_MS;
        self.go_on(tick.max(self.now_ms));
        let names: Vec<_> = self.fleet.snapshot().nodes().map(|node| node.name().clone()).collect();
        for name in names {
            if self.polled_at_ms.get(&name).is_none_or(|at_ms| *at_ms < tick) {
                self.poll(&name, true);
            }
        }
    }

    /// A poll that finds all meetings of a node, or none.
    fn poll(&mut self, name: &NodeName, finds_all: bool) {
        let snapshot = self.fleet.snapshot();
        let Some(node) = snapshot.node(name.as_str()) else { return };
        if finds_all && node.live.health() != Health::Up {
            return;
        }
        let mut poll = self.fleet.begin_poll(node);
        if finds_all {
            for entry in self.fleet.directory.on_node(name) {
                if entry.phase() == Phase::Running {
                    let count = self.counts.get(entry.internal_id()).copied().unwrap_or_default();
                    poll.meeting(listed(entry.internal_id(), &entry.node_meeting_id(), count));
                }
            }
        }
        let now_ms = self.fleet.clock().now_ms();
        poll.finish(THRESHOLDS, now_ms);
        self.polled_at_ms.insert(name.clone(), self.now_ms);
    }

    fn running(&mut self, room: &Room) -> Result<Option<Arc<Entry>>> {
        let key = self.key(room)?;
        let found = self.fleet.directory.get(&key.scope, &key.id);
        Ok(found.filter(|entry| entry.phase() == Phase::Running))
    }

    /// The meeting's key; a tenant that was not heard of comes into the inventory.
    fn key(&mut self, room: &Room) -> Result<MeetingKey> {
        let slug = if let Some(slug) = self.slugs.get(&room.tenant) {
            slug.clone()
        } else {
            // Whatever it is called, it needs a name that can be one.
            let number = self.slugs.len();
            let slug: Slug = format!("t{number}").parse()?;
            self.inventory.tenants.push(Tenant::new(slug.clone(), POOL.to_owned()));
            self.fleet.apply(self.inventory.clone());
            self.slugs.insert(room.tenant.clone(), slug.clone());
            slug
        };
        let scope = Scope { tenant: slug, sub: SubId::MAIN };
        Ok(MeetingKey { scope, id: room.meeting_id.clone() })
    }
}

/// A moment of the trace, ms since 1970.
fn moment(at_ms: i64) -> u64 {
    u64::try_from(MONDAY_MS.saturating_add(at_ms)).unwrap_or_default()
}

/// A main meeting as a node lists it.
fn listed(internal_id: &str, node_meeting_id: &str, attendees: u32) -> MeetingInfo<'static> {
    let mut meeting = Element::new("meeting");
    meeting.push_text("meetingID", node_meeting_id);
    meeting.push_text("internalMeetingID", internal_id);
    meeting.push_text("participantCount", &attendees.to_string());
    meeting.push_text("endTime", "0");
    MeetingInfo::from_element(meeting)
}
