//! `limits`: what the public side bears.

use std::ops::RangeInclusive;
use std::time::Duration;

use bytesize::ByteSize;

use super::reader::Item;

/// Bounds on requests and connections of the public side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Request line and headers together.
    pub max_header_bytes: usize,
    /// A request's body.
    pub max_body_bytes: usize,
    /// How long a client may take to send its headers.
    pub header_timeout: Duration,
    /// Connections at once; 0 is no limit.
    pub max_connections: usize,
    /// Requests of one address in a second; 0 is no limit.
    pub requests_per_second: u32,
}

/// Twice what nginx takes: join and create carry long `meta_` and `userdata-` parameters.
const DEFAULT_MAX_HEADER: ByteSize = ByteSize::kib(16);
/// A node takes bodies of 30 MB; slides in base64 are a third longer.
const DEFAULT_MAX_BODY: ByteSize = ByteSize::mib(64);
/// Slow networks deliver headers within a second or two.
const DEFAULT_HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// More than the front ends of 100 nodes open; with one to a node for each, these are 64,000 files, far
/// below what the systemd unit allows.
const DEFAULT_MAX_CONNECTIONS: usize = 32_000;

/// Below, a join does not fit; above, headers are an attack.
const HEADER_SIZES: RangeInclusive<ByteSize> = ByteSize::kib(4)..=ByteSize::mib(1);
const BODY_SIZES: RangeInclusive<ByteSize> = ByteSize::kib(64)..=ByteSize::gib(4);
const TIMES: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_mins(5);
const CONNECTIONS: RangeInclusive<usize> = 0..=10_000_000;
const RATES: RangeInclusive<u32> = 0..=1_000_000;

pub(super) fn read(item: &Item<'_>) -> Option<Limits> {
    item.fields(|fields| {
        let max_header = fields.optional("max_header").size(HEADER_SIZES);
        let max_body = fields.optional("max_body").size(BODY_SIZES);
        let header_timeout = fields.optional("header_timeout").duration(TIMES);
        let max_connections = fields.optional("max_connections").whole(CONNECTIONS);
        let requests_per_second = fields.optional("requests_per_second").whole(RATES);
        Some(Limits {
            max_header_bytes: max_header.unwrap_or(bytes(DEFAULT_MAX_HEADER)),
            max_body_bytes: max_body.unwrap_or(bytes(DEFAULT_MAX_BODY)),
            header_timeout: header_timeout.unwrap_or(DEFAULT_HEADER_TIMEOUT),
            max_connections: max_connections.unwrap_or(DEFAULT_MAX_CONNECTIONS),
            requests_per_second: requests_per_second.unwrap_or(0),
        })
    })
}

fn bytes(size: ByteSize) -> usize {
    usize::try_from(size.as_u64()).unwrap_or(usize::MAX)
}
