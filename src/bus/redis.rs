//! The bus over Redis: a stream that all instances write and read, and a set of those that are alive.
//!
//! Nobody ever waits for Redis: it is looked for in the background, for ever, and while it cannot be
//! reached every instance is alone. There are two connections, one for commands, one that waits for events.
//! Everything has a time limit, so that a server that says nothing is as good as gone. All writing is done
//! by scripts, which are atomic there; times are Redis' own. Events stand in the log for 15 seconds; whoever
//! has not read them by then is told to begin anew, so nothing grows here or there.

mod keeper;
mod server;
mod tail;
mod target;
mod teller;
mod trouble;
mod value;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use redis::{RedisError, Script};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

pub use trouble::Trouble;

use self::keeper::Keeper;
use self::target::Target;
use self::teller::Teller;
use super::{Living, Log, Metrics, News};
use crate::model::{InstanceId, Secret};

/// For every command. A server in the same network needs a hundredth of it.
const WITHIN: Duration = Duration::from_millis(250);
/// Batches of events that wait for who reads them; what comes later waits in Redis.
const WAITING: usize = 16;
/// The version of the form of what stands in Redis is part of every name.
const LOG: &str = "portico:1:log";
const END: &str = "portico:1:end";
const INSTANCES: &str = "portico:1:instances";

/// A node's poll must not be left to a dead instance for much longer than its interval.
const MAX_PERIOD: Duration = Duration::from_secs(1);
/// With very short intervals.
const MIN_PERIOD: Duration = Duration::from_millis(50);
/// A pause of a second is nothing to die of.
const MIN_LEASE: Duration = Duration::from_secs(1);
const MAX_LEASE: Duration = Duration::from_mins(10);

/// How to take part.
pub struct Settings {
    /// Who we are.
    pub instance: InstanceId,
    /// The time from one poll of a node to its next. It sets how soon a dead instance is noticed.
    pub interval: Duration,
    /// Our own clock, ms since 1970, which is compared with Redis'.
    pub clock: fn() -> u64,
    /// What is counted.
    pub metrics: Metrics,
}

impl Settings {
    /// From one sign of life to the next.
    fn period(&self) -> Duration {
        (self.interval / 4).clamp(MIN_PERIOD, MAX_PERIOD)
    }

    /// How long a sign of life holds.
    fn lease(&self) -> Duration {
        self.interval.clamp(MIN_LEASE, MAX_LEASE)
    }
}

/// The bus of one instance.
pub struct Bus {
    /// Telling others.
    pub log: Arc<dyn Log>,
    /// What they tell. Who drops it is out of touch for good, and no longer among the living: what others do
    /// would be unknown here, and what is left to us undone.
    pub news: mpsc::Receiver<News>,
    /// Who is alive.
    pub living: watch::Receiver<Living>,
    /// Our being alive.
    pub membership: Membership,
}

/// Others see an instance as alive as long as it has this.
pub struct Membership {
    leave: watch::Sender<bool>,
    left: watch::Receiver<bool>,
}

impl Membership {
    /// Leaves the living at once, so that others take over what we did. The log goes on.
    pub async fn leave(&self) {
        self.leave.send_replace(true);
        let mut left = self.left.clone();
        // Redis may be gone; then nobody sees us anyway.
        drop(timeout(WITHIN, left.wait_for(|left| *left)).await);
    }
}

/// Takes part in the bus of this URL. Nobody is asked here: that goes on in the background, on the runtime
/// in whose context this is called.
///
/// # Errors
/// [`Trouble::Url`].
pub fn open(url: &Secret, settings: Settings) -> Result<Bus, Trouble> {
    let target = Target::parse(url)?;
    let (news, receiver) = mpsc::channel(WAITING + 1);
    let (living, is_living) = watch::channel(Living::alone(settings.instance.clone()));
    let (leave, is_leaving) = watch::channel(false);
    let (has_left, left) = watch::channel(false);
    let teller = Arc::new(Teller::new(settings.instance.clone(), settings.metrics.clone()));
    let log = teller.clone();
    let keeper = Keeper::new(target, settings, teller, living, is_leaving, has_left);
    // It ends when the membership or the receiver is dropped.
    drop(tokio::spawn(keeper.run(news)));
    let membership = Membership { leave, left };
    Ok(Bus { log, news: receiver, living: is_living, membership })
}

/// Whether a URL can be understood; nobody is asked.
///
/// # Errors
/// [`Trouble::Url`].
pub fn check(url: &Secret) -> Result<(), Trouble> {
    Target::parse(url).map(drop)
}

/// What is done there in one step.
struct Scripts {
    append: Script,
    beat: Script,
}

impl Scripts {
    fn new() -> Self {
        Self {
            append: Script::new(include_str!("redis/append.lua")),
            beat: Script::new(include_str!("redis/beat.lua")),
        }
    }
}

/// Asks within the time limit.
async fn ask<T>(
    target: &Target,
    asking: impl Future<Output = Result<T, RedisError>>,
) -> Result<T, Trouble> {
    match timeout(WITHIN, asking).await {
        Ok(asked) => asked.map_err(|error| Trouble::new(target, &error)),
        Err(_elapsed) => Err(Trouble::Slow { place: target.place.clone() }),
    }
}
