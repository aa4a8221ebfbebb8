//! What is known of how large meetings become: to see it, to reset it, to take it along, and to begin with what others
//! know.

mod sheet;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use form_urlencoded::Serializer;
use serde_json::{Value, json};

use self::sheet::{KNOWN, Line, Sheet};
use super::failure::Failure;
use super::output::{Column, Format};
use super::question::confirm;
use super::{Access, Api, api, output};
use crate::admin::{MAX_HISTORY_ROWS, check_known, check_past};
use crate::cli::check::counted;
use crate::fleet::now_ms;

const COLUMNS: &[Column] = &[
    ("TENANT", "/tenant"),
    ("SUB", "/sub_id"),
    ("ROOM", "/room"),
    ("HOUR", "/hour"),
    ("MEETINGS", "/meetings"),
    ("MEAN", "/mean"),
    ("DEVIATION", "/deviation"),
    ("LEARNED", "/learned_at"),
];
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// What can be done with the history.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Verb {
    /// List what is known: of all meetings, of tenants, of rooms, and of rooms at an hour of the week
    List {
        /// Only what is known of this tenant and its rooms
        #[arg(long, value_name = "SLUG")]
        tenant: Option<String>,
        /// Only what is known of rooms that are called so
        #[arg(long, value_name = "ID")]
        room: Option<String>,
    },
    /// Forget what is known of a tenant, of a room of it, or everything
    Reset(Resetting),
    /// Write all that is known as CSV
    Export {
        /// Where to; without it to standard output
        file: Option<PathBuf>,
    },
    /// Know what a file of `history export` says, in place of what is known of the same
    Import {
        /// Which file; - is standard input
        file: PathBuf,
    },
    /// Learn from past meetings
    #[command(
        about = "Learn from past meetings: a CSV with the columns tenant,meeting_id,created_at,attendees and, if you \
                 like, sub_id. What is seeded twice counts twice; meetings older than placement.history.keep are passed \
                 over"
    )]
    Seed {
        /// Which file; - is standard input
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Resetting {
    /// What is known of this tenant and its rooms
    #[arg(long, value_name = "SLUG", required_unless_present = "all", conflicts_with = "all")]
    tenant: Option<String>,
    /// Of this tenant only what is known of rooms that are called so
    #[arg(long, value_name = "ID", requires = "tenant")]
    room: Option<String>,
    /// Only the room of this secret
    #[arg(long, value_name = "NUMBER", requires = "room")]
    sub: Option<u16>,
    /// Everything, of all tenants
    #[arg(long)]
    all: bool,
}

pub(super) async fn run(access: &Access, verb: &Verb) -> Result<(), Failure> {
    match verb {
        Verb::List { .. } if access.output == Format::Csv => Err(Failure::wrong(
            "only statistics can be printed as CSV; `portico history export` writes all that is known as CSV",
        )),
        Verb::List { tenant, room } => {
            let query = api::query([("tenant", tenant.as_deref()), ("room", room.as_deref())]);
            let found = Api::new(access)?.all_of("/history", &query).await?;
            list(access, found)
        }
        Verb::Reset(which) => reset(access, which).await,
        Verb::Export { file } => export(access, file.as_deref()).await,
        Verb::Import { file } => import(access, file).await,
        Verb::Seed { file } => seed(access, file).await,
    }
}

fn list(access: &Access, mut rows: Vec<Value>) -> Result<(), Failure> {
    if access.output == Format::Table {
        for row in &mut rows {
            row["deviation"] = row["variance"].as_f64().unwrap_or_default().max(0.0).sqrt().into();
            if let Some(hour) = row["hour"].as_u64() {
                let day = usize::try_from(hour / 24).ok().and_then(|day| DAYS.get(day));
                row["hour"] = format!("{} {:02}:00", day.unwrap_or(&""), hour % 24).into();
            }
        }
    }
    output::list(access.output, COLUMNS, &rows)
}

async fn reset(access: &Access, which: &Resetting) -> Result<(), Failure> {
    let mut query = Serializer::new(String::new());
    let of = match (&which.tenant, &which.room, which.sub) {
        (None, ..) => {
            query.append_pair("all", "true");
            "all meetings".to_owned()
        }
        (Some(tenant), None, _) => {
            query.append_pair("tenant", tenant);
            format!("the meetings of tenant {tenant}")
        }
        (Some(tenant), Some(room), sub) => {
            query.append_pair("tenant", tenant).append_pair("room", room);
            let of = match sub {
                None => String::new(),
                Some(sub) => {
                    query.append_pair("sub_id", &sub.to_string());
                    format!(", secret {sub}")
                }
            };
            format!("room {room} of tenant {tenant}{of}")
        }
    };
    confirm(access, &format!("forget how large {of} become"))?;
    let gone = Api::new(access)?.delete_for(&format!("/history?{}", query.finish())).await?;
    eprintln!("forgotten: {}", rows(gone["rows"].as_u64().unwrap_or_default()));
    Ok(())
}

/// Rows as they come: all at once they may need much room.
async fn export(access: &Access, file: Option<&Path>) -> Result<(), Failure> {
    let api = Api::for_csv(access)?;
    let (mut csv, mut count) = (csv::Writer::from_writer(Vec::new()), 0_u64);
    csv.write_record(KNOWN.columns).map_err(Failure::failed)?;
    let mut cursor = None;
    loop {
        let query = api::query([("cursor", cursor.as_deref())]);
        let mut page = api.get(&format!("/history?limit=1000{query}")).await?.body;
        for row in api::list(&mut page, "items")? {
            let cells = KNOWN.columns.iter().map(|name| match row.get(name) {
                None | Some(Value::Null) => String::new(),
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
            });
            csv.write_record(cells).map_err(Failure::failed)?;
            count += 1;
        }
        cursor = page["next"].as_str().map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    let bytes = csv.into_inner().map_err(Failure::failed)?;
    let Some(file) = file else { return output::write(&bytes) };
    std::fs::write(file, bytes)
        .map_err(|error| Failure::failed(format_args!("{}: {error}", file.display())))?;
    eprintln!("{}: {}", file.display(), rows(count));
    Ok(())
}

async fn import(access: &Access, file: &Path) -> Result<(), Failure> {
    let now_s = now_ms() / 1000;
    let lines = Sheet::read(file, &KNOWN)?.documents(|row| check_known(row, now_s))?;
    sheet::refuse_twice(&lines)?;
    let api = Api::new(access)?;
    let mut done = 0;
    for batch in sheet::batches(&lines, MAX_HISTORY_ROWS) {
        api.post("/history", &batch.body).await.map_err(|failure| {
            let failure = failure.in_words(|told| batch.by_lines(told));
            failure.of(format_args!("{batch}, after {} that are imported", rows(done)))
        })?;
        done += batch.body["items"].as_array().map_or(0, Vec::len) as u64;
    }
    eprintln!("imported: {}", rows(done));
    Ok(())
}

async fn seed(access: &Access, file: &Path) -> Result<(), Failure> {
    let now_s = now_ms() / 1000;
    let mut rows = Sheet::read(file, &sheet::PAST)?.documents(|row| check_past(row, now_s))?;
    // Moments of other offsets are in another order as texts.
    rows.sort_by_cached_key(|line| sheet::moment(&line.document));
    let api = Api::new(access)?;
    let (mut learned, mut empty, mut old) = (0, 0, 0);
    for batch in sheet::batches(&rows, sheet::MAX_LESSONS) {
        let told = api.post("/history/meetings", &batch.body).await.map_err(|failure| {
            let unsure =
                if failure.is_unsure { "perhaps from some of the next as well; " } else { "" };
            let failure = failure.in_words(|told| batch.by_lines(told));
            let (line, of) = batch.first().map_or((0, String::new()), |first| {
                (first.number, output::text(first.document.get("created_at")))
            });
            failure.of(format_args!(
                "learned from {}; {unsure}the next one by time is line {line}, of {of}",
                many(learned, "meeting")
            ))
        })?;
        let number = |name: &str| told.body[name].as_u64().unwrap_or_default();
        learned += number("learned");
        empty += number("empty");
        old += number("old");
    }
    eprintln!("learned from {}", many(learned, "meeting"));
    for (count, why) in [(empty, "without attendees"), (old, "older than placement.history.keep")] {
        if count > 0 {
            eprintln!("passed over: {} {why}", many(count, "meeting"));
        }
    }
    if learned > 0 {
        eprintln!("do not seed the file again: it would count twice");
    }
    Ok(())
}

fn rows(count: u64) -> String {
    many(count, "row")
}

fn many(count: u64, what: &str) -> String {
    counted(usize::try_from(count).unwrap_or(usize::MAX), what)
}

/// What is sent for some rows.
fn body_of(rows: &[Line]) -> Value {
    json!({"items": rows.iter().map(|line| line.document.clone()).collect::<Vec<_>>()})
}
