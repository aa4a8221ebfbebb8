//! How large a new meeting will become, and how much of a running one is still to come.
//!
//! A meeting never moves, so what counts at its create is what it will be, not what it is. Rooms repeat
//! themselves by the week: a [`History`] keeps what became of earlier meetings, from which an [`Ask`] gets what is
//! [`Expected`]. From then on a `Burden` weighs on the meeting's node, what is expected first, and ever more what
//! is there. Pure but for the counters of nodes: the time is passed in, and everything is in attendees.

mod burden;
mod expected;
mod history;

pub use burden::occupied;
pub(super) use burden::{Burden, Joins};
pub use expected::{Ask, Expected, Source};
pub use history::{History, Level, Recalled};

use crate::model::MOST_ATTENDEES;

/// The same as a number of attendees.
#[expect(clippy::cast_possible_truncation, reason = "sizes are small")]
pub(super) fn attendees(thousandths: u32) -> f32 {
    (f64::from(thousandths.min(MOST_ATTENDEES * 1000)) / 1000.0) as f32
}

/// Attendees in thousandths, as nodes add them up: sums of whole numbers do not drift.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "bounded on both sides, and the cast takes what is not a number for zero"
)]
pub(super) fn thousandths(attendees: f64) -> u32 {
    (attendees.clamp(0.0, f64::from(MOST_ATTENDEES)) * 1000.0).round() as u32
}
