//! What the node remembers of the requests it was sent.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use http::{HeaderMap, Method};
use jiff::Timestamp;

/// Enough for every test; a load run must not fill the memory.
const KEPT: usize = 1_000;
/// What is kept of a body: all of a form whose parameters were too long for a query.
const BODY_START: usize = 16 * 1024;
/// Call names come from whoever sends requests: more different ones than the API has are not counted.
const MAX_NAMES: usize = 100;

/// One request as it came in.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Its method.
    pub method: Method,
    /// The path on the request line.
    pub path: String,
    /// The query on the request line, with its checksum; empty if there was none.
    pub query: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// The first bytes of its body, as many as are kept.
    pub body_start: Bytes,
    /// Bytes of its body.
    pub body_len: usize,
    /// When it was read completely.
    pub at: Timestamp,
}

/// The latest requests, and how many of each call there were.
#[derive(Debug, Default)]
pub(super) struct Log {
    latest: VecDeque<Seen>,
    counts: HashMap<String, usize>,
}

/// The part of a body that is kept. A copy, as a slice would keep all of it.
pub(super) fn body_start(body: &[u8]) -> Bytes {
    Bytes::copy_from_slice(body.get(..BODY_START).unwrap_or(body))
}

impl Log {
    pub(super) fn note(&mut self, call: &str, seen: Seen) {
        if let Some(count) = self.counts.get_mut(call) {
            *count += 1;
        } else if self.counts.len() < MAX_NAMES {
            self.counts.insert(call.to_owned(), 1);
        }
        if self.latest.len() == KEPT {
            self.latest.pop_front();
        }
        self.latest.push_back(seen);
    }

    pub(super) fn count(&self, call: &str) -> usize {
        self.counts.get(call).copied().unwrap_or(0)
    }

    pub(super) fn counts(&self) -> &HashMap<String, usize> {
        &self.counts
    }

    pub(super) fn requests(&self) -> Vec<Seen> {
        self.latest.iter().cloned().collect()
    }
}
