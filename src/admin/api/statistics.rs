//! What tenants have used, by days and hours: JSON for programs, CSV for spreadsheets.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::caller::Caller;
use super::listing::{Listing, Page};
use super::problem::{Problem, Refused};
use super::request::Query;
use super::{Desk, time};
use crate::model::{Kind, Slug};
use crate::store::{Of, Per, Usage, Wanted};

/// 250 tenants for 400 days: some 5 MB.
const MAX_CSV_ROWS: u32 = 100_000;

pub(super) fn routes() -> OpenApiRouter<Desk> {
    OpenApiRouter::new().routes(routes!(list_statistics))
}

/// How long a row is.
#[derive(Debug, Default, Clone, Copy, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum By {
    #[default]
    Day,
    Hour,
}

impl From<By> for Per {
    fn from(by: By) -> Self {
        match by {
            By::Day => Self::Day,
            By::Hour => Self::Hour,
        }
    }
}

/// Which statistics.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Asked {
    /// Only this tenant's.
    tenant: Option<String>,
    /// The first day (2026-11-21) or moment (RFC 3339). Default: all that are kept.
    from: Option<String>,
    /// The last day, which is included, or moment (RFC 3339). Default: now.
    to: Option<String>,
    /// Days or hours, in UTC. Hours are kept for 35 days. Default: day.
    by: Option<By>,
    /// How many at most. Default 100. CSV has no pages.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// What a tenant has used in a day or an hour. Where nothing ran there is none.
#[derive(Debug, Serialize, ToSchema)]
struct UsageDocument {
    /// Who.
    tenant: String,
    /// When it begins (RFC 3339, UTC).
    begins: Value,
    /// day or hour.
    by: By,
    /// Meetings begun.
    meetings: u64,
    /// Minutes of all attendees together, in main meetings.
    attendee_minutes: f64,
    /// The most meetings at once, looked at every 15 seconds.
    peak_meetings: u32,
    /// The most attendees at once.
    peak_attendees: u32,
}

impl UsageDocument {
    #[expect(clippy::cast_precision_loss, reason = "exact for 285,000 years")]
    fn new(usage: &Usage, by: By) -> Self {
        let tenant = match &usage.of {
            Of::Tenant(slug) => slug.to_string(),
            Of::Pool => String::new(),
        };
        // Hundredths are less than a second.
        let minutes = usage.attendee_ms as f64 / 60_000.0;
        Self {
            tenant,
            begins: time(usage.begins_at_s * 1000),
            by,
            meetings: usage.meetings,
            attendee_minutes: (minutes * 100.0).round() / 100.0,
            peak_meetings: usage.peak_meetings,
            peak_attendees: usage.peak_attendees,
        }
    }
}

/// What tenants have used, by days or hours, the earliest first. A day that is not over has what was used so far.
/// With `Accept: text/csv` all rows come at once, as CSV with a line of names.
#[utoipa::path(get, path = "/statistics", tag = "statistics", security(("token" = [])), params(Asked),
    responses((status = 200, description = "What was used", content(
        (Listing<UsageDocument> = "application/json"), (String = "text/csv"))), Refused))]
