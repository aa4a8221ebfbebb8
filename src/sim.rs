//! A simulated `BigBlueButton` node: a real HTTP server that is as strict as bbb-web about checksums, parameters and
//! idempotency, keeps meetings in memory, calls back, and misbehaves on command.
//!
//! Tests and `portico demo` start a [`Node`] in their own process and talk to it through its methods. `portico simulate
//! node` runs one alone and is steered over HTTP, on the node's own port:
//!
//! | request | meaning |
//! | --- | --- |
//! | `POST /sim/fault` `kind=delay&ms=500[&call=create]` | misbehave from now on, at once or only for one call |
//! | … `kind=status&status=503` | likewise, with this HTTP status |
//! | … `kind=reset`, `failed`, `bad-xml`, `html`, `wrong-id`, `endless-body`, `dribble`, `hang` | see [`Fault`] |
//! | … `kind=refuse&ms=10000` | be down for so long; nobody could reach a closed port to open it again |
//! | … `kind=none[&call=create]` | behave again |
//! | `POST /sim/attendees` `meetingID=…&count=…` | people who come without a browser |
//! | `POST /sim/end` `meetingID=…` | the meeting ends by itself |
//! | `POST /sim/recording` `meetingID=…` | its recording is published |
//! | `POST /sim/load` `value=…` | what `/b3lb/load` answers |
//! | `GET /sim/state` | JSON: meetings, counters, faults |
//!
//! Parameters may stand in the query or in a form. Besides the API there is a page at `/html5client` that needs a valid
//! session token, and B3LB's `/b3lb/load`.
//!
//! What is simplified: every meeting admits everybody its `guestPolicy` does not deny; webhooks tell of meetings that
//! begin and end, people who join, and recordings; a recorded meeting counts as marked once somebody was in it;
//! `https` callbacks are not sent.

mod breakout;
mod callbacks;
mod calls;
pub mod cli;
mod control;
mod fault;
mod gate;
mod hooks;
mod meeting;
#[cfg(test)]
mod raw_client;
mod recording;
mod reply;
mod request;
mod seen;
mod serve;
#[cfg(test)]
mod tests;
mod world;
mod xml;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use fault::{DRIBBLE_PAUSE, Fault};
pub use seen::Seen;

use crate::bbb::Algorithm;

use callbacks::Callbacks;
use fault::Faults;
use gate::Gate;
use hooks::Hooks;
use meeting::Meeting;
use recording::Recording;
use seen::Log;
use world::World;

/// How a node is set up. The default is a node of the current release on a free port of 127.0.0.1.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Shown on the client's page and in the state.
    pub name: String,
    /// Where to listen; port 0 takes a free one.
    pub address: SocketAddr,
    /// The API secret. As on a real node, an empty one switches the checksum check off.
    pub secret: String,
    /// What the node believes its own address to be, without a path (`bigbluebutton.web.serverURL`); absent: `http://` and
    /// the address it listens on.
    pub public_url: Option<String>,
    /// Where `join` sends browsers (`defaultHTML5ClientUrl`); absent: `/html5client` below [`Settings::public_url`].
    pub client_url: Option<String>,
    /// The dialect it speaks.
    pub release: Release,
    /// Hashes it accepts (`supportedChecksumAlgorithms`).
    pub algorithms: Vec<Algorithm>,
    /// How long a minute is, for everything that `BigBlueButton` counts in minutes; tests shorten it.
    pub minute: Duration,
    /// Whether `/sim/…` is served.
    pub control: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            name: "sim".to_owned(),
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            secret: "a secret only for simulated nodes".to_owned(),
            public_url: None,
            client_url: None,
            release: Release::V3_0,
            algorithms: Algorithm::ALL.to_vec(),
            minute: Duration::from_mins(1),
            control: false,
        }
    }
}

/// The `BigBlueButton` releases a node can imitate, where they differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Release {
    /// Forms that carry their checksum are signed over their sorted parameters; no `sendChatMessage`.
    V2_7,
    /// Forms that carry their checksum are signed over nothing.
    #[default]
    V3_0,
}

impl Release {
    fn as_str(self) -> &'static str {
        match self {
            Self::V2_7 => "2.7.12",
            Self::V3_0 => "3.0.19",
        }
    }
}

/// A meeting as a test wants to look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeetingState {
    /// The id the creator chose (generated for a breakout room).
    pub external_id: String,
    /// The id the node made of it.
    pub internal_id: String,
    /// Its name.
    pub name: String,
    /// Milliseconds since 1970.
    pub create_time_ms: u64,
    /// How many people are in.
    pub participants: usize,
    /// Over, but still shown.
    pub ended: bool,
    /// What came as `meta_…`, with lower-case names.
    pub metadata: Vec<(String, String)>,
    /// Names of the documents that came with `create` and `insertDocument`.
    pub documents: Vec<String>,
}

/// A running node. Dropping it lets its tasks end; [`Node::stop`] also waits for that.
#[derive(Debug)]
pub struct Node {
    shared: Arc<Shared>,
    stop: CancellationToken,
}

