//! Commands: what is done for whoever does not wait for it. There is one, `end_all_meetings`.
//!
//! They stand in the store for a while: whoever gave one asks for it again and again, and a balancer sends each
//! question to another instance. The one that took it carries it out, and knows by itself how far it is. If that one
//! dies nobody tells what became of it, so whoever is asked after its deadline says that it came to nothing. All
//! times are by the clock of the store, which is the same for all.

use std::collections::VecDeque;
use std::time::Duration;

use axum::http::StatusCode;
use log::{error, info, warn};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};
use uuid::Uuid;

use super::super::api::problem::Problem;
use super::super::api::{edits, time};
use super::backends::object_of;
use super::body::Fields;
use super::{Annex, Answer, NEVER, Right, Visitor, id_of, ok, wrong};
use crate::admin::api::caller::Who;
use crate::chain::Chain;
use crate::fleet::now_ms;
use crate::model::{Command, ObjectName};
use crate::store;

/// The only one that there is.
const END_ALL: &str = "end_all_meetings";
/// What is not done by then is an error.
const WITHIN: Duration = Duration::from_mins(2);
/// How long after the deadline its end may be told: writing it down takes its time.
const TOLD_WITHIN: Duration = Duration::from_secs(10);
const TOLD_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// What b3scale says of a command that is not done in time.
const TIMED_OUT: &str = "timedout";
/// Commands that one instance carries out at the same time.
const AT_ONCE: usize = 4;
/// Commands that one instance has under way, and of which it remembers what became: as many as the store keeps of
/// all.
const MAX_OWN: usize = 100;
/// What is said of one that the store may not have.
const NOT_KEPT: &str = "the store could not be used";
/// Meetings that are named in one result.
const MAX_NAMED: usize = 20;

/// The commands that this instance has taken.
pub(super) struct Commands {
    /// Who carries them out.
    under_way: Mutex<JoinSet<()>>,
    /// How far they are, the oldest first. The store may be away when somebody asks.
    own: Mutex<VecDeque<Command>>,
    turns: Semaphore,
}

impl Default for Commands {
    fn default() -> Self {
        Self { under_way: Mutex::default(), own: Mutex::default(), turns: Semaphore::new(AT_ONCE) }
    }
}

impl Commands {
    /// Whether there was room for it.
    fn begin(&self, work: impl Future<Output = ()> + Send + 'static) -> bool {
        let mut under_way = self.under_way.lock();
        while let Some(ended) = under_way.try_join_next() {
            if let Err(stopped) = ended {
                error!("API: a command ended by itself: {stopped}");
            }
        }
        let has_room = under_way.len() < MAX_OWN;
        if has_room {
            under_way.spawn(work);
        }
        has_room
    }

    /// Remembers how far one is. One that is done gives way, if there is any.
    fn remember(&self, command: &Command) {
        let mut own = self.own.lock();
        if let Some(known) = own.iter_mut().find(|known| known.id == command.id) {
            command.clone_into(known);
            return;
        }
        if own.len() >= MAX_OWN {
            let done = own.iter().position(|known| known.stopped_at_ms.is_some());
            own.remove(done.unwrap_or_default());
        }
        own.push_back(command.clone());
    }

    fn find(&self, id: &str) -> Option<Command> {
        self.own.lock().iter().find(|known| known.id == id).cloned()
    }
}

/// The clock of the store, without asking it each time.
struct Clock {
    began: Instant,
    began_ms: u64,
}

