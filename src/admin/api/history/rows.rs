//! Rows of the history and meetings of the past, as they are told and taken.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::super::{objects, time};
use crate::model::{
    HistoryKey, HistoryRow, Hour, MOST_ATTENDEES, MeetingKey, Moments, Past, Peak, Scope, Slug,
    SubId,
};

/// What a request may have.
pub const MAX_ROWS: usize = 1000;
/// Front ends' names of rooms have 256 characters at most.
const MAX_ROOM_BYTES: usize = 1024;
/// More than a room can hold in a thousand years.
const MAX_MEETINGS: u32 = 1_000_000_000;
/// Clocks differ, but not by so much.
const AHEAD_S: u64 = 24 * 60 * 60;

/// A field of a row, and what is wrong with it.
type Wrong = (String, String);

/// How large meetings of one kind become.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct KnownDocument {
    /// Whose meetings. Without it: all meetings.
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<String>,
    /// Which of its secrets' rooms; 0 is the main one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 999)]
    sub_id: Option<u16>,
    /// What the front end calls the room. Without it: all meetings of the tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    room: Option<String>,
    /// The hour of the week, in local time: 0 begins on Monday at 00:00, 167 is the last. Without it: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 167)]
    hour: Option<u8>,
    /// From how many meetings it is known.
    #[schema(minimum = 1)]
    meetings: u32,
    /// Attendees that were in them at their fullest; the latest count most.
    #[schema(minimum = 0, maximum = 100_000)]
    mean: f64,
    /// How much they differ: the square of the standard deviation.
    #[schema(minimum = 0)]
    variance: f64,
    /// When it was last learned (RFC 3339).
    #[schema(format = DateTime)]
    learned_at: String,
}

/// A meeting that is over.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PastDocument {
    /// Whose it was.
    tenant: String,
    /// Which of its secrets has created it. Default: 0, the main one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 999)]
    sub_id: Option<u16>,
    /// What the front end called it.
    meeting_id: String,
    /// When it was created (RFC 3339).
    #[schema(format = DateTime)]
    created_at: String,
    /// How many were in it at its fullest.
    #[schema(maximum = 100_000)]
    attendees: u32,
}

impl From<&HistoryRow> for KnownDocument {
    fn from(row: &HistoryRow) -> Self {
        let Moments { seen, mean, variance } = row.moments;
        let learned_at = time(row.learned_at_s.saturating_mul(1000));
        Self {
            tenant: row.key.tenant().map(ToString::to_string),
            sub_id: row.key.room().map(|(sub, _)| sub.get()),
            room: row.key.room().map(|(_, room)| room.to_owned()),
            hour: row.key.hour().map(Hour::number),
            meetings: seen,
            mean: mean.into(),
            variance: variance.into(),
            learned_at: learned_at.as_str().unwrap_or_default().to_owned(),
        }
    }
}

/// Rows as they are kept, or all that is wrong with them. No two may be about the same.
pub(super) fn known(
    documents: &[KnownDocument],
    now_s: u64,
) -> Result<Vec<HistoryRow>, Vec<Wrong>> {
    let mut about: HashMap<HistoryKey, usize> = HashMap::new();
    each(documents, |index, document| {
        let row = document.read(now_s)?;
        match about.insert(row.key.clone(), index) {
            None => Ok(row),
            Some(first) => {
                Err(wrong("", format!("is about the same as items[{first}]: keep one of them")))
            }
        }
    })
}

/// Meetings as they are learned from, or all that is wrong with them.
pub(super) fn past(
    documents: &[PastDocument],
    now_s: u64,
    hour_of: impl Fn(u64) -> Hour,
    is_tenant: impl Fn(&Slug) -> bool,
) -> Result<Vec<Past>, Vec<Wrong>> {
    each(documents, |_, document| {
        let past = document.read(now_s, &hour_of)?;
        let tenant = &past.peak.key.scope.tenant;
        if is_tenant(tenant) {
            return Ok(past);
        }
        Err(wrong("tenant", format!("is {:?}, which is not there", tenant.as_str())))
    })
}

