//! Writes down what happens to meetings and nodes, so that a day can be played again: `portico simulate trace`.
//!
//! Creates, polls and ends note it in memory, and nobody waits for what is done here. The store is told a few seconds
//! later, in portions; while it is away what waits is bounded, and what is too much is dropped and counted. Of several
//! instances each tells of its own creates and of the meetings and nodes that it polls.

use std::collections::HashMap;
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use log::{info, warn};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::driver::{Failed, Metrics, Task, activate, run_to_the_end};
use super::ending::Ending;
use super::forgetting::Forgetting;
use crate::bus::Duties;
use crate::chain::Chain;
use crate::fleet::{Fleet, Node, now_ms};
use crate::model::{Health, MeetingLine, NodeLine, NodeName};
use crate::store::{Error, Store};

/// A crash loses no more of what was due.
const EVERY: Duration = Duration::from_secs(5);
/// Written together: others write in between.
const PORTION: usize = 500;
/// And no more than so many each time. The rest is not lost, only coarser.
const PORTIONS: usize = 8;
/// While we stop, all that waits is told.
const PORTIONS_AT_THE_END: usize = 200;
/// Forgotten at once.
const FORGET_PORTION: u32 = 1_000;

/// See the module.
pub struct Chronicle {
    fleet: Arc<Fleet>,
    store: Arc<dyn Store>,
    duties: Duties,
    /// For how long, and how many meetings.
    keep: Duration,
    max_meetings: usize,
    /// What the store was told of nodes that are ours.
    known: Mutex<HashMap<NodeName, Option<f64>>>,
    forgetting: Forgetting,
}

impl Chronicle {
    /// From here on the fleet takes note.
    pub fn new(
        fleet: Arc<Fleet>,
        store: Arc<dyn Store>,
        duties: Duties,
        keep: Duration,
        max_meetings: usize,
    ) -> Self {
        fleet.chronicle.open();
        let (known, forgetting) = (Mutex::default(), Forgetting::default());
        Self { fleet, store, duties, keep, max_meetings, known, forgetting }
    }

    /// Goes on until `stop` turns true, and then to the [end](Ending); tells what has happened by then.
    pub async fn run(&self, metrics: &Metrics, ending: &Ending, stop: watch::Receiver<bool>) {
        let _telling = ending.begin();
        // What it is about to tell stands nowhere else any more.
        run_to_the_end(self, Duration::ZERO, EVERY, metrics, stop).await;
        activate(self, metrics).await;
        let mut told = Ok(());
        let mut turns = ending.turns();
        while turns.next().await.is_some() {
            told = self.tell_meetings(None, PORTIONS_AT_THE_END).await;
        }
        if let Err(trouble) = told {
            warn!("the end of the chronicle is not kept: {}", Chain(&trouble));
        }
    }

    async fn tell_meetings(&self, until_ms: Option<u64>, portions: usize) -> Result<(), Error> {
        for _ in 0..portions {
            let lines = self.fleet.chronicle.take(until_ms, PORTION);
            if lines.is_empty() {
                break;
            }
            match self.store.write_meetings(&lines).await {
                Ok(()) => {}
                Err(trouble) if trouble.may_be_about_rows() => self.tell_singly(lines).await?,
                Err(trouble) => {
                    self.fleet.chronicle.give_back(lines);
                    return Err(trouble);
                }
            }
        }
        Ok(())
    }

    /// One line that the store cannot take is not to keep all others from it: it is dropped where others are taken.
    async fn tell_singly(&self, lines: Vec<MeetingLine>) -> Result<(), Error> {
        let (count, mut bad, mut why) = (lines.len(), Vec::new(), None);
        let mut lines = lines.into_iter();
        while let Some(line) = lines.next() {
            match self.store.write_meetings(slice::from_ref(&line)).await {
                Ok(()) => {}
                Err(trouble) if trouble.may_be_about_rows() => {
                    bad.push(line);
                    why = Some(trouble);
                }
                Err(trouble) => {
                    bad.push(line);
                    bad.extend(lines);
                    self.fleet.chronicle.give_back(bad);
                    return Err(trouble);
                }
            }
        }
        let Some(trouble) = why else { return Ok(()) };
        if bad.len() == count {
            // It may be about the store after all.
            self.fleet.chronicle.give_back(bad);
            return Err(trouble);
        }
        let why = Chain(&trouble);
        warn!("the store takes all of the chronicle but {}, which is given up: {why}", bad.len());
        self.fleet.chronicle.give_up(&bad);
        Ok(())
    }

