//! What instances that share a store know of each other's doings.

pub mod event;

pub use event::Event;
