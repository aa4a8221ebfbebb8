//! Starts the real thing: `portico serve` as a child process on free ports, with a configuration file in a
//! temporary directory, in front of simulated nodes in this process.
//!
//! ```ignore
//! let pool = Pool::start(Config::new().nodes(3).tenant(Tenant::new("acme").sub(5))).await;
//! let acme = pool.tenant("acme");
//! let reply = acme.get("create", "name=Algebra&meetingID=algebra").await;
//! assert_eq!(reply.text("returncode"), "SUCCESS");
//! ```
//!
//! | file | what it holds |
//! | --- | --- |
//! | `config` | what a test wants the pool to be, and the YAML it amounts to |
//! | `pool` | the running pool: nodes, process, signals, restarts |
//! | `process` | the child process and its log; `portico` for short runs of the program |
//! | `postgres`, `redis` | servers of our own; unit tests use them too |
//! | `balancer` | a balancer of connections in front of several instances |
//! | `cluster` | several instances over one database and one Redis |
//! | `client` | a front end of one tenant, which signs what it sends |
//! | `steady` | a front end that keeps its connection |
//! | `front` | a front end that is called back |
//! | `http`, `raw` | HTTP for one request; a connection that sends any bytes |
//! | `masked`, `failure` | answers without volatile parts; BigBlueButton's failures |
//! | `metrics` | what `/metrics` says, as numbers |
//! | `wait` | waiting for conditions |
//!
//! Nothing outlives a [`Pool`]: dropping it kills the process group and joins the thread that reads its log.

mod balancer;
mod client;
mod cluster;
mod config;
mod failure;
mod front;
mod http;
mod masked;
mod metrics;
mod pool;
mod postgres;
mod process;
mod raw;
mod redis;
mod steady;
mod wait;
mod wrk;

pub(crate) use balancer::Balancer;
pub(crate) use client::{Client, Signed, sorted};
pub(crate) use cluster::{Cluster, Plan};
pub(crate) use config::{Config, Tenant};
pub(crate) use failure::{assert_failed, failed};
pub(crate) use front::{Front, Heard};
pub(crate) use http::{Reply, request};
pub(crate) use masked::masked;
pub(crate) use pool::Pool;
pub(crate) use postgres::Postgres;
pub(crate) use process::{portico, portico_with};
pub(crate) use raw::Raw;
pub(crate) use redis::Redis;
pub(crate) use steady::Steady;
pub(crate) use wait::{PATIENCE, eventually};
pub(crate) use wrk::Wrk;
