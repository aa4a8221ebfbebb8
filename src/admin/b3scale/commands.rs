//! Commands: what is done for whoever does not wait for it. There is one, `end_all_meetings`.
//!
//! They are known to the instance that was asked, and only for a while.

use std::collections::VecDeque;
use std::time::Duration;

use axum::http::StatusCode;
use log::{error, info};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use uuid::Uuid;

use super::super::api::problem::Problem;
use super::super::api::{edits, time};
use super::backends::object_of;
use super::body::Fields;
use super::{Annex, Answer, NEVER, Right, Visitor, id_of, ok, wrong};
use crate::admin::api::caller::Who;
use crate::fleet::now_ms;
use crate::model::ObjectName;

/// The only one that there is.
const END_ALL: &str = "end_all_meetings";
/// What is not done by then is an error.
const WITHIN: Duration = Duration::from_mins(2);
/// Longer nobody asks for what became of one.
const KEPT_FOR_MS: u64 = 60_000;
/// Commands that are known; whoever gives more has to wait.
const MAX_KNOWN: usize = 100;
/// Commands that are carried out at the same time.
const AT_ONCE: usize = 4;

/// All commands that are known here.
pub(super) struct Commands {
    known: Mutex<Known>,
    /// Who carries them out.
    under_way: Mutex<JoinSet<()>>,
    turns: Semaphore,
}

#[derive(Default)]
struct Known {
    last_seq: u64,
    commands: VecDeque<Command>,
}

impl Default for Commands {
    fn default() -> Self {
        Self {
            known: Mutex::default(),
            under_way: Mutex::default(),
            turns: Semaphore::new(AT_ONCE),
        }
    }
}

/// What was asked for, and what became of it.
#[derive(Debug, Clone)]
struct Command {
    id: String,
    seq: u64,
    state: &'static str,
    params: Value,
    result: Value,
    created_at_ms: u64,
    started_at_ms: Option<u64>,
    stopped_at_ms: Option<u64>,
}

impl Command {
    fn view(&self) -> Value {
        json!({
            "id": self.id,
            "seq": self.seq,
            "state": self.state,
            "action": END_ALL,
            "params": self.params,
            "result": self.result,
            "deadline": time(self.deadline_ms()),
            "started_at": self.started_at_ms.map(time),
            "stopped_at": self.stopped_at_ms.map(time),
            "created_at": time(self.created_at_ms),
        })
    }

    fn deadline_ms(&self) -> u64 {
        self.created_at_ms.saturating_add(u64::try_from(WITHIN.as_millis()).unwrap_or(u64::MAX))
    }

    fn is_old(&self, now_ms: u64) -> bool {
        self.stopped_at_ms.is_some() && now_ms > self.deadline_ms().saturating_add(KEPT_FOR_MS)
    }
}

impl Commands {
    /// Notes a new one, if there is room.
    fn add(&self, params: &Value) -> Option<Command> {
        let now_ms = now_ms();
        let mut known = self.known.lock();
        known.commands.retain(|command| !command.is_old(now_ms));
        if known.commands.len() >= MAX_KNOWN {
            // What is done gives way to what is to be done.
            let done = known.commands.iter().position(|command| command.stopped_at_ms.is_some());
            known.commands.remove(done?);
        }
        known.last_seq += 1;
        let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
        let command = Command {
            id: id.to_string(),
            seq: known.last_seq,
            state: "requested",
            params: params.clone(),
            result: Value::Null,
            created_at_ms: now_ms,
            started_at_ms: None,
            stopped_at_ms: None,
        };
        known.commands.push_back(command.clone());
        Some(command)
    }

    fn change(&self, id: &str, change: impl FnOnce(&mut Command)) {
        let mut known = self.known.lock();
        if let Some(command) = known.commands.iter_mut().find(|command| command.id == id) {
            change(command);
        }
    }

    fn begin(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut under_way = self.under_way.lock();
        while let Some(ended) = under_way.try_join_next() {
            if let Err(stopped) = ended {
                error!("API: a command ended by itself: {stopped}");
            }
        }
        under_way.spawn(work);
    }
}

impl Annex {
    pub(super) fn list_commands(&self, visitor: &Visitor) -> Answer {
        visitor.may(&[Right::Admin])?;
        let known = self.memory.commands.known.lock();
        Ok(ok(known.commands.iter().map(Command::view).collect()))
    }

    pub(super) fn get_command(&self, visitor: &Visitor, id: &str) -> Answer {
        visitor.may(&[Right::Admin])?;
        let known = self.memory.commands.known.lock();
        let found = known.commands.iter().find(|command| command.id == id);
        // Not 404: b3scalectl would take that for a command, and wait for it.
        let unknown = || Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error");
        Ok(ok(found.ok_or_else(unknown)?.view()))
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
        let params = json!({"BackendID": backend});
        let command =
            self.memory.commands.add(&params).ok_or_else(|| {
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable")
            })?;
        let (annex, who) = (self.clone(), visitor.who.clone());
        let (id, backend) = (command.id.clone(), backend.to_owned());
        self.memory.commands.begin(async move { annex.carry_out(&id, &backend, &who).await });
        // As it came, with what could not be known before.
        let echo = json!({
            "id": command.id,
            "seq": 0,
            "state": fields.text("state")?.value().unwrap_or_default(),
            "action": END_ALL,
            "params": params,
            "result": null,
            "deadline": fields.text("deadline")?.value().unwrap_or(NEVER),
            "started_at": null,
            "stopped_at": null,
            "created_at": time(command.created_at_ms),
        });
        Ok((StatusCode::ACCEPTED, echo))
    }

    async fn carry_out(&self, id: &str, backend: &str, who: &Who) {
        let commands = &self.memory.commands;
        let done = timeout(WITHIN, async {
            let _turn = commands.turns.acquire().await;
            commands.change(id, |command| command.started_at_ms = Some(now_ms()));
            self.end_all_meetings(backend, who).await
        });
        let done = done.await.unwrap_or_else(|_elapsed| Err("timedout".to_owned()));
        if let Err(why) = &done {
            info!("API: {END_ALL} came to nothing: {why}");
        }
        commands.change(id, |command| {
            command.stopped_at_ms = Some(now_ms());
            (command.state, command.result) = match done {
                Ok(()) => ("success", true.into()),
                Err(why) => ("error", why.into()),
            };
        });
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
        Err(format!("its node did not end {}", removed.left.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_gives_way_and_what_is_not_does_not() {
        let commands = Commands::default();
        let first = commands.add(&json!({})).expect("room");
        for _ in 1..MAX_KNOWN {
            commands.add(&json!({})).expect("room");
        }
        assert!(commands.add(&json!({})).is_none());
        commands.change(&first.id, |command| command.stopped_at_ms = Some(now_ms()));
        let next = commands.add(&json!({})).expect("room");
        assert_eq!(next.seq, 101);
        assert!(commands.add(&json!({})).is_none());
        commands.change(&next.id, |command| {
            command.stopped_at_ms = Some(1);
            command.created_at_ms = 1;
        });
        commands.add(&json!({})).expect("what is old has gone");
    }
}
