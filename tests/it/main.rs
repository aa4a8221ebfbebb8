//! The integration tests: real Portico processes, simulated nodes, and everything over the wire.
//!
//! One binary, a module per behaviour. `harness` starts the pool that a test asks for and hands typed
//! handles back.

mod harness;

mod breakout;
mod clients;
mod faults;
mod health;
mod identity;
mod isolation;
mod placement;
mod seeing;
mod tenancy;
