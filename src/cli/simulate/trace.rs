//! `portico simulate trace`: a trace of days that were, from what the store has of them.
//!
//! It reads beside whoever serves, changes nothing, and names nobody: tenants and rooms are hashed with a key that is
//! made up for each trace and kept nowhere, nodes are numbered.

mod day;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::Args;
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use self::day::{Day, Names, Span};
use crate::cli::{DONE, WRONG, check, environment};
use crate::config::{self, Settings, Storage, StoreKind};
use crate::fleet::now_ms;
use crate::store::{ChronicleReader, Embedded, Health, Older, Opening, Postgres};
use crate::trace::Writer;

/// Rows that are read at once.
const PAGE: u32 = 2_000;
/// Days that an error names.
const DAYS_TOLD: usize = 10;

#[derive(Debug, Args)]
pub(in crate::cli) struct TraceArgs {
    /// Configuration file, which names the store and the time zone
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// The first day [default: the last full day with meetings]
    #[arg(long, value_name = "YYYY-MM-DD")]
    from: Option<Date>,
    /// How many days
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=35))]
    days: u8,
    /// Where it is written to, compressed if the name ends in .gz; - is the standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
}

pub(super) fn trace(args: &TraceArgs) -> Result<u8> {
    let settings = match config::load(&args.config, &environment) {
        Ok(settings) => settings,
        Err(report) => {
            writeln!(io::stderr(), "{report}")?;
            return Ok(WRONG);
        }
    };
    if let Err(wrong) = check::supported(&args.config, &settings) {
        writeln!(io::stderr(), "{wrong}")?;
        return Ok(WRONG);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (day, span) = runtime.block_on(async {
        let reader = open(&settings).await?;
        read(reader.as_ref(), &settings, args).await
    })?;
    for warning in &day.warnings {
        log::warn!("{warning}");
    }
    write(&day, &args.output)
        .with_context(|| format!("writing the trace to {}", args.output.display()))?;
    log::info!(
        "{} meetings from {} to {} ({}), {} former ones, {} nodes; time 0 is Monday {} 00:00",
        day.meetings,
        span.from,
        span.last,
        name(&settings.placement.timezone),
        day.past,
        day.nodes,
        span.monday,
    );
    Ok(DONE)
}

async fn open(settings: &Settings) -> Result<Arc<dyn ChronicleReader>> {
    Ok(match &settings.store.kind {
        StoreKind::Embedded => Arc::new(Embedded::chronicle(&settings.data_dir)?),
        StoreKind::Postgres { url } => {
            let Storage { key, former_key, .. } = settings.store.clone();
            let health = Health::default();
            let opening = Opening { older: Older::Refuse, key, former_key, clock: None, health };
            Arc::new(Postgres::open(url, opening).await?)
        }
    })
}

async fn read(
    reader: &dyn ChronicleReader,
    settings: &Settings,
    args: &TraceArgs,
) -> Result<(Day, Span)> {
    let zone = &settings.placement.timezone;
    let now_ms = now_ms();
    let mut days: BTreeMap<Date, u32> = BTreeMap::new();
    for created_at_ms in reader.creates().await? {
        if let Some(date) = date_of(created_at_ms, zone) {
            *days.entry(date).or_default() += 1;
        }
    }
    if days.is_empty() {
        bail!(
            "no meetings are written down in the store yet: let `portico serve` run with \
             placement.chronicle.enabled for a day"
        );
    }
    let today = date_of(now_ms, zone);
    let last_full = days.keys().rev().copied().find(|date| Some(*date) < today);
    let Some(from) = args.from.or(last_full) else {
        bail!("no day with meetings is over yet; {}", remedy(&days));
    };
    let span = Span::of(from, args.days, zone, now_ms)?;
    let mut day = Day::new(span.clone(), reader.nodes().await?, Names::random(), zone.clone());
    let (mut behind, mut skipped) = ((0, String::new()), 0_usize);
    loop {
        let page = reader.meetings(&behind, span.to_ms, PAGE).await?;
        let count = page.len();
        for (place, line) in page {
            behind = place;
            match line {
                Some(line) => day.meeting(line),
                None => skipped += 1,
            }
        }
        if count < PAGE as usize {
            break;
        }
    }
    if skipped > 0 {
        let rows = check::counted(skipped, "row");
        log::warn!("passed over, as they make no sense: {rows} of the chronicle");
    }
    if !day.finish() {
        let (first, last, zone) = (span.from, span.last, name(zone));
        bail!("no meetings are written down from {first} to {last} ({zone}); {}", remedy(&days));
    }
    Ok((day, span))
}

/// Which days there are.
fn remedy(days: &BTreeMap<Date, u32>) -> String {
    let told = days.iter().rev().take(DAYS_TOLD);
    let told: Vec<_> = told.map(|(date, count)| format!("{date} ({count} created)")).collect();
    let more = match days.len().saturating_sub(DAYS_TOLD) {
        0 => String::new(),
        more => format!(" and {more} days before"),
    };
    format!("choose one of these with --from: {}{more}", told.join(", "))
}

fn date_of(at_ms: u64, zone: &TimeZone) -> Option<Date> {
    let moment = Timestamp::from_millisecond(i64::try_from(at_ms).ok()?).ok()?;
    Some(moment.to_zoned(zone.clone()).date())
}

fn name(zone: &TimeZone) -> &str {
    zone.iana_name().unwrap_or("local time")
}

fn write(day: &Day, output: &Path) -> Result<()> {
    if output == Path::new("-") {
        return rows(day, BufWriter::new(io::stdout().lock())).map(drop);
    }
    let file = BufWriter::new(File::create(output)?);
    if output.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz")) {
        rows(day, GzEncoder::new(file, Compression::default()))?.finish()?.flush()?;
    } else {
        rows(day, file)?;
    }
    Ok(())
}

