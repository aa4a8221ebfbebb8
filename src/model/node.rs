//! Nodes as operators describe them, and the states they can be in.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use url::Url;

use super::{NodeName, Secret};

/// One BigBlueButton server, as an operator describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Unique name.
    pub name: NodeName,
    /// Name of its cluster.
    pub cluster: String,
    /// Base of its API, without a trailing slash: `https://host/bigbluebutton/api`.
    pub url: Url,
    /// Its API secret, never empty.
    pub secret: Secret,
    /// Capacity relative to the other nodes, above 0.
    pub weight: f64,
    /// Attendees that a node of weight 1 is meant to carry.
    pub capacity: u32,
    /// Labels that tenants can require.
    pub tags: Vec<String>,
    /// B3LB's CPU script: answers with an integer 0..=10000.
    pub load_url: Option<Url>,
}

/// What an operator wants of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AdminState {
    /// Takes meetings.
    #[default]
    Ready,
    /// Runs what it has, takes nothing new.
    Cordoned,
    /// Cordoned, and reports when it is empty.
    Draining,
    /// Gone from the inventory; kept only until its last meeting ends.
    Retired,
}

impl AdminState {
    /// Every state, in the order of a node's life.
    pub const ALL: [Self; 4] = [Self::Ready, Self::Cordoned, Self::Draining, Self::Retired];

    /// The word in configuration, API and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Cordoned => "cordoned",
            Self::Draining => "draining",
            Self::Retired => "retired",
        }
    }
}

impl FromStr for AdminState {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or(())
    }
}

impl fmt::Display for AdminState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What polling says of a node.
///
/// `Unknown` → `Up` on the first good poll. Any → `Suspect` on one failure → `Down` after `down_after`
/// in a row. `Suspect` and `Down` → `Up` after `up_after` good polls in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Never polled.
    #[default]
    Unknown,
    /// Answers.
    Up,
    /// Failed lately, not often enough to be down.
    Suspect,
    /// Failed too often in a row.
    Down,
}

impl Health {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Unknown, Self::Up, Self::Suspect, Self::Down];

    /// The word in logs, API and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Suspect => "suspect",
            Self::Down => "down",
        }
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