    async fn tell_nodes(&self) -> Result<(), Error> {
        let snapshot = self.fleet.snapshot();
        let mut now: HashMap<_, _> = snapshot
            .nodes()
            .filter(|node| self.duties.is_ours(node.name().as_str()))
            .filter_map(|node| Some((node.name().clone(), line(node)?)))
            .collect();
        let mut lines: Vec<NodeLine> = Vec::new();
        {
            let known = self.known.lock();
            for name in known.keys().filter(|name| snapshot.node(name.as_str()).is_none()) {
                let gone = NodeLine { node: name.clone(), at_ms: now_ms(), room: None };
                now.insert(name.clone(), gone);
            }
            let is_news = |line: &&NodeLine| known.get(&line.node) != Some(&line.room);
            lines.extend(now.values().filter(is_news).cloned());
            for line in lines.iter_mut().filter(|line| known.contains_key(&line.node)) {
                // Another weight, while it is up.
                if line.room.is_some() && known[&line.node].is_some() {
                    line.at_ms = now_ms();
                }
            }
        }
        if !lines.is_empty() {
            self.store.write_nodes(&lines).await?;
        }
        let still = now.into_values().filter(|line| snapshot.node(line.node.as_str()).is_some());
        *self.known.lock() = still.map(|line| (line.node, line.room)).collect();
        Ok(())
    }

    async fn forget(&self) -> Result<(), Error> {
        let clock = self.fleet.clock();
        if !self.forgetting.is_due(clock) {
            return Ok(());
        }
        let keep_ms = u64::try_from(self.keep.as_millis()).unwrap_or(u64::MAX);
        let (before_ms, most) = (now_ms().saturating_sub(keep_ms), self.max_meetings as u64);
        let some = || self.store.forget_chronicle(before_ms, most, FORGET_PORTION);
        let all = self.forgetting.forget(clock, FORGET_PORTION, some).await?;
        if all > 0 {
            info!("forgotten of the chronicle, in meetings: {all}");
        }
        Ok(())
    }
}

/// Whether a node is there, if that is known, and for how many attendees.
fn line(node: &Node) -> Option<NodeLine> {
    let (since_ms, _) = node.live.health_since();
    let room = match node.live.health() {
        Health::Unknown => return None,
        Health::Down => None,
        Health::Up | Health::Suspect => Some(node.room()),
    };
    let at_ms = if since_ms == 0 { now_ms() } else { since_ms };
    Some(NodeLine { node: node.name().clone(), at_ms, room })
}