/// What connections, the sweeper and the owner of a [`Node`] share.
#[derive(Debug)]
struct Shared {
    settings: Settings,
    /// Without a slash at the end.
    server_url: String,
    client_url: String,
    gate: Gate,
    world: Mutex<World>,
    faults: Mutex<Faults>,
    log: Mutex<Log>,
    load: AtomicU32,
    callbacks: Callbacks,
    hooks: Hooks,
    stop: CancellationToken,
    tracker: TaskTracker,
    /// So that a [`Node`] may be commanded from any thread.
    runtime: Handle,
}

impl Node {
    /// Opens the port and begins to serve.
    ///
    /// # Errors
    /// The address cannot be bound.
    #[expect(clippy::unused_async, reason = "it must be called in a runtime, and this says so")]
    pub async fn start(settings: Settings) -> io::Result<Self> {
        let gate = Gate::open(settings.address)?;
        let stop = CancellationToken::new();
        let server_url =
            settings.public_url.clone().unwrap_or_else(|| format!("http://{}", gate.address()));
        let server_url = server_url.trim_end_matches('/').to_owned();
        let client_url =
            settings.client_url.clone().unwrap_or_else(|| format!("{server_url}/html5client"));
        let shared = Arc::new(Shared {
            server_url,
            client_url,
            gate,
            world: Mutex::default(),
            faults: Mutex::default(),
            log: Mutex::default(),
            load: AtomicU32::new(0),
            callbacks: Callbacks::new(&settings.secret, settings.minute, stop.clone()),
            hooks: Hooks::default(),
            stop: stop.clone(),
            tracker: TaskTracker::new(),
            runtime: Handle::current(),
            settings,
        });
        shared.spawn(serve::accept(Arc::clone(&shared)));
        shared.spawn(sweep(Arc::clone(&shared)));
        Ok(Self { shared, stop })
    }

    /// `http://127.0.0.1:PORT/bigbluebutton/api`.
    pub fn url(&self) -> String {
        format!("http://{}/bigbluebutton/api", self.shared.gate.address())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.shared.gate.address()
    }

    /// Its API secret.
    pub fn secret(&self) -> &str {
        &self.shared.settings.secret
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.shared.settings.name
    }

    /// Misbehaves from now on, or behaves again. Requests that hang already go on hanging.
    ///
    /// When this returns, a node with [`Fault::Refuse`] refuses, and any other one listens.
    pub fn set_fault(&self, fault: Option<Fault>) {
        let _entered = self.shared.runtime.enter();
        self.shared.change_faults(|faults| faults.everywhere = fault);
    }

    /// The same for one call only (`"create"`, `"load"`, …), before what is set for all.
    pub fn set_call_fault(&self, call: &str, fault: Option<Fault>) {
        let _entered = self.shared.runtime.enter();
        self.shared.change_faults(|faults| faults.set_call(call, fault));
    }

    /// How often a call was made, however it was answered. Besides the API calls, `""` is the version, `"html5client"`
    /// the page and `"load"` B3LB's number.
    pub fn calls(&self, call: &str) -> usize {
        self.shared.log.lock().count(call)
    }

    /// The latest requests, oldest first.
    pub fn requests(&self) -> Vec<Seen> {
        self.shared.log.lock().requests()
    }

    /// The meetings, with those that ended a moment ago.
    pub fn meetings(&self) -> Vec<MeetingState> {
        self.shared.world.lock().meetings().map(MeetingState::of).collect()
    }

    /// Lets so many viewers into a live meeting; all of them speak, every third shows a camera. False if there is no such meeting.
    pub fn add_attendees(&self, meeting_id: &str, count: usize) -> bool {
        self.shared.world.lock().add_attendees(meeting_id, count)
    }

    /// Whether a meeting with this internal id is live here.
    pub fn runs(&self, internal_id: &str) -> bool {
        self.shared.world.lock().get(internal_id).is_some_and(Meeting::is_live)
    }

    /// Whoever has this session leaves, as when a browser is closed.
    pub fn sign_out(&self, session_token: &str) {
        self.shared.world.lock().sign_out(session_token, Instant::now());
    }

    /// Sends everybody out of a meeting. False if there is no such meeting.
    pub fn remove_attendees(&self, meeting_id: &str) -> bool {
        self.shared.world.lock().remove_attendees(meeting_id, Instant::now())
    }

    /// Ends a meeting as if it ended by itself; callbacks fire. False if there is no such live meeting.
    pub fn end_meeting(&self, meeting_id: &str) -> bool {
        let _entered = self.shared.runtime.enter();
        self.shared.end_meeting(meeting_id)
    }

    /// Forgets all meetings and calls nobody, as when `BigBlueButton` is restarted. Recordings stay.
    pub fn restart(&self) {
        self.shared.world.lock().forget_meetings();
    }

    /// Publishes a recording of a meeting, live or gone; the recording-ready callback fires once for each format, as on a
    /// real node. False if there never was such a meeting.
    pub fn publish_recording(&self, meeting_id: &str) -> bool {
        let _entered = self.shared.runtime.enter();
        self.shared.publish_recording(meeting_id)
    }

