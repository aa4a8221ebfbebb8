//! The load policy of a cluster as JSON.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::{B3lbFactors, Policy};

/// How the load of a node is computed.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub(super) enum PolicyDocument {
    /// `predictive`, `b3lb` or `b3scale`.
    #[schema(example = "predictive")]
    Word(String),
    /// B3LB's formula with other factors than its own.
    B3lb {
        /// The factors.
        b3lb: FactorsDocument,
    },
}

/// Factors of B3LB's formula.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FactorsDocument {
    /// Load of one attendee. Default 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0)]
    attendee_factor: Option<f64>,
    /// Load of one meeting. Default 30.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0)]
    meeting_factor: Option<f64>,
    /// Terms of the CPU polynomial. Default 6.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 100)]
    cpu_iterations: Option<u32>,
    /// What the CPU polynomial approaches at full load. Default 5000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0)]
    cpu_max: Option<f64>,
}

pub(super) fn of_policy(policy: Policy) -> PolicyDocument {
    let word = |word: &str| PolicyDocument::Word(word.to_owned());
    match policy {
        Policy::Predictive => word("predictive"),
        Policy::B3scale => word("b3scale"),
        Policy::B3lb(B3lbFactors { attendee_factor, meeting_factor, cpu_iterations, cpu_max }) => {
            PolicyDocument::B3lb {
                b3lb: FactorsDocument {
                    attendee_factor: Some(attendee_factor),
                    meeting_factor: Some(meeting_factor),
                    cpu_iterations: Some(cpu_iterations),
                    cpu_max: Some(cpu_max),
                },
            }
        }
    }
}
