//! One running Portico among several.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The name of one process among those that share a store: new with every start, so that what a process
/// left behind when it died is never taken for its successor's.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct InstanceId(Arc<str>);

impl InstanceId {
    /// A name nobody else has: the machine's, for the operator who reads it, and a random part.
    pub fn new(host: &str) -> Self {
        let host: String =
            host.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(32).collect();
        Self(format!("{host}-{:016x}", rand::random::<u64>()).into())
    }

    /// An instance by its name, as others tell it.
    pub fn named(name: &str) -> Self {
        Self(name.into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_starts_have_one_name() {
        let (one, other) = (InstanceId::new("edge-1.example"), InstanceId::new("edge-1.example"));
        assert_ne!(one, other);
        assert!(one.as_str().starts_with("edge-1example-"), "{one}");
    }
}
