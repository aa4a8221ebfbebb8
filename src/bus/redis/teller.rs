//! Tells events: the writing side of the log.

use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use bytes::Bytes;
use log::debug;
use redis::aio::MultiplexedConnection;
use redis::{RedisError, Value};
use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;

use super::{END, LOG, Scripts, WITHIN, value};
use crate::bus::{Appended, Away, Event, Log, Metrics, Position};
use crate::model::InstanceId;

/// What may be on its way at a moment, KiB. With more, callers wait, as long as they would for an answer.
const ROOM_KIB: u32 = 32 * 1024;
/// Events that are shown to one who is behind. Some are large, and whoever is further behind is not able to
/// follow: showing it more would only hold up the log for all.
const BEHIND: u64 = 64;

/// See the module.
pub(super) struct Teller {
    author: InstanceId,
    pub(super) scripts: Scripts,
    /// None while we are out of touch.
    pub(super) commands: ArcSwapOption<MultiplexedConnection>,
    room: Semaphore,
    /// Something did not come back: the keeper looks whether Redis lives.
    pub(super) doubt: Notify,
    /// The log is another one than the one that we read.
    pub(super) is_lost: AtomicBool,
    metrics: Metrics,
}

impl Teller {
    pub(super) fn new(author: InstanceId, metrics: Metrics) -> Self {
        Self {
            author,
            scripts: Scripts::new(),
            commands: ArcSwapOption::empty(),
            room: Semaphore::new(ROOM_KIB as usize),
            doubt: Notify::new(),
            is_lost: AtomicBool::new(false),
            metrics,
        }
    }

    async fn tell(
        &self,
        command: &str,
        seen: Option<Position>,
        payloads: Vec<Bytes>,
    ) -> Result<Appended, Away> {
        self.metrics.command(command);
        let told = match timeout(WITHIN, self.send(seen, &payloads)).await {
            Ok(None) => return Err(Away),
            Ok(Some(Ok(told))) => told,
            Ok(Some(Err(error))) => {
                debug!("the bus refuses an event: {error}");
                self.metrics.failure(command);
                self.doubt.notify_one();
                return Err(Away);
            }
            Err(_elapsed) => {
                self.metrics.failure(command);
                self.doubt.notify_one();
                return Err(Away);
            }
        };
        match Told::read(told) {
            Some(Told::At(at)) => {
                self.metrics.events("out", payloads.len());
                Ok(Appended::At(at))
            }
            Some(Told::Behind { last, events }) => {
                let seen = seen.unwrap_or_default();
                if last < seen {
                    self.is_lost.store(true, Ordering::Relaxed);
                    return Err(Away);
                }
                // Some may have been trimmed; then the tail notices, too.
                let follow = !events.is_empty() && value::follow(&events, seen);
                let are_all = events.last().is_some_and(|event| event.at == last);
                if follow && are_all { Ok(Appended::Behind(events)) } else { Err(Away) }
            }
            None => Err(Away),
        }
    }

    /// None when we are out of touch.
    async fn send(
        &self,
        seen: Option<Position>,
        payloads: &[Bytes],
    ) -> Option<Result<Value, RedisError>> {
        let bytes: usize = payloads.iter().map(Bytes::len).sum();
        let kib = u32::try_from(bytes / 1024 + 1).map_or(ROOM_KIB, |kib| kib.min(ROOM_KIB));
        let _room = self.room.acquire_many(kib).await.ok()?;
        let mut commands = MultiplexedConnection::clone(self.commands.load_full()?.as_ref());
        let mut telling = self.scripts.append.prepare_invoke();
        telling.key(LOG).key(END).arg(self.author.as_str());
        telling.arg(seen.map(|seen| seen.to_string()).unwrap_or_default()).arg(BEHIND);
        for payload in payloads {
            telling.arg(payload.as_ref());
        }
        Some(telling.invoke_async(&mut commands).await)
    }
}

#[async_trait]
impl Log for Teller {
    async fn append(&self, payloads: Vec<Bytes>) -> Result<(), Away> {
        if payloads.is_empty() {
            return Ok(());
        }
        self.tell("append", None, payloads).await.map(drop)
    }

    async fn append_if(&self, seen: Position, payloads: Vec<Bytes>) -> Result<Appended, Away> {
        self.tell("append_if", Some(seen), payloads).await
    }
}

/// What the script answers.
enum Told {
    At(Position),
    Behind { last: Position, events: Vec<Event> },
}

impl Told {
    fn read(value: Value) -> Option<Self> {
        let mut parts = value::array(value)?.into_iter();
        let is_told = parts.next()? == Value::Int(1);
        let last = value::position(parts.next()?)?;
        if is_told {
            return Some(Self::At(last));
        }
        Some(Self::Behind { last, events: value::events(parts.next()?)? })
    }
}
