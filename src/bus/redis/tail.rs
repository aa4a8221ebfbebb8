//! Reads events: waits for them on a connection of its own and hands them on.
//!
//! Whoever takes them slowly holds up the reading, not the memory: the rest waits in Redis until it is
//! trimmed there. Places count the events, so what was trimmed before it was read is noticed here, as is a
//! log that was begun anew; then what the reader knows is worth nothing, and it is told so.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use log::warn;
use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{Value, cmd};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{sleep, timeout};

use super::target::Target;
use super::teller::Teller;
use super::trouble::Trouble;
use super::{END, LOG, ask, value};
use crate::bus::{Event, Metrics, News, Position};

/// How long Redis waits for events before it answers that there are none.
const BLOCK: Duration = Duration::from_millis(500);
/// Until its answer has to be here. That may be long: many events of several hundred KiB.
const READ_WITHIN: Duration = Duration::from_millis(1500);
/// Events that are read at once.
const AT_ONCE: usize = 64;
/// What may wait until it is applied. One meeting may have megabytes.
const ROOM_KIB: u32 = 64 * 1024;
/// Before the log is read anew: whatever has happened to it may go on.
const PAUSE: Duration = Duration::from_millis(100);

/// The last event that was handed on; none while nobody reads.
pub(super) type Reached = Arc<Mutex<Option<Position>>>;

/// See the module.
pub(super) struct Tail {
    news: mpsc::Sender<News>,
    /// Keeps a place in the channel, for telling that we are out of touch. None: it was told.
    away: Option<mpsc::OwnedPermit<News>>,
    reached: Reached,
    room: Room,
    metrics: Metrics,
}

/// Where events are until they were applied, however many wait in the channel.
struct Room(Arc<Semaphore>);

/// A payload in it.
struct Kept {
    payload: Bytes,
    /// Of all that were read with it.
    _place: Arc<OwnedSemaphorePermit>,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.payload
    }
}

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(ROOM_KIB as usize)))
    }
}

impl Room {
    /// Waits until there is room for these, which is theirs until nobody has their payloads any more. What is
    /// larger than all of it has it alone.
    async fn keep(&self, events: Vec<Event>) -> Vec<Event> {
        let bytes: usize = events.iter().map(|event| event.payload.len()).sum();
        let kib = u32::try_from(bytes / 1024 + 1).map_or(ROOM_KIB, |kib| kib.min(ROOM_KIB));
        // It is never closed.
        let Ok(place) = self.0.clone().acquire_many_owned(kib).await else { return events };
        let place = Arc::new(place);
        let keep = |event: Event| {
            let kept = Kept { payload: event.payload, _place: place.clone() };
            Event { payload: Bytes::from_owner(kept), ..event }
        };
        events.into_iter().map(keep).collect()
    }
}

/// What one look brought.
enum Look {
    /// What comes next, perhaps nothing.
    Events(Vec<Event>),
    /// Events are missing.
    Gap,
}

impl Tail {
    pub(super) fn new(news: mpsc::Sender<News>, metrics: Metrics) -> Self {
        let (reached, room) = (Reached::default(), Room::default());
        Self { news, away: None, reached, room, metrics }
    }

    pub(super) fn reached(&self) -> Reached {
        self.reached.clone()
    }

    /// Whether anybody wants to know.
    pub(super) fn is_heard(&self) -> bool {
        !self.news.is_closed()
    }

    /// Tells that we are out of touch, unless that is known.
    pub(super) fn away(&mut self) {
        *self.reached.lock() = None;
        if let Some(place) = self.away.take() {
            place.send(News::Away);
        }
    }

    /// Reads all that follows `from`, until there is trouble, or nobody wants to know.
    pub(super) async fn follow(
        &mut self,
        target: &Target,
        teller: &Teller,
        connection: &mut MultiplexedConnection,
        from: Position,
    ) -> Option<Trouble> {
        let news = self.news.clone();
        tokio::select! {
            followed = self.try_follow(target, teller, connection, from) => followed.err(),
            // Seen also while nothing happens.
            () = news.closed() => None,
        }
    }

    async fn try_follow(
        &mut self,
        target: &Target,
        teller: &Teller,
        connection: &mut MultiplexedConnection,
        mut from: Position,
    ) -> Result<(), Trouble> {
        loop {
            teller.is_lost.store(false, Ordering::Relaxed);
            let Ok(place) = self.news.clone().reserve_owned().await else { return Ok(()) };
            self.away = Some(place);
            if self.news.send(News::Joined(from)).await.is_err() {
                return Ok(());
            }
            *self.reached.lock() = Some(from);
            let mut at = from;
            while !teller.is_lost.load(Ordering::Relaxed) {
                let events = match self.look(target, connection, at).await? {
                    Look::Events(events) => events,
                    Look::Gap => break,
                };
                let Some(last) = events.last().map(|event| event.at) else { continue };
                self.metrics.events("in", events.len());
                let events = self.room.keep(events).await;
                if self.news.send(News::Events(events)).await.is_err() {
                    return Ok(());
                }
                at = last;
                *self.reached.lock() = Some(last);
            }
            self.away();
            warn!(
                "events of the instances' bus were missed: we were slow, or Redis at {} has lost them; what \
                 the other instances know is read anew",
                target.place
            );
            sleep(PAUSE).await;
            let end = ask(target, cmd("GET").arg(END).query_async(connection)).await?;
            from = value::position(end).unwrap_or_default();
        }
    }

    /// What comes next.
    async fn look(
        &self,
        target: &Target,
        connection: &mut MultiplexedConnection,
        at: Position,
    ) -> Result<Look, Trouble> {
        self.metrics.command("read");
        let mut reading = cmd("XREAD");
        reading.arg("COUNT").arg(AT_ONCE).arg("BLOCK").arg(BLOCK.as_millis().to_string());
        reading.arg("STREAMS").arg(LOG).arg(at.to_string());
        let read = match timeout(READ_WITHIN, reading.query_async::<Value>(connection)).await {
            Ok(read) => read.map_err(|error| Trouble::new(target, &error)),
            Err(_elapsed) => Err(Trouble::Slow { place: target.place.clone() }),
        };
        let read = read.inspect_err(|_| self.metrics.failure("read"))?;
        // What others may have put there is as bad as a gap.
        let Some(events) = value::read(read) else { return Ok(Look::Gap) };
        Ok(if value::follow(&events, at) { Look::Events(events) } else { Look::Gap })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::InstanceId;

    #[tokio::test]
    async fn what_is_not_applied_yet_is_bounded_in_bytes() {
        let batch = |mib: usize| {
            let half = Event {
                at: Position { ms: 1, seq: 1 },
                author: InstanceId::named("a"),
                payload: Bytes::from(vec![b'x'; mib * 512 * 1024]),
            };
            vec![half.clone(), half]
        };
        let room = Room::default();
        let mut first = room.keep(batch(40)).await;
        assert_eq!(first[0].payload.len(), 20 * 1024 * 1024);
        let second = room.keep(batch(40));
        tokio::pin!(second);
        assert!(futures::poll!(&mut second).is_pending());
        drop(first.pop());
        assert!(futures::poll!(&mut second).is_pending(), "one of the two is not applied");
        drop(first);
        drop(second.await);
        assert_eq!(room.keep(batch(70)).await.len(), 2, "it does not wait for ever");
    }
}
