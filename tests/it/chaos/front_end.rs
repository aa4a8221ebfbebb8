//! A front end that lives with whatever happens: it notes what it was promised and what failed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use portico::sim::Node;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::{Instant, sleep};

use super::faults::{Broken, Part};
use crate::harness::{Client, Reply};

/// Between two calls of one front end.
const PACE: Duration = Duration::from_millis(15);
/// A create that fails is sent again to another instance.
const CREATES: usize = 40;
const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// What a front end was promised of one meeting.
#[derive(Debug)]
pub(super) struct Meeting {
    pub(super) id: String,
    /// Of the first create that was acknowledged.
    pub(super) internal_id: Option<String>,
    /// When an instance last answered for it: from then on it has it in memory.
    known: BTreeMap<usize, Instant>,
    /// Whether an earlier create of it got no answer.
    is_doubtful: bool,
    pub(super) end: End,
}

/// How far its end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Nobody asked for it.
    None,
    /// It was asked for and perhaps heard.
    Doubtful,
    /// It was acknowledged.
    Acknowledged,
}

/// Everything that front ends found out.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) meetings: Vec<Meeting>,
    pub(super) answered: usize,
    /// Calls that failed, by call and cause.
    pub(super) failed: BTreeMap<(&'static str, &'static str), usize>,
    /// Calls that failed without a cause.
    pub(super) unexcused: Vec<String>,
}

/// One front end.
pub(super) struct FrontEnd {
    pub(super) number: usize,
    /// One for each instance.
    pub(super) clients: Vec<Client>,
    pub(super) nodes: Arc<Vec<Node>>,
    pub(super) broken: Arc<Broken>,
    /// Where the end of a meeting is to be told, encoded; its id follows.
    pub(super) end_url: String,
    pub(super) notes: Notes,
}

impl FrontEnd {
    /// Goes on until it is told to stop.
    pub(super) async fn run(mut self, seed: u64, stop: Arc<AtomicBool>) -> Notes {
        let mut random = StdRng::seed_from_u64(seed);
        while !stop.load(Ordering::SeqCst) {
            let running: Vec<usize> = (0..self.notes.meetings.len())
                .filter(|index| {
                    let meeting = &self.notes.meetings[*index];
                    meeting.internal_id.is_some() && meeting.end == End::None
                })
                .collect();
            let instance = random.random_range(0..self.clients.len());
            match (running.choose(&mut random), random.random_range(0..10)) {
                (None, _) | (_, 0..4) => self.create(&mut random).await,
                (Some(meeting), 4..7) => self.join(*meeting, instance).await,
                (Some(meeting), 7..9) => self.info(*meeting, instance).await,
                (Some(meeting), _) => self.end(*meeting, instance).await,
            }
            sleep(PACE).await;
        }
        self.notes
    }

    /// Creates a meeting, again and again at other instances until one says that it runs, and lets
    /// somebody in.
    async fn create(&mut self, random: &mut StdRng) {
        let id = format!("room{}-{}", self.number, self.notes.meetings.len());
        let end_url = format!("{}{id}", self.end_url);
        let query = format!("name=A+room&meetingID={id}&meta_endCallbackUrl={end_url}");
        let meeting = Meeting {
            id,
            internal_id: None,
            known: BTreeMap::new(),
            is_doubtful: false,
            end: End::None,
        };
        let index = self.notes.meetings.len();
        self.notes.meetings.push(meeting);
        for _ in 0..CREATES {
            let instance = random.random_range(0..self.clients.len());
            let is_fine = |reply: &Reply| reply.is_success();
            if let Some(reply) = self.call("create", &query, index, instance, is_fine).await {
                let internal_id = reply.text("internalMeetingID");
                for node in self.nodes.iter() {
                    let mut own = node.meetings().into_iter();
                    if let Some(own) = own.find(|own| own.internal_id == internal_id) {
                        node.add_attendees(&own.external_id, 1);
                    }
                }
                let meeting = &mut self.notes.meetings[index];
                meeting.internal_id = Some(internal_id);
                return;
            }
            self.notes.meetings[index].is_doubtful = true;
            sleep(AGAIN_AFTER).await;
        }
    }

    async fn join(&mut self, index: usize, instance: usize) {
        let query = format!("fullName=Ada&meetingID={}", self.notes.meetings[index].id);
        self.call("join", &query, index, instance, |reply| reply.status == 302).await;
    }

    async fn info(&mut self, index: usize, instance: usize) {
        let meeting = &self.notes.meetings[index];
        let internal_id = meeting.internal_id.clone().expect("it was acknowledged");
        let query = format!("meetingID={}", meeting.id);
        let is_it =
            |reply: &Reply| reply.is_success() && reply.text("internalMeetingID") == internal_id;
        self.call("getMeetingInfo", &query, index, instance, is_it).await;
    }

    async fn end(&mut self, index: usize, instance: usize) {
        let query = format!("meetingID={}", self.notes.meetings[index].id);
        let ended = self.call("end", &query, index, instance, Reply::is_success).await;
        let end = if ended.is_some() { End::Acknowledged } else { End::Doubtful };
        self.notes.meetings[index].end = end;
    }

    /// One call; its answer, unless it failed, which is noted.
    async fn call(
        &mut self,
        call: &'static str,
        query: &str,
        meeting: usize,
        instance: usize,
        is_fine: impl Fn(&Reply) -> bool,
    ) -> Option<Reply> {
        let begun = Instant::now();
        let answer = self.clients[instance].try_get(call, query).await;
        self.broken.count_call();
        let said = match answer {
            Ok(reply) if is_fine(&reply) => {
                self.notes.answered += 1;
                self.notes.meetings[meeting].known.insert(instance, Instant::now());
                return Some(reply);
            }
            Ok(reply) => format!("{} {}", reply.status, reply.body),
            Err(error) => format!("{error:?}"),
        };
        let meeting = &self.notes.meetings[meeting];
        if let Some(cause) = self.cause(call, meeting, instance, begun) {
            *self.notes.failed.entry((call, cause)).or_default() += 1;
        } else {
            let (id, took) = (&meeting.id, begun.elapsed());
            let said = format!("{call} of {id} at instance {instance} after {took:?}: {said}");
            self.notes.unexcused.push(said);
        }
        None
    }

    /// What a call touched that was broken while it was under way.
    fn cause(
        &self,
        call: &str,
        meeting: &Meeting,
        instance: usize,
        begun: Instant,
    ) -> Option<&'static str> {
        let broken = |is_meant: &dyn Fn(Part) -> bool| self.broken.since(begun, is_meant);
        if broken(&|part| part == Part::Instance(instance)) {
            return Some("its instance was killed");
        }
        let on_node = |node: usize| {
            let runs =
                |id: &str| self.nodes[node].meetings().iter().any(|own| own.internal_id == id);
            meeting.internal_id.as_deref().is_none_or(runs)
        };
        // Nobody is sent to a node that is down. Creates may touch any.
        if broken(&|part| matches!(part, Part::Node(node) if on_node(node))) {
            return Some("its node was gone");
        }
        // What an instance knows it needs no database for; what it does not know it asks for there.
        let is_known = meeting.known.get(&instance).is_some_and(|since| {
            !self.broken.since(*since, |part| part == Part::Instance(instance))
        });
        if broken(&|part| part == Part::Postgres) && (call == "create" || !is_known) {
            return Some("PostgreSQL was stopped");
        }
        if call == "create" && meeting.is_doubtful {
            return Some("an instance was killed while it created the meeting");
        }
        None
    }
}