fn each<D, R>(
    documents: &[D],
    mut read: impl FnMut(usize, &D) -> Result<R, Wrong>,
) -> Result<Vec<R>, Vec<Wrong>> {
    let count = documents.len();
    if count > MAX_ROWS {
        let detail = format!("has {count} rows: send at most {MAX_ROWS} at once");
        return Err(vec![("items".to_owned(), detail)]);
    }
    let (mut rows, mut mistakes) = (Vec::with_capacity(count), Vec::new());
    for (index, document) in documents.iter().enumerate() {
        match read(index, document) {
            Ok(row) => rows.push(row),
            Err((field, detail)) => {
                let dot = if field.is_empty() { "" } else { "." };
                mistakes.push((format!("items[{index}]{dot}{field}"), detail));
            }
        }
    }
    if mistakes.is_empty() { Ok(rows) } else { Err(mistakes) }
}

impl KnownDocument {
    fn read(&self, now_s: u64) -> Result<HistoryRow, Wrong> {
        let moments = self.moments()?;
        let key = self.key()?;
        // A clock that was ahead has stamped it, and it was exported so: it was learned before now.
        let learned_at_s = moment("learned_at", &self.learned_at)?.min(now_s);
        Ok(HistoryRow { key, moments, learned_at_s })
    }

    fn key(&self) -> Result<HistoryKey, Wrong> {
        let hour = self.hour.map(|hour| {
            let odd = || wrong("hour", format!("is {hour}; an hour of the week is 0 to 167"));
            Hour::new(hour).ok_or_else(odd)
        });
        let hour = hour.transpose()?;
        let Some(room) = &self.room else {
            for (field, is_there) in [("sub_id", self.sub_id.is_some()), ("hour", hour.is_some())] {
                if is_there {
                    return Err(wrong(field, "goes with a room alone: leave it out".to_owned()));
                }
            }
            return Ok(match &self.tenant {
                None => HistoryKey::Everywhere,
                Some(tenant) => HistoryKey::Tenant(slug(tenant)?),
            });
        };
        let missing = || wrong("tenant", "is missing: say whose room it is".to_owned());
        let tenant = self.tenant.as_ref().ok_or_else(missing)?;
        let key = meeting("room", tenant, self.sub_id, room)?;
        Ok(match hour {
            None => HistoryKey::Room(key),
            Some(hour) => HistoryKey::RoomAtHour(key, hour),
        })
    }

    #[expect(clippy::cast_possible_truncation, reason = "single precision is what is worked with")]
    fn moments(&self) -> Result<Moments, Wrong> {
        if !(1..=MAX_MEETINGS).contains(&self.meetings) {
            let detail = format!("is {}; it has to be 1 to {MAX_MEETINGS}", self.meetings);
            return Err(wrong("meetings", detail));
        }
        let most = f64::from(MOST_ATTENDEES);
        for (field, number, most) in
            [("mean", self.mean, most), ("variance", self.variance, most * most)]
        {
            if !(0.0..=most).contains(&number) {
                return Err(wrong(field, format!("is {number}; it has to be 0 to {most}")));
            }
        }
        let (mean, variance) = (self.mean as f32, self.variance as f32);
        Ok(Moments { seen: self.meetings, mean, variance })
    }
}

impl PastDocument {
    fn read(&self, now_s: u64, hour_of: impl Fn(u64) -> Hour) -> Result<Past, Wrong> {
        let key = meeting("meeting_id", &self.tenant, self.sub_id, &self.meeting_id)?;
        let at_s = moment("created_at", &self.created_at)?;
        if at_s > now_s.saturating_add(AHEAD_S) {
            return Err(wrong("created_at", "lies in the future".to_owned()));
        }
        let attendees = self.attendees;
        if attendees > MOST_ATTENDEES {
            let detail = format!("is {attendees}; it has to be 0 to {MOST_ATTENDEES}");
            return Err(wrong("attendees", detail));
        }
        let hour = hour_of(at_s.saturating_mul(1000));
        Ok(Past { peak: Peak { key, hour, attendees }, at_s })
    }
}