    /// Adds recordings of meetings that were called so and are long over, each an hour after the one before.
    /// Gives their ids.
    pub fn add_recordings(&self, meeting_id: &str, count: u32) -> Vec<String> {
        const HOUR_MS: u64 = 3_600_000;
        // On no other node at the same millisecond.
        let ago = u64::from(count) * HOUR_MS + rand::random_range(HOUR_MS..1_000 * HOUR_MS);
        let first_ms = now_ms() - ago;
        let added: Vec<_> = (0..u64::from(count))
            .map(|number| Recording::of_old(meeting_id, first_ms + number * HOUR_MS))
            .collect();
        let ids = added.iter().map(|recording| recording.record_id.clone()).collect();
        self.shared.world.lock().recordings.extend(added);
        ids
    }

    /// Opens breakout rooms of a running meeting, as people in it do; gives their internal ids, none if there
    /// is no such meeting.
    pub fn open_breakout_rooms(&self, meeting_id: &str, count: u64) -> Vec<String> {
        self.shared.world.lock().open_rooms(meeting_id, count, Instant::now(), now_ms())
    }

    /// The bytes of each text track that was uploaded for a recording.
    pub fn text_track_bytes(&self, record_id: &str) -> Vec<usize> {
        let world = self.shared.world.lock();
        let known = world.recordings.iter().filter(|known| known.record_id == record_id);
        known.flat_map(|known| &known.text_tracks).map(|track| track.bytes).collect()
    }

    /// The callback URLs of its webhooks.
    pub fn hooks(&self) -> Vec<String> {
        self.shared.hooks.list(None).into_iter().map(|hook| hook.callback_url).collect()
    }

    /// Forgets its webhooks, as when bbb-webhooks was set up anew.
    pub fn forget_hooks(&self) {
        self.shared.hooks.forget();
    }

    /// What `/b3lb/load` answers from now on; 0 at first.
    pub fn set_load(&self, load: u32) {
        self.shared.load.store(load, Ordering::Relaxed);
    }

    /// Closes the port and all connections, drops callbacks under way, and waits until every task has ended.
    pub async fn stop(self) {
        self.stop.cancel();
        self.shared.gate.close();
        self.shared.tracker.close();
        self.shared.tracker.wait().await;
        self.shared.callbacks.join().await;
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl MeetingState {
    fn of(meeting: &Meeting) -> Self {
        Self {
            external_id: meeting.external_id.clone(),
            internal_id: meeting.internal_id.clone(),
            name: meeting.name.clone(),
            create_time_ms: meeting.created_ms,
            participants: meeting.attendees.len(),
            ended: !meeting.is_live(),
            metadata: meeting.metadata.clone(),
            documents: meeting.documents.clone(),
        }
    }
}

impl Shared {
    /// Runs a task that ends with the node.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tracker.spawn(async move {
            stop.run_until_cancelled(task).await;
        });
    }

    fn change_faults(&self, change: impl FnOnce(&mut Faults)) {
        let mut faults = self.faults.lock();
        change(&mut faults);
        if faults.everywhere == Some(Fault::Refuse) {
            self.gate.close();
        } else if let Err(error) = self.gate.reopen() {
            log::error!("the simulated node {} cannot listen again: {error}", self.settings.name);
        }
    }

    fn end_meeting(&self, id: &str) -> bool {
        let ended = {
            let mut world = self.world.lock();
            let Some(internal_id) = world.find_live(id).map(|meeting| meeting.internal_id.clone())
            else {
                return false;
            };
            world.end(&internal_id, false, Instant::now(), now_ms())
        };
        self.report_ended(&ended);
        true
    }

    fn publish_recording(&self, id: &str) -> bool {
        let mut world = self.world.lock();
        let Some(meeting) = world.find_past(id).cloned() else { return false };
        world.recordings.retain(|known| known.record_id != meeting.internal_id);
        let rooms = world.rooms_of(&meeting.internal_id);
        world.recordings.push(Recording::of(&meeting, rooms, now_ms()));
        drop(world);
        self.callbacks.recording_ready(&meeting);
        self.hooks.recording_published(&meeting, &self.callbacks);
        true
    }

    fn report_ended(&self, meetings: &[Meeting]) {
        for meeting in meetings {
            self.callbacks.meeting_ended(meeting);
            self.hooks.meeting_ended(meeting, &self.callbacks);
        }
    }
}

/// Lets meetings end that are due, sixty times a minute.
async fn sweep(node: Arc<Shared>) {
    let minute = node.settings.minute;
    // A meeting that ended is shown for three seconds of an ordinary minute.
    let linger = minute / 20;
    let mut ticks = interval((minute / 60).max(Duration::from_millis(5)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let ended = node.world.lock().sweep(Instant::now(), now_ms(), minute, linger);
        node.report_ended(&ended);
    }
}

fn now_ms() -> u64 {
    u64::try_from(Timestamp::now().as_millisecond()).expect("it is later than 1970")
}
