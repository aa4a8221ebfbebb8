//! The trail of what operators have changed.

use clap::Args;

use super::failure::Failure;
use super::output::Column;
use super::{Access, Api, api, output};

const COLUMNS: &[Column] = &[
    ("NUMBER", "/number"),
    ("AT", "/at"),
    ("WHO", "/who"),
    ("ACTION", "/action"),
    ("OBJECT", "/object"),
];

/// The API's longest page of them.
const PAGE: usize = 100;

fn up_to_a_thousand(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=1000).contains(number));
    number.ok_or_else(|| "is not a number of 1 to 1000".to_owned())
}

/// Which part of it.
#[derive(Debug, Args)]
pub(in crate::cli) struct Which {
    /// How many
    #[arg(long, default_value_t = 100, value_parser = up_to_a_thousand)]
    limit: usize,
    /// Only those with smaller numbers
    #[arg(long, value_name = "NUMBER")]
    before: Option<u64>,
}

pub(super) async fn run(access: &Access, which: &Which) -> Result<(), Failure> {
    let before = which.before.map(|number| format!("&before={number}")).unwrap_or_default();
    let (api, mut changes, mut cursor) = (Api::new(access)?, Vec::new(), String::new());
    while changes.len() < which.limit {
        let limit = (which.limit - changes.len()).min(PAGE);
        let mut page = api.get(&format!("/changes?limit={limit}{before}{cursor}")).await?.body;
        changes.extend(api::list(&mut page, "items")?);
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    output::list(access.output, COLUMNS, &changes)
}