fn meeting(field: &str, tenant: &str, sub: Option<u16>, id: &str) -> Result<MeetingKey, Wrong> {
    let number = sub.unwrap_or_default();
    let odd = || wrong("sub_id", format!("is {number}; a secret has a number of 0 to 999"));
    let scope = Scope { tenant: slug(tenant)?, sub: SubId::new(number).ok_or_else(odd)? };
    if !(1..=MAX_ROOM_BYTES).contains(&id.len()) {
        let detail = format!("has {} bytes; it has to have 1 to {MAX_ROOM_BYTES}", id.len());
        return Err(wrong(field, detail));
    }
    Ok(MeetingKey { scope, id: id.to_owned() })
}

fn slug(text: &str) -> Result<Slug, Wrong> {
    text.parse().map_err(|odd| wrong("tenant", format!("is not a tenant's slug: it {odd}")))
}

/// Seconds since 1970.
fn moment(field: &str, text: &str) -> Result<u64, Wrong> {
    let odd =
        |why: &str| wrong(field, format!("{why}; write it as 2026-11-21T09:00:00Z (RFC 3339)"));
    let at: Timestamp = text.parse().map_err(|_no_time| odd("is no moment"))?;
    u64::try_from(at.as_second()).map_err(|_before| odd("lies before 1970"))
}

fn wrong(field: &str, detail: String) -> Wrong {
    (field.to_owned(), detail)
}

/// What the API would find wrong with a row, for whoever wants to know before it is sent: the field, and what is
/// wrong with it.
///
/// # Errors
/// The first mistake.
pub fn check_known(document: &Value, now_s: u64) -> Result<(), (String, String)> {
    let document: KnownDocument = typed(document)?;
    document.read(now_s).map(drop)
}

/// The same of a meeting of the past.
///
/// # Errors
/// The first mistake.
pub fn check_past(document: &Value, now_s: u64) -> Result<(), (String, String)> {
    let document: PastDocument = typed(document)?;
    // Whatever hour it is, it is one.
    let hour = |_| Hour::new(0).unwrap_or_else(|| Hour::of(0, &jiff::tz::TimeZone::UTC));
    document.read(now_s, hour).map(drop)
}

