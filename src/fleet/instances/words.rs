//! Words of closed sets, as they stand in events: a later version may have more of them.

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use crate::model::Health;

/// A health. One of a later version is unknown: it must not hide everything else that a poll has found.
pub(super) fn health<'de, D: Deserializer<'de>>(from: D) -> Result<Health, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Word {
        Known(Health),
        Other(IgnoredAny),
    }
    Ok(match Word::deserialize(from)? {
        Word::Known(health) => health,
        Word::Other(IgnoredAny) => Health::Unknown,
    })
}

pub(super) fn yes() -> bool {
    true
}

/// What a meeting is taken for of which an older version tells.
pub(super) fn usual_size() -> f32 {
    20.0
}