fn rows<W: Write>(day: &Day, to: W) -> Result<W> {
    let mut writer = Writer::new(to)?;
    for row in &day.rows {
        writer.write(row)?;
    }
    let mut to = writer.into_inner();
    to.flush()?;
    Ok(to)
}

impl Span {
    /// These days, as far as they are over.
    fn of(from: Date, days: u8, zone: &TimeZone, now_ms: u64) -> Result<Self> {
        let begin = |date: Date| -> Result<u64> {
            let begin = date.to_zoned(zone.clone()).context("a day that cannot be told")?;
            u64::try_from(begin.timestamp().as_millisecond())
                .context("days before 1970 are not written down")
        };
        let monday = from
            .checked_sub(i64::from(from.weekday().to_monday_zero_offset()).days())
            .context("a day that cannot be told")?;
        let until =
            from.checked_add(i64::from(days).days()).context("a day that cannot be told")?;
        let from_ms = begin(from)?;
        let to_ms = begin(until)?.min(now_ms).max(from_ms);
        let last = until.yesterday().context("a day that cannot be told")?;
        Ok(Self { from, last, monday, from_ms, to_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_begins_at_local_midnight_and_ends_now_at_the_latest() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let date = |text: &str| text.parse::<Date>().unwrap();
        let now_ms = 1_795_000_000_000; // 2026-11-18, 11:26 UTC
        let span = Span::of(date("2026-11-17"), 1, &zone, now_ms).unwrap();
        assert_eq!((span.monday, span.last), (date("2026-11-16"), date("2026-11-17")));
        assert_eq!(span.to_ms - span.from_ms, 24 * 3_600_000);
        assert_eq!(date_of(span.from_ms, &zone), Some(date("2026-11-17")));
        assert_eq!(date_of(span.from_ms - 1, &zone), Some(date("2026-11-16")));
        let today = Span::of(date("2026-11-18"), 7, &zone, now_ms).unwrap();
        assert_eq!(today.to_ms, now_ms);
        let later = Span::of(date("2027-01-01"), 1, &zone, now_ms).unwrap();
        assert_eq!(later.to_ms, later.from_ms, "nothing");
        // The day on which clocks are set back has 25 hours.
        let long = Span::of(date("2026-10-25"), 1, &zone, now_ms).unwrap();
        assert_eq!(long.to_ms - long.from_ms, 25 * 3_600_000);
    }
}
