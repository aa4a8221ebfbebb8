//! What operators manage, and who puts it in force: the file at a start and on SIGHUP, or another instance.
//!
//! The store keeps what is in force for all instances; the [`Keeper`] puts it into the fleet and follows what
//! others put there. Above the fleet and below the drivers, so that each of them may change the inventory.

pub mod branding;
mod choosing;
mod comparing;
mod keeper;
mod mixed;
mod record;
mod seen;

pub use choosing::{Clashed, choose, save_nodes};
pub use comparing::{Compared, compare, compare_shared};
pub use keeper::{InForce, Keeper, Unchanged, warn_of_gone};
pub use seen::Seen;
