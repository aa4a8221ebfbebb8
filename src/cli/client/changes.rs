//! The trail of what operators have changed.

use clap::Args;
use serde_json::Value;

use super::failure::Failure;
use super::output::Column;
use super::{Access, Api, output};

const COLUMNS: &[Column] = &[
    ("NUMBER", "/number"),
    ("AT", "/at"),
    ("WHO", "/who"),
    ("ACTION", "/action"),
    ("OBJECT", "/object"),
];

/// Which part of it.
#[derive(Debug, Args)]
pub(in crate::cli) struct Which {
    /// How many
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Only those with smaller numbers
    #[arg(long, value_name = "NUMBER")]
    before: Option<u64>,
}

pub(super) async fn run(access: &Access, which: &Which) -> Result<(), Failure> {
    let before = which.before.map(|number| format!("&before={number}")).unwrap_or_default();
    let changes =
        Api::new(access)?.get(&format!("/changes?limit={}{before}", which.limit)).await?.body;
    let Value::Array(changes) = changes else {
        return Err(Failure::failed("this is no answer of Portico's API"));
    };
    output::list(access.output, COLUMNS, &changes)
}
