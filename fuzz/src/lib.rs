//! What the fuzz targets work on: `bbb/` as it is, by way of links.
//!
//! It reads everything that strangers send, and knows no other room. So the targets build in a minute, without
//! pingora and SQLite.

pub mod bbb;