async fn list_statistics(
    State(desk): State<Desk>,
    caller: Caller,
    headers: HeaderMap,
    Query(asked): Query<Asked>,
) -> Result<Response, Problem> {
    let own = caller.may_read_some()?;
    if let Some(tenant) = &asked.tenant {
        caller.may_read_of(tenant)?;
    }
    let tenant = own.or(asked.tenant.as_deref()).map(|slug| {
        let slug: Result<Slug, _> = slug.parse();
        slug.map_err(|odd| wrong("tenant", &format!("is not a tenant's slug: {odd}")))
    });
    let by = asked.by.unwrap_or_default();
    let (limit, after) = Page::new(asked.limit, asked.cursor).read()?;
    let is_first = after.is_none();
    let after = after.map(|after| {
        let after = after
            .split_once(' ')
            .and_then(|(at, tenant)| Some((at.parse().ok()?, tenant.to_owned())));
        after.ok_or_else(|| wrong("cursor", "is not what `next` of a page has said"))
    });
    let mut wanted = Wanted {
        per: by.into(),
        of: tenant.transpose()?.map(Of::Tenant),
        from_s: asked.from.as_ref().map_or(Ok(0), |from| moment("from", from, false))?,
        before_s: asked.to.as_ref().map_or(Ok(u64::MAX), |to| moment("to", to, true))?,
        after: after.transpose()?,
        // One more tells whether there is another page.
        limit: u32::try_from(limit + 1).unwrap_or(u32::MAX),
    };
    if asked.from.is_some() && asked.to.is_some() && wanted.from_s >= wanted.before_s {
        return Err(wrong("from", "lies after `to`: exchange them, or leave one out"));
    }
    // Whoever is asked of in vain may not be there at all. Days are kept of all that hours are, and longer.
    let alone = Wanted {
        per: Per::Day,
        from_s: 0,
        before_s: u64::MAX,
        after: None,
        limit: 1,
        ..wanted.clone()
    };
    let known = async |rows: &[Usage]| {
        let asked =
            asked.tenant.as_deref().filter(|_| rows.is_empty() && is_first && own.is_none());
        let is_left = async { Ok(!desk.store.usage(&alone).await?.is_empty()) };
        desk.must_have_been_there(Kind::Tenant, "tenant", asked, is_left).await
    };
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    if accept.is_some_and(|accept| accept.contains("text/csv")) {
        (wanted.limit, wanted.after) = (MAX_CSV_ROWS + 1, None);
        let rows = desk.store.usage(&wanted).await?;
        known(&rows).await?;
        if rows.len() > MAX_CSV_ROWS as usize {
            let detail = format!(
                "there are more than {MAX_CSV_ROWS} rows: ask for one tenant, or for less time"
            );
            return Err(wrong("from", &detail));
        }
        let headers = [(header::CONTENT_TYPE, "text/csv; charset=utf-8; header=present")];
        return Ok((headers, csv_of(&rows, by)?).into_response());
    }
    let mut rows = desk.store.usage(&wanted).await?;
    known(&rows).await?;
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    let items: Vec<_> = rows.iter().map(|usage| UsageDocument::new(usage, by)).collect();
    let last = rows.last().zip(items.last()).filter(|_| has_more);
    let last = last.map(|(usage, shown)| format!("{} {}", usage.begins_at_s, shown.tenant));
    Ok(Json(Listing::new(items, last)).into_response())
}

fn csv_of(rows: &[Usage], by: By) -> Result<Vec<u8>, Problem> {
    let mut csv = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    let lost = |_error| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the statistics cannot be written as CSV")
    };
    // Also where there is no row.
    let names = [
        "tenant",
        "begins",
        "by",
        "meetings",
        "attendee_minutes",
        "peak_meetings",
        "peak_attendees",
    ];
    csv.write_record(names).map_err(lost)?;
    for usage in rows {
        csv.serialize(UsageDocument::new(usage, by)).map_err(lost)?;
    }
    csv.into_inner().map_err(|error| lost(error.into_error().into()))
}

fn wrong(field: &str, detail: &str) -> Problem {
    Problem::fields([(field.to_owned(), detail.to_owned())])
}

/// A day or a moment, in seconds since 1970; of the last one, what comes right after it.
fn moment(field: &str, text: &str, is_last: bool) -> Result<u64, Problem> {
    let odd = || wrong(field, "is neither a day, such as 2026-11-21, nor a moment of RFC 3339");
    let at = if let Ok(moment) = text.parse::<Timestamp>() {
        moment.as_second().saturating_add(i64::from(is_last))
    } else {
        let day: Date = text.parse().map_err(|_no_date| odd())?;
        let day = if is_last { day.tomorrow().map_err(|_end_of_time| odd())? } else { day };
        day.to_zoned(TimeZone::UTC).map_err(|_out_of_range| odd())?.timestamp().as_second()
    };
    Ok(u64::try_from(at).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_whole_and_moments_exact() {
        for (text, first, after_last) in [
            ("2026-11-21", Some(1_795_219_200), Some(1_795_305_600)),
            ("2026-11-21T00:00:00Z", Some(1_795_219_200), Some(1_795_219_201)),
            ("2026-11-21T01:00:00+01:00", Some(1_795_219_200), Some(1_795_219_201)),
            ("1969-01-01", Some(0), Some(0)),
            ("9999-12-30", Some(253_402_128_000), None),
            ("yesterday", None, None),
            ("", None, None),
        ] {
            assert_eq!(moment("from", text, false).ok(), first, "{text}");
            assert_eq!(moment("to", text, true).ok(), after_last, "{text}");
        }
    }
}
