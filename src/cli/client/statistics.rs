//! What tenants have used.

use clap::Args;
use form_urlencoded::Serializer;
use serde_json::Value;

use super::failure::Failure;
use super::output::Column;
use super::{Access, Api, api, output};

const COLUMNS: &[Column] = &[
    ("TENANT", "/tenant"),
    ("BEGINS", "/begins"),
    ("MEETINGS", "/meetings"),
    ("ATTENDEE MINUTES", "/attendee_minutes"),
    ("PEAK MEETINGS", "/peak_meetings"),
    ("PEAK ATTENDEES", "/peak_attendees"),
];

/// Which statistics.
#[derive(Debug, Args)]
pub(in crate::cli) struct Which {
    /// Only this tenant's
    #[arg(long, value_name = "SLUG")]
    tenant: Option<String>,
    /// The first day (2026-11-21) or moment (RFC 3339)
    #[arg(long, value_name = "WHEN")]
    from: Option<String>,
    /// The last day or moment
    #[arg(long, value_name = "WHEN")]
    to: Option<String>,
    /// Rows of a day or of an hour, in UTC
    #[arg(long, default_value = "day", value_parser = ["day", "hour"])]
    by: String,
}

pub(super) async fn run(access: &Access, which: &Which) -> Result<(), Failure> {
    let api = Api::for_csv(access)?;
    let (mut all, mut cursor) = (Vec::new(), None);
    loop {
        let mut query = Serializer::new(String::new());
        query.append_pair("limit", "1000").append_pair("by", &which.by);
        for (name, value) in [
            ("tenant", &which.tenant),
            ("from", &which.from),
            ("to", &which.to),
            ("cursor", &cursor),
        ] {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        let mut page = api.get(&format!("/statistics?{}", query.finish())).await?.body;
        all.extend(api::list(&mut page, "items")?);
        cursor = page["next"].as_str().map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    if access.output == output::Format::Csv {
        return csv_of(&all);
    }
    output::list(access.output, COLUMNS, &all)
}

fn csv_of(rows: &[Value]) -> Result<(), Failure> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.write_record(COLUMNS.iter().map(|(_, at)| at.trim_start_matches('/')))
        .map_err(Failure::failed)?;
    for row in rows {
        let cells = COLUMNS.iter().map(|(_, at)| match row.pointer(at) {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        });
        csv.write_record(cells).map_err(Failure::failed)?;
    }
    output::write(&csv.into_inner().map_err(Failure::failed)?)
}
