//! Portico, the one door in front of a pool of BigBlueButton servers.
//!
//! The rooms, from the street inwards; `use` points down this list, never up or sideways between drivers:
//!
//! | room | what it holds |
//! | --- | --- |
//! | [`cli`] | start-up: arguments, assembly, exit codes |
//! | [`edge`], [`admin`], [`tasks`] | the drivers: the public side, the operators' side, periodic work |
//! | [`inventory`] | what operators manage, and who puts it in force |
//! | [`recall`] | what is known of earlier meetings, in memory as in the store |
//! | [`fleet`] | what is going on right now, in memory |
//! | [`store`], [`node`], [`bus`] | what must survive; the HTTP client that talks to one node; what instances tell each other |
//! | [`config`], [`model`], [`bbb`] | plain values: checked settings, our own words, the protocol |
//! | [`sim`] | a faithful simulated node; uses [`bbb`] from the other side |

pub mod admin;
pub mod bbb;
pub mod bus;
mod chain;
pub mod cli;
pub mod config;
pub mod edge;
pub mod fleet;
pub mod inventory;
pub mod model;
pub mod node;
pub mod recall;
pub mod sim;
mod skew;
mod sparing;
pub mod store;
pub mod tasks;
pub mod trace;
#[cfg(test)]
#[path = "../tests/it/harness/wait.rs"]
mod wait;
