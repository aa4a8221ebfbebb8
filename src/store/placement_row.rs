//! What a tenant says of the placement of its meetings, as it stands in its row.

use serde::{Deserialize, Serialize};

use crate::model::{Spread, TenantPlacement};

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct PlacementRow {
    #[serde(skip_serializing_if = "Option::is_none")]
    default_size: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_size: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spread: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strip_hints: Option<bool>,
}

impl PlacementRow {
    pub(super) fn of(placement: TenantPlacement) -> Self {
        let TenantPlacement { default_size, max_size, spread, strip_hints } = placement;
        let spread = (spread != Spread::None).then(|| spread.as_str().to_owned());
        Self { default_size, max_size, spread, strip_hints: strip_hints.then_some(true) }
    }

    /// Rows of tenants that say nothing of it are as they were before it could be said.
    pub(super) fn says_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// What only a later version knows is as good as nothing.
    pub(super) fn into_placement(self) -> TenantPlacement {
        let known = |word: String| Spread::ALL.into_iter().find(|spread| spread.as_str() == word);
        TenantPlacement {
            default_size: self.default_size,
            max_size: self.max_size,
            spread: self.spread.and_then(known).unwrap_or_default(),
            strip_hints: self.strip_hints.unwrap_or_default(),
        }
    }
}
