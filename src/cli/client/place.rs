//! Where a meeting would go, and why.

use clap::{Args, Subcommand};
use url::form_urlencoded::Serializer;

use super::failure::Failure;
use super::output::{Column, Format};
use super::{Access, Api, api, output};

const CANDIDATES: &[Column] = &[
    ("NODE", "/node"),
    ("SCORE", "/score"),
    ("OCCUPIED", "/occupied"),
    ("ROOM", "/room"),
    ("KEEPS_OFF", "/keeps_off"),
    ("WHY_NOT", "/reason"),
];

/// What can be asked of placement.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Verb {
    /// Where a meeting would go if it was created now: what is expected of it, and how each node would fare
    Explain(Wanted),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Wanted {
    /// Whose meeting
    #[arg(long, value_name = "SLUG")]
    tenant: String,
    /// What its front end calls it
    #[arg(long, value_name = "ID")]
    meeting: String,
    /// Which of the tenant's secrets would sign
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    sub: u16,
    /// As in `create`
    #[arg(long, value_name = "ATTENDEES")]
    max_participants: Option<u32>,
    /// How many its front end expects
    #[arg(long, value_name = "ATTENDEES")]
    size_hint: Option<u32>,
}

pub(super) async fn run(access: &Access, verb: &Verb) -> Result<(), Failure> {
    let Verb::Explain(wanted) = verb;
    let mut query = Serializer::new(String::new());
    query.append_pair("meeting_id", &wanted.meeting);
    if wanted.sub > 0 {
        query.append_pair("sub_id", &wanted.sub.to_string());
    }
    for (name, number) in
        [("max_participants", wanted.max_participants), ("size_hint", wanted.size_hint)]
    {
        if let Some(number) = number {
            query.append_pair(name, &number.to_string());
        }
    }
    let path = format!("{}/placement?{}", api::path("/tenants", &wanted.tenant), query.finish());
    let explained = Api::new(access)?.get(&path).await?.body;
    if access.output != Format::Table {
        return output::value(access.output, &explained);
    }
    let text = |pointer: &str| output::text(explained.pointer(pointer));
    let expected = &explained["expected"];
    let number = |name: &str| expected[name].as_f64().unwrap_or_default();
    let goes = if explained["runs_on"].is_string() {
        format!("it runs already on {}: its create goes there", text("/runs_on"))
    } else if explained["node"].is_string() {
        format!("it would go to {}", text("/node"))
    } else {
        "no node can take it now".to_owned()
    };
    let told = format!(
        "expected: {:.1} attendees (from {}), looked at as {:.1}\n{goes}\n",
        number("attendees"),
        text("/expected/source"),
        number("cautious"),
    );
    output::write(told.as_bytes())?;
    let candidates = explained["candidates"].as_array().cloned().unwrap_or_default();
    output::list(access.output, CANDIDATES, &candidates)
}
