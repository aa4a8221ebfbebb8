//! The integration tests: real Portico processes, simulated nodes, and everything over the wire.
//!
//! One binary, a module per behaviour. `harness` starts the pool that a test asks for and hands typed
//! handles back.

mod harness;

mod answers;
mod api;
mod api_live;
mod b3lb;
mod b3scale_api;
mod backup;
mod bodies;
mod branding;
mod breakout;
mod bus;
mod callbacks;
mod calls;
mod chaos;
mod checksums;
mod clients;
mod cluster;
mod coalescing;
mod command_line;
mod connections;
mod counters;
mod create;
mod edit;
mod encodings;
mod every_call;
mod faults;
mod full_disk;
mod hanging_store;
mod health;
mod hooks;
mod identity;
mod instances;
mod inventory;
mod isolation;
mod join;
mod learning;
mod lifecycle;
mod limits;
mod listing;
mod lost;
mod outbox_shared;
mod placement;
mod postgres;
mod protection;
mod reconcile;
mod reconcile_shared;
mod recordings;
mod reload;
mod rolling;
mod rollover;
mod room_recordings;
mod rules;
mod seeing;
mod several;
mod store_at_start;
mod store_up;
mod survival;
mod tenancy;
mod tls;
mod together;
mod traps;
mod two_files;