fn typed<D: serde::de::DeserializeOwned + Serialize>(document: &Value) -> Result<D, Wrong> {
    objects::typed(document).map_err(|problem| {
        let first = problem.wrong_fields().next();
        first.map(|(field, detail)| wrong(field, detail.to_owned())).unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use serde_json::json;

    use super::*;

    const NOW_S: u64 = 1_795_000_000;

    fn row() -> Value {
        json!({"tenant": "acme", "sub_id": 5, "room": "m", "hour": 9, "meetings": 3, "mean": 20.1,
            "variance": 4.0, "learned_at": "2026-11-01T00:00:00Z"})
    }

    #[test]
    fn a_row_is_taken_exactly_as_it_is_told() {
        let key = MeetingKey { scope: Scope::parse("acme-5").unwrap(), id: "\0 odd\n".to_owned() };
        let moments = Moments { seen: 7, mean: 1.0 / 3.0, variance: 1e10 };
        for key in [
            HistoryKey::Everywhere,
            HistoryKey::Tenant("acme".parse().unwrap()),
            HistoryKey::Room(key.clone()),
            HistoryKey::RoomAtHour(key, Hour::new(167).unwrap()),
        ] {
            let row = HistoryRow { key, moments, learned_at_s: NOW_S };
            let told = serde_json::to_string(&KnownDocument::from(&row)).unwrap();
            let read: KnownDocument = serde_json::from_str(&told).unwrap();
            assert_eq!(known(&[read], NOW_S).unwrap(), [row], "{told}");
        }
    }

    #[test]
    fn what_cannot_be_right_is_told_by_its_field() {
        check_known(&row(), NOW_S).unwrap();
        for (field, value, named) in [
            ("tenant", json!("No Slug"), "tenant"),
            ("tenant", json!("acme-5"), "tenant"),
            ("tenant", json!(null), "tenant"),
            ("sub_id", json!(1000), "sub_id"),
            ("room", json!(""), "room"),
            ("room", json!("x".repeat(1025)), "room"),
            ("room", json!(null), "sub_id"),
            ("hour", json!(168), "hour"),
            ("hour", json!(-1), "hour"),
            ("meetings", json!(0), "meetings"),
            ("meetings", json!(1_000_000_001), "meetings"),
            ("mean", json!(-0.5), "mean"),
            ("mean", json!(100_000.5), "mean"),
            ("mean", json!("NaN"), "mean"),
            ("mean", json!(null), "mean"),
            ("variance", json!(-1), "variance"),
            ("variance", json!(1e11), "variance"),
            ("learned_at", json!("yesterday"), "learned_at"),
            ("deviation", json!(1), "deviation"),
        ] {
            let mut row = row();
            row[field] = value;
            assert_eq!(check_known(&row, NOW_S).unwrap_err().0, named, "{row}");
        }
        let past = json!({"tenant": "acme", "meeting_id": "m", "created_at": "2026-11-01T09:00:00+01:00",
            "attendees": 7});
        check_past(&past, NOW_S).unwrap();
        for (field, value) in [
            ("tenant", json!("")),
            ("sub_id", json!(1000)),
            ("meeting_id", json!("")),
            ("created_at", json!("2026-11-01")),
            ("created_at", json!("1969-11-01T00:00:00Z")),
            ("created_at", json!("2100-01-01T00:00:00Z")),
            ("attendees", json!(-1)),
            ("attendees", json!(100_001)),
            ("peak", json!(1)),
        ] {
            let mut past = past.clone();
            past[field] = value;
            assert_eq!(check_past(&past, NOW_S).unwrap_err().0, field, "{past}");
        }
    }

    #[test]
    fn a_row_of_a_clock_that_was_ahead_was_learned_by_now() {
        let mut row = row();
        row["learned_at"] = json!("2100-01-01T00:00:00Z");
        let read: KnownDocument = serde_json::from_value(row).unwrap();
        assert_eq!(known(&[read], NOW_S).unwrap()[0].learned_at_s, NOW_S);
    }

    #[test]
    fn rows_are_numbered_and_not_told_twice() {
        let read = |row: Value| serde_json::from_value::<KnownDocument>(row).unwrap();
        let mut other = row();
        other["hour"] = json!(10);
        let mut odd = row();
        odd["mean"] = json!(-1);
        let told = known(&[read(row()), read(odd), read(other), read(row())], NOW_S).unwrap_err();
        let fields: Vec<_> = told.iter().map(|(field, _)| field.as_str()).collect();
        assert_eq!(fields, ["items[1].mean", "items[3]"]);
        let many: Vec<_> = (0..=MAX_ROWS).map(|_| read(row())).collect();
        assert_eq!(known(&many, NOW_S).unwrap_err()[0].0, "items");
    }

    #[test]
    fn a_past_meeting_is_of_the_hour_that_it_was_for() {
        let document = json!({"tenant": "acme", "meeting_id": "m", "created_at": "2026-11-02T07:55:00Z",
            "attendees": 7});
        let document: PastDocument = serde_json::from_value(document).unwrap();
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let read = past(&[document], NOW_S, |at_ms| Hour::of(at_ms, &berlin), |_| true).unwrap();
        assert_eq!(read[0].peak.hour.number(), 9);
    }
}