impl Clock {
    fn now_ms(&self) -> u64 {
        self.began_ms.saturating_add(ms(self.began.elapsed()))
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn params_of(backend: &str) -> Value {
    json!({"BackendID": backend})
}

fn view(command: &Command, now_ms: u64) -> Value {
    let is_lost = command.stopped_at_ms.is_none()
        && now_ms > command.deadline_ms.saturating_add(ms(TOLD_WITHIN));
    let (state, result) = match (&command.failure, command.stopped_at_ms) {
        (Some(why), Some(_)) => ("error", why.as_str().into()),
        (None, Some(_)) => ("success", true.into()),
        (_, None) if is_lost => ("error", TIMED_OUT.into()),
        (_, None) => ("requested", Value::Null),
    };
    let stopped_at_ms = command.stopped_at_ms.or(is_lost.then_some(command.deadline_ms));
    json!({
        "id": command.id,
        "seq": command.number,
        "state": state,
        "action": END_ALL,
        "params": params_of(&command.backend),
        "result": result,
        "deadline": time(command.deadline_ms),
        "started_at": command.started_at_ms.map(time),
        "stopped_at": stopped_at_ms.map(time),
        "created_at": time(command.created_at_ms),
    })
}

impl Annex {
    /// What all instances have in common: none of them is to be judged by the clock of another.
    async fn clock_ms(&self) -> Result<u64, store::Error> {
        self.desk.store.clock_ms(now_ms()).await
    }

    pub(super) async fn list_commands(&self, visitor: &Visitor) -> Answer {
        visitor.may(&[Right::Admin])?;
        let (known, now_ms) = (self.desk.store.commands().await?, self.clock_ms().await?);
        let told = known.into_iter().map(|command| {
            let command = self.memory.commands.find(&command.id).unwrap_or(command);
            view(&command, now_ms)
        });
        Ok(ok(told.collect()))
    }

    pub(super) async fn get_command(&self, visitor: &Visitor, id: &str) -> Answer {
        visitor.may(&[Right::Admin])?;
        if let Some(own) = self.memory.commands.find(id) {
            // We carry it out: it is not lost, whatever the time.
            return Ok(ok(view(&own, own.created_at_ms)));
        }
        // Not 404: b3scalectl would take that for a command, and wait for it.
        let unknown = || Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error");
        let found = self.desk.store.find_command(id).await?.ok_or_else(unknown)?;
        Ok(ok(view(&found, self.clock_ms().await?)))
    }

    pub(super) async fn add_command(
        &self,
        visitor: &Visitor,
        body: impl AsyncFnOnce() -> Result<Value, Problem>,
    ) -> Answer {
        visitor.may(&[Right::Admin])?;
        let body = body().await?;
        let fields = Fields::of(&body)?;
        if fields.text("action")?.value() != Some(END_ALL) {
            return Err(wrong("action", "is not end_all_meetings"));
        }
        let params = fields.object("params")?.value();
        let backend = match &params {
            Some(params) => params.text("BackendID")?.value().unwrap_or_default(),
            None => "",
        };
        // Tools that do not know a backend send this.
        if backend.is_empty() || Uuid::parse_str(backend).is_ok_and(|id| id.is_nil()) {
            return Err(wrong("params.BackendID", "this field is required"));
        }
        let posted_state = fields.text("state")?.value().unwrap_or_default();
        let posted_deadline = fields.text("deadline")?.value().unwrap_or(NEVER);
        // Before the store is asked: our deadline is not to be later than that of the others.
        let began = Instant::now();
        let created_at_ms = self.clock_ms().await?;
        let clock = Clock { began, began_ms: created_at_ms };
        let command = Command {
            id: uuid::Builder::from_random_bytes(rand::random()).into_uuid().to_string(),
            number: 0,
            backend: backend.to_owned(),
            created_at_ms,
            deadline_ms: created_at_ms.saturating_add(ms(WITHIN)),
            started_at_ms: None,
            stopped_at_ms: None,
            failure: None,
        };
        let (annex, who, ordered) = (self.clone(), visitor.who.clone(), command.clone());
        let (tell, told) = oneshot::channel();
        // Whatever becomes of us here: who has it kept carries it out.
        let work = async move { annex.take(ordered, &who, &clock, tell).await };
        let work = self.desk.fleet.under_way.track_future(work);
        let unable = || Problem::new(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable");
        if !self.memory.commands.begin(work) {
            return Err(unable());
        }
        let is_kept = told.await.map_err(|_ended| unable())??;
        if !is_kept {
            return Err(unable());
        }
        // As it came, with what could not be known before.
        let echo = json!({
            "id": command.id,
            "seq": 0,
            "state": posted_state,
            "action": END_ALL,
            "params": params_of(&command.backend),
            "result": null,
            "deadline": posted_deadline,
            "started_at": null,
            "stopped_at": null,
            "created_at": time(command.created_at_ms),
        });
        Ok((StatusCode::ACCEPTED, echo))
    }

    /// Has a command kept, tells whether it is, and carries it out.
    async fn take(
        &self,
        mut command: Command,
        who: &Who,
        clock: &Clock,
        tell: oneshot::Sender<Result<bool, store::Error>>,
    ) {
        match self.desk.store.add_command(&command).await {
            Ok(Some(number)) => {
                command.number = number;
                self.memory.commands.remember(&command);
                // Who has ordered it may be gone.
                let _gone = tell.send(Ok(true));
                self.carry_out(command, who, clock).await;
            }
            Ok(None) => {
                let _gone = tell.send(Ok(false));
            }
            Err(trouble) => {
                let _gone = tell.send(Err(trouble));
                // It may have been kept all the same, and is not to take a place that nobody uses.
                command.stopped_at_ms = Some(clock.now_ms());
                command.failure = Some(NOT_KEPT.to_owned());
                self.note_end(&command, clock).await;
            }
        }
    }

    async fn carry_out(&self, mut command: Command, who: &Who, clock: &Clock) {
        let commands = &self.memory.commands;
        let done = timeout_at(clock.began + WITHIN, async {
            let _turn = commands.turns.acquire().await;
            command.started_at_ms = Some(clock.now_ms());
            commands.remember(&command);
            if let Err(trouble) = self.desk.store.note_command(&command).await {
                warn!("API: that {END_ALL} has begun is not written down: {}", Chain(&trouble));
            }
            self.end_all_meetings(&command.backend, who).await
        });
        let done = done.await.unwrap_or_else(|_elapsed| Err(TIMED_OUT.to_owned()));
        if let Err(why) = &done {
            info!("API: {END_ALL} came to nothing: {why}");
        }
        command.stopped_at_ms = Some(clock.now_ms());
        command.failure = done.err();
        commands.remember(&command);
        self.note_end(&command, clock).await;
    }

    /// Writes down what became of a command: whoever waits for it at another instance reads it there.
    async fn note_end(&self, command: &Command, clock: &Clock) {
        while let Err(trouble) = self.desk.store.note_command(command).await {
            warn!("API: what became of {END_ALL} is not written down: {}", Chain(&trouble));
            if Instant::now() > clock.began + WITHIN + TOLD_WITHIN {
                return;
            }
            sleep(TOLD_AGAIN_AFTER).await;
        }
    }

    async fn end_all_meetings(&self, backend: &str, who: &Who) -> Result<(), String> {
        let node = self.find_node(|node| id_of(&object_of(node)) == backend);
        let node = node.ok_or("there is no backend of this id")?;
        let object: ObjectName = object_of(&node);
        let removed = self.desk.end_all_on(node.name()).await;
        let told = json!({"ended": removed.ended, "left": removed.left}).to_string();
        edits::write_down(&self.desk, who, "end all meetings", &object, Some(told), None).await;
        if removed.left.is_empty() {
            return Ok(());
        }
        let more = match removed.left.len().saturating_sub(MAX_NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let named: Vec<_> = removed.left.iter().take(MAX_NAMED).map(String::as_str).collect();
        Err(format!("its node did not end {}{more}", named.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_more_is_taken_or_remembered_than_there_is_room_for() {
        let commands = Commands::default();
        let taken = (0..=MAX_OWN).map(|_| commands.begin(std::future::pending()));
        assert_eq!(taken.filter(|taken| *taken).count(), MAX_OWN);
        let command = |number: u64| Command {
            id: number.to_string(),
            number,
            backend: "y".to_owned(),
            created_at_ms: 0,
            deadline_ms: 120_000,
            started_at_ms: None,
            stopped_at_ms: None,
            failure: None,
        };
        let all = u64::try_from(MAX_OWN).unwrap();
        for number in 0..all {
            commands.remember(&command(number));
        }
        let done = Command { stopped_at_ms: Some(5), ..command(7) };
        commands.remember(&done);
        assert_eq!(commands.find("7"), Some(done));
        commands.remember(&command(all));
        assert_eq!(commands.own.lock().len(), MAX_OWN);
        // What is done has given way, and nothing else.
        assert_eq!(commands.find("7"), None);
        assert!(commands.find("0").is_some() && commands.find(&all.to_string()).is_some());
    }

    #[test]
    fn what_nobody_tells_the_end_of_comes_to_nothing() {
        let running = Command {
            id: "x".to_owned(),
            number: 7,
            backend: "y".to_owned(),
            created_at_ms: 0,
            deadline_ms: 120_000,
            started_at_ms: Some(1),
            stopped_at_ms: None,
            failure: None,
        };
        let told = |command: &Command, now_ms| {
            let view = view(command, now_ms);
            (view["state"].clone(), view["result"].clone(), view["stopped_at"].clone())
        };
        let open = (json!("requested"), Value::Null, Value::Null);
        for now_ms in [0, 120_000, 130_000] {
            assert_eq!(told(&running, now_ms), open);
        }
        let lost = (json!("error"), json!("timedout"), time(120_000));
        assert_eq!(told(&running, 130_001), lost);
        let done = Command { stopped_at_ms: Some(5), ..running };
        assert_eq!(told(&done, 200_000), (json!("success"), json!(true), time(5)));
        let failed = Command { failure: Some("why".to_owned()), ..done };
        assert_eq!(told(&failed, 200_000), (json!("error"), json!("why"), time(5)));
    }
}