#[async_trait]
impl Task for Chronicle {
    fn name(&self) -> &'static str {
        "chronicle"
    }

    async fn activate(&self) -> Result<(), Failed> {
        // What fails keeps none of the others from being done.
        let nodes = self.tell_nodes().await;
        let until_ms = self.fleet.clock().steady_ms();
        let meetings = self.tell_meetings(Some(until_ms), PORTIONS).await;
        let forgotten = self.forget().await;
        nodes.and(meetings).and(forgotten).map_err(|trouble| {
            warn!("what happens to meetings is not written down for now: {}", Chain(&trouble));
            Failed
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use prometheus::Registry;
    use tokio::time::{Instant, sleep};

    use super::super::ending::EVERY_AT_THE_END;
    use super::*;
    use crate::fleet::{Hints, Thresholds};
    use crate::model::{
        AdminState, Cluster, Extent, Inventory, Meeting, MeetingKey, Scope, Secret,
    };
    use crate::store::{ChronicleReader, Embedded};

    fn inventory(weights: &[(&str, f64)]) -> Inventory {
        let node = |(name, weight): &(&str, f64)| crate::model::Node {
            name: NodeName::new(*name),
            cluster: "main".to_owned(),
            url: "http://bbb.example/bigbluebutton/api".parse().unwrap(),
            secret: Secret::new("s"),
            weight: *weight,
            capacity: 100,
            tags: Vec::new(),
            load_url: None,
        };
        Inventory {
            clusters: vec![Cluster { name: "main".to_owned(), ..Cluster::default() }],
            nodes: weights.iter().map(node).collect(),
            ..Inventory::default()
        }
    }

    /// A front end creates a meeting on node a.
    fn create(fleet: &Fleet, id: &str) {
        let key = MeetingKey { scope: Scope::parse("acme").unwrap(), id: id.to_owned() };
        let meeting = Meeting {
            key,
            node: NodeName::new("a"),
            node_meeting_id: format!("{id}@acme"),
            internal_id: id.to_owned(),
            created_at_ms: now_ms(),
            parent_internal_id: None,
            extent: Extent::default(),
            xml: Box::from(*b"<meeting/>"),
        };
        fleet.note_created(&fleet.directory.adopt(meeting, true), Hints::default());
    }

    /// What happens on node a is written down there.
    fn begin(dir: &Path) -> (Arc<Fleet>, Chronicle) {
        let store: Arc<dyn Store> = Arc::new(Embedded::open(dir).unwrap());
        let fleet = Arc::new(Fleet::new(inventory(&[("a", 1.0)]), |_| AdminState::Ready));
        let keep = Duration::from_hours(24);
        let task = Chronicle::new(fleet.clone(), store, Duties::all(), keep, 100);
        (fleet, task)
    }

    #[tokio::test(start_paused = true)]
    async fn what_happens_while_we_stop_is_written_down() {
        let dir = tempfile::tempdir().unwrap();
        let (fleet, task) = begin(dir.path());
        let reader = Embedded::chronicle(dir.path()).unwrap();
        let metrics = Metrics::register(&Registry::new()).unwrap();
        let (_stop, stopped) = watch::channel(true);
        let creating = async {
            sleep(EVERY_AT_THE_END * 3).await;
            create(&fleet, "late");
        };
        let (begun, grace) = (Instant::now(), EVERY_AT_THE_END * 6);
        let ending = Ending::new(grace);
        tokio::join!(task.run(&metrics, &ending, stopped), creating);
        assert!(begun.elapsed() >= grace);
        assert_eq!(reader.creates().await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_line_that_the_store_cannot_take_keeps_no_other_from_it() {
        let dir = tempfile::tempdir().unwrap();
        let (fleet, task) = begin(dir.path());
        let reader = Embedded::chronicle(dir.path()).unwrap();
        let other = rusqlite::Connection::open(dir.path().join("portico.db")).unwrap();
        let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON chronicle WHEN NEW.internal_id = 'bad'
                BEGIN SELECT RAISE(ABORT, 'a test'); END;
            CREATE TRIGGER nodes BEFORE INSERT ON chronicle_nodes
                BEGIN SELECT RAISE(ABORT, 'a test'); END";
        other.execute_batch(refuse).unwrap();
        let limits = Thresholds { down_after: 1, up_after: 1 };
        let node = fleet.snapshot().node("a").unwrap().clone();
        drop(fleet.begin_poll(&node).finish(limits, 10));
        let enter = |id: &str| create(&fleet, id);
        enter("bad");
        // Alone it may be about the store. That of the node is another matter.
        task.activate().await.unwrap_err();
        assert_eq!((fleet.chronicle.waiting(), fleet.chronicle.dropped()), (1, 0));
        enter("good");
        enter("other");
        other.execute_batch("DROP TRIGGER nodes").unwrap();
        task.activate().await.unwrap();
        assert_eq!((fleet.chronicle.waiting(), fleet.chronicle.dropped()), (0, 1));
        assert_eq!(reader.creates().await.unwrap().len(), 2);
        // What is told of nodes fails, what is told of meetings does not.
        other.execute_batch(refuse.split_once("END;").unwrap().1).unwrap();
        node.live.poll_failed("gone".to_owned(), limits, fleet.clock().moment_of(30));
        enter("later");
        task.activate().await.unwrap_err();
        assert_eq!(reader.creates().await.unwrap().len(), 3);
    }

    #[tokio::test]
    async fn nodes_are_written_down_as_they_come_change_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(Embedded::open(dir.path()).unwrap());
        let reader = Embedded::chronicle(dir.path()).unwrap();
        let fleet = Fleet::new(inventory(&[("a", 1.0), ("b", 2.0)]), |_| AdminState::Ready);
        let fleet = Arc::new(fleet);
        let begin = || {
            let (fleet, store) = (fleet.clone(), store.clone());
            Chronicle::new(fleet, store, Duties::all(), Duration::from_hours(24), 100)
        };
        let task = begin();
        let limits = Thresholds { down_after: 1, up_after: 1 };
        let node = |name: &str| fleet.snapshot().node(name).unwrap().clone();
        let polled = |name: &str, at_ms| drop(fleet.begin_poll(&node(name)).finish(limits, at_ms));
        let rooms = async |name: &str| -> Vec<Option<f64>> {
            let lines = reader.nodes().await.unwrap();
            lines.iter().filter(|line| line.node.as_str() == name).map(|line| line.room).collect()
        };
        // What was never polled may be there or not.
        task.activate().await.unwrap();
        assert_eq!(rooms("a").await, []);
        polled("a", 10);
        polled("b", 20);
        task.activate().await.unwrap();
        // Another process knows nothing of what was told before.
        begin().activate().await.unwrap();
        assert_eq!((rooms("a").await, rooms("b").await), (vec![Some(100.0)], vec![Some(200.0)]));
        node("b").live.poll_failed("gone".to_owned(), limits, fleet.clock().moment_of(30));
        fleet.apply(inventory(&[("a", 3.0), ("b", 2.0)]));
        task.activate().await.unwrap();
        assert_eq!(rooms("a").await, [Some(100.0), Some(300.0)]);
        assert_eq!(rooms("b").await, [Some(200.0), None]);
        polled("b", 40);
        fleet.apply(inventory(&[("b", 2.0)]));
        task.activate().await.unwrap();
        assert_eq!(rooms("a").await, [Some(100.0), Some(300.0), None]);
        assert_eq!(rooms("b").await, [Some(200.0), None, Some(200.0)]);
        let times: Vec<u64> = reader.nodes().await.unwrap().iter().map(|line| line.at_ms).collect();
        assert_eq!(times[..4], [10, 20, 30, 40]);
    }
}
