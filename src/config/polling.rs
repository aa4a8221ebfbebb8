//! `polling`: how nodes are watched.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::reader::Item;

/// How often nodes are asked and what their answers lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Polling {
    /// Between two polls of a node, before jitter.
    pub interval: Duration,
    /// How long a node has for its whole answer.
    pub timeout: Duration,
    /// How long the meetings of a node that is down are kept.
    pub node_down_grace: Duration,
    /// Failures in a row until a node is down.
    pub down_after: u32,
    /// Good answers in a row until it is up again.
    pub up_after: u32,
}

/// Three failures and a down node are noticed within 20 s, while 100 nodes cost 20 polls a second.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(5);
/// A loaded node takes a second or two for getMeetings.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
/// Long enough for a reboot of a network switch, short enough for people who wait in front of a door.
const DEFAULT_NODE_DOWN_GRACE: Duration = Duration::from_mins(1);
/// One lost packet is not a dead node.
const DEFAULT_DOWN_AFTER: u32 = 3;
/// A node that comes up answers once before it is ready.
const DEFAULT_UP_AFTER: u32 = 2;

/// Below, polling is load of its own; above, nobody would notice that a node died.
const TIMES: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_mins(10);
const GRACE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(24);
const COUNTS: RangeInclusive<u32> = 1..=100;

pub(super) fn read(item: &Item<'_>) -> Option<Polling> {
    item.fields(|fields| {
        let interval = fields.optional("interval").duration(TIMES);
        let timeout = fields.optional("timeout").duration(TIMES);
        let grace = fields.optional("node_down_grace").duration(GRACE);
        let down_after = fields.optional("down_after").whole(COUNTS);
        let up_after = fields.optional("up_after").whole(COUNTS);
        Some(Polling {
            interval: interval.unwrap_or(DEFAULT_INTERVAL),
            timeout: timeout.unwrap_or(DEFAULT_TIMEOUT),
            node_down_grace: grace.unwrap_or(DEFAULT_NODE_DOWN_GRACE),
            down_after: down_after.unwrap_or(DEFAULT_DOWN_AFTER),
            up_after: up_after.unwrap_or(DEFAULT_UP_AFTER),
        })
    })
}
