//! Periodic work: polling the nodes, housekeeping, and delivering callbacks.
//!
//! A task is an idempotent [`Task::activate`] that reads the state it needs; the driver owns its loop, its
//! panics and its metrics. There are no retries inside: the next activation is the retry.

mod chronicle;
mod counters;
mod doubles;
mod driver;
mod ending;
mod ends;
mod forgetting;
mod history;
mod hooks;
mod housekeeping;
mod leases;
mod outbox;
mod peaks;
mod poll;
mod poller;
mod rows;
mod statistics;

pub use chronicle::Chronicle;
pub use counters::Counters;
pub use driver::{Metrics, Task};
pub use driver::{run, run_to_the_end};
pub use ending::Ending;
pub use ends::Ends;
pub use history::History;
pub use hooks::NodeHooks;
pub use housekeeping::Housekeeping;
pub use leases::Leases;
pub use outbox::{Outbox, OutboxMetrics, Sender};
pub use poll::Poll;
pub use poller::{Poller, Settings};
pub use statistics::Statistics;
