//! Commands: what is done for whoever does not wait for it. There is one, `end_all_meetings`.
//!
//! They stand in the store for a while: whoever gave one asks for it again and again, and a balancer sends each
//! question to another instance. The one that took it carries it out. If that one dies nobody tells what became of
//! it, so whoever is asked after its deadline says that it came to nothing.

use std::time::Duration;

use axum::http::StatusCode;
use log::{error, info, warn};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
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

/// The only one that there is.
const END_ALL: &str = "end_all_meetings";
/// What is not done by then is an error.
const WITHIN: Duration = Duration::from_mins(2);
/// How long after the deadline its end may be told: clocks differ, and writing it down takes its time.
const TOLD_WITHIN: Duration = Duration::from_secs(10);
const TOLD_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// What b3scale says of a command that is not done in time.
const TIMED_OUT: &str = "timedout";
/// Commands that one instance carries out at the same time.
const AT_ONCE: usize = 4;
/// Meetings that are named in one result.
const MAX_NAMED: usize = 20;

/// The commands that this instance has taken.
pub(super) struct Commands {
    /// Who carries them out.
    under_way: Mutex<JoinSet<()>>,
    turns: Semaphore,
}

impl Default for Commands {
    fn default() -> Self {
        Self { under_way: Mutex::default(), turns: Semaphore::new(AT_ONCE) }
    }
}

impl Commands {
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
    pub(super) async fn list_commands(&self, visitor: &Visitor) -> Answer {
        visitor.may(&[Right::Admin])?;
        let (known, now_ms) = (self.desk.store.commands().await?, now_ms());
        Ok(ok(known.iter().map(|command| view(command, now_ms)).collect()))
    }

    pub(super) async fn get_command(&self, visitor: &Visitor, id: &str) -> Answer {
        visitor.may(&[Right::Admin])?;
        // Not 404: b3scalectl would take that for a command, and wait for it.
        let unknown = || Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error");
        let found = self.desk.store.find_command(id).await?;
        Ok(ok(view(&found.ok_or_else(unknown)?, now_ms())))
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
        let created_at_ms = now_ms();
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
        if self.desk.store.add_command(&command).await?.is_none() {
            let unable = StatusCode::SERVICE_UNAVAILABLE;
            return Err(Problem::new(unable, "Service Unavailable"));
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
        let (annex, who) = (self.clone(), visitor.who.clone());
        self.memory.commands.begin(async move { annex.carry_out(command, &who).await });
        Ok((StatusCode::ACCEPTED, echo))
    }

    async fn carry_out(&self, mut command: Command, who: &Who) {
        let deadline = Instant::now() + WITHIN;
        let done = timeout_at(deadline, async {
            let _turn = self.memory.commands.turns.acquire().await;
            command.started_at_ms = Some(now_ms());
            if let Err(trouble) = self.desk.store.note_command(&command).await {
                warn!("API: that {END_ALL} has begun is not written down: {}", Chain(&trouble));
            }
            self.end_all_meetings(&command.backend, who).await
        });
        let done = done.await.unwrap_or_else(|_elapsed| Err(TIMED_OUT.to_owned()));
        if let Err(why) = &done {
            info!("API: {END_ALL} came to nothing: {why}");
        }
        command.stopped_at_ms = Some(now_ms());
        command.failure = done.err();
        // Whoever waits for it reads it there.
        while let Err(trouble) = self.desk.store.note_command(&command).await {
            warn!("API: what became of {END_ALL} is not written down: {}", Chain(&trouble));
            if Instant::now() > deadline + TOLD_WITHIN {
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
