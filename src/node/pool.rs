//! Connections kept for the next call.
//!
//! Each is idle under its origin and under the runtime that made it: used from another one, every
//! answer would first wake a thread of the runtime whose driver has the socket.
//!
//! Nothing happens to an idle connection until somebody takes it. One that the node closed meanwhile
//! is usually noticed by sending: hyper looks before it writes and gives the request back, unless the
//! runtime has not heard of the end yet.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::{Handle, Id};
use tokio::time::Instant;

use super::connection::Connection;

/// How long an idle connection is kept: well below the 75 s after which a node's nginx closes it.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Idle connections kept per node and runtime. More than a poller and a few callers need, fewer than
/// a burst of creates opens.
pub(super) const IDLE_PER_NODE: usize = 32;

/// How often all origins are looked through. A node that left the inventory is not asked again, so
/// nobody else would find its connections.
pub(super) const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// Idle connections.
pub(super) struct Pool(Mutex<Idle>);

struct Idle {
    runtimes: HashMap<Id, HashMap<String, Vec<Resting>>>,
    swept: Instant,
}

/// An idle connection; in a list the one that came last is the last.
struct Resting {
    connection: Box<Connection>,
    since: Instant,
}

impl Resting {
    fn is_over(&self, now: Instant) -> bool {
        now.duration_since(self.since) >= IDLE_TIMEOUT
    }
}

impl Pool {
    pub(super) fn new(now: Instant) -> Self {
        Self(Mutex::new(Idle { runtimes: HashMap::new(), swept: now }))
    }

    /// The connection to an origin that has been idle for the shortest time, of those of the current
    /// runtime.
    pub(super) fn take(&self, origin: &str, now: Instant) -> Option<Box<Connection>> {
        let runtime = Handle::current().id();
        let mut over = Vec::new();
        let mut idle = self.0.lock();
        idle.sweep_in_time(now, &mut over);
        let resting = idle.runtimes.get_mut(&runtime)?.get_mut(origin)?;
        let latest = resting.pop()?;
        if !latest.is_over(now) {
            return Some(latest.connection);
        }
        // The others have been idle for longer still. Closing is left for after the lock.
        over.append(resting);
        drop(idle);
        drop((latest, over));
        None
    }

    /// Takes a connection of the current runtime back after an answer was read to its end. It is
    /// dropped if it cannot be used again or if there are enough.
    pub(super) fn put_back(&self, origin: &str, mut connection: Box<Connection>, now: Instant) {
        if !connection.try_rest() {
            return;
        }
        let runtime = Handle::current().id();
        let mut idle = self.0.lock();
        let mut over = Vec::new();
        idle.sweep_in_time(now, &mut over);
        let origins = idle.runtimes.entry(runtime).or_default();
        let resting = match origins.get_mut(origin) {
            Some(resting) => resting,
            None => origins.entry(origin.to_owned()).or_default(),
        };
        expire(resting, now, &mut over);
        let resting_now = Resting { connection, since: now };
        if resting.len() < IDLE_PER_NODE {
            resting.push(resting_now);
        } else {
            over.push(resting_now);
        }
        drop(idle);
        drop(over);
    }

    /// How many connections are idle, and for how many origins there is a list.
    #[cfg(test)]
    pub(super) fn count(&self) -> (usize, usize) {
        let idle = self.0.lock();
        let lists = idle.runtimes.values().flat_map(HashMap::values);
        (lists.clone().map(Vec::len).sum(), lists.count())
    }
}

impl fmt::Debug for Pool {
    /// Without the origins: there may be passwords in them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

impl Idle {
    fn sweep_in_time(&mut self, now: Instant, over: &mut Vec<Resting>) {
        if now.duration_since(self.swept) < SWEEP_EVERY {
            return;
        }
        self.swept = now;
        self.runtimes.retain(|_, origins| {
            origins.retain(|_, resting| {
                expire(resting, now, over);
                !resting.is_empty()
            });
            !origins.is_empty()
        });
    }
}

/// Moves what has been idle for too long to `over`, to be dropped without the lock.
fn expire(resting: &mut Vec<Resting>, now: Instant, over: &mut Vec<Resting>) {
    let expired = resting.partition_point(|resting| resting.is_over(now));
    over.extend(resting.drain(..expired));
}
