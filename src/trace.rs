//! Days of meetings, as a load balancer sees them: the rows of a trace, read and written.
//!
//! CSV with the header `time_ms,event,tenant,meeting_id,user,node,a,b`, in the order of time. Time 0 is a Monday at
//! 00:00, local time. What drives a placement program over a pipe sends the same rows without a header.

mod course;
mod packed;
pub mod score;
mod write;

use std::io::Read;

pub use course::{Course, Misplaced};
pub use packed::unpacked;
pub use write::Writer;

use crate::model::MOST_ATTENDEES;

/// The header of a trace.
pub const HEADER: [&str; 8] =
    ["time_ms", "event", "tenant", "meeting_id", "user", "node", "a", "b"];
/// What may stand in the second column.
const EVENTS: &str = "past, node_up, node_down, create, join, leave, end or count";

/// Some 100 years: no trace is of so long a time, and nothing overflows within it.
const FARTHEST_MS: i64 = 100 * 366 * 24 * 3_600_000;

/// What has happened.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// A former meeting: how many were in it at its fullest, and how long it took, in seconds.
    Past {
        /// Its room.
        room: Room,
        /// Attendees.
        peak: u32,
        /// In seconds.
        duration_s: u64,
    },
    /// A node is there, and empty. The first time it has a weight.
    NodeUp {
        /// Which one.
        node: String,
        /// How many times the usual one it carries.
        weight: Option<f64>,
    },
    /// A node is gone, with all its meetings.
    NodeDown {
        /// Which one.
        node: String,
    },
    /// A meeting is created.
    Create {
        /// Its room.
        room: Room,
        /// `maxParticipants`, if it is given.
        max_participants: Option<u32>,
        /// What the front end expects, if it says so.
        hint: Option<u32>,
    },
    /// Somebody joins.
    Join {
        /// Where.
        room: Room,
        /// Who: a number in this meeting.
        user: String,
        /// After how many ms their node counts them; nobody knows while it happens, and some never arrive.
        counted_after_ms: Option<i64>,
    },
    /// Somebody has left.
    Leave {
        /// What.
        room: Room,
        /// Who.
        user: String,
    },
    /// A meeting is over.
    End {
        /// Its room.
        room: Room,
    },
    /// A poll has counted so many attendees.
    Count {
        /// Of this meeting.
        room: Room,
        /// On this node.
        node: String,
        /// So many.
        attendees: u32,
    },
}

/// Whose meeting, and what its front end calls it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Room {
    /// The tenant.
    pub tenant: String,
    /// `meetingID`.
    pub meeting_id: String,
}

/// Something that has happened, and when.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Milliseconds since the Monday; of what is past below 0.
    pub at_ms: i64,
    /// What it was.
    pub what: What,
}

/// Why a trace cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is nothing at all.
    #[error("line 1: there is nothing; a trace begins with {expected:?}", expected = HEADER.join(","))]
    Empty,
    /// It breaks off, or is no text.
    #[error("line {line}: it breaks off, or is no text")]
    Unreadable {
        /// The one behind the last that could be read.
        line: u64,
        /// Why.
        source: csv::Error,
    },
    /// Another header than that of this version.
    #[error("line {line}: the header is {found:?}; a trace of version 1 begins with {expected:?}", expected = HEADER.join(","))]
    Header {
        /// Where.
        line: u64,
        /// What stands there.
        found: String,
    },
    /// Too few columns, or too many.
    #[error("line {line}: {found} columns; there have to be 8: {expected}", expected = HEADER.join(","))]
    Columns {
        /// Where.
        line: u64,
        /// How many.
        found: usize,
    },
    /// Nothing that can happen.
    #[error("line {line}: unknown event {found:?}; it has to be {EVENTS}")]
    Event {
        /// Where.
        line: u64,
        /// What stands there.
        found: String,
    },
    /// A column holds something else.
    #[error("line {line}: {column} is {found:?}; {expected}")]
    Field {
        /// Where.
        line: u64,
        /// Which one.
        column: &'static str,
        /// What stands there.
        found: String,
        /// What has to.
        expected: &'static str,
    },
    /// Earlier than the row before.
    #[error(
        "line {line}: time goes back from {before} to {found}; rows have to be in the order of time"
    )]
    TimeGoesBack {
        /// Where.
        line: u64,
        /// The time of the row before.
        before: i64,
        /// The time of this one.
        found: i64,
    },
}

/// Reads the rows of a trace, with its header or without, as they come.
pub struct Rows<R> {
    csv: csv::Reader<R>,
    record: csv::StringRecord,
    before: i64,
    is_first: bool,
}

impl<R: Read> Rows<R> {
    /// Those of this text.
    pub fn new(from: R) -> Self {
        let csv = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .quoting(false)
            .from_reader(from);
        Self { csv, record: csv::StringRecord::new(), before: i64::MIN, is_first: true }
    }

    /// The next row; `None` at the end.
    ///
    /// # Errors
    /// Where the line is none, with its number and what was expected.
    pub fn read(&mut self) -> Result<Option<Row>, Error> {
        loop {
            let is_first = std::mem::take(&mut self.is_first);
            let line = self.csv.position().line();
            let is_any = self.csv.read_record(&mut self.record);
            if !is_any.map_err(|source| Error::Unreadable { line, source })? {
                return if is_first { Err(Error::Empty) } else { Ok(None) };
            }
            let line = self.record.position().map_or(0, csv::Position::line);
            let fields = Fields { line, record: &self.record };
            if is_first && fields.text(0).parse::<i64>().is_err() {
                if self.record.iter().eq(HEADER) {
                    continue;
                }
                let found = self.record.iter().collect::<Vec<_>>().join(",");
                return Err(Error::Header { line, found });
            }
            let row = fields.row()?;
            if row.at_ms < self.before {
                return Err(Error::TimeGoesBack { line, before: self.before, found: row.at_ms });
            }
            self.before = row.at_ms;
            return Ok(Some(row));
        }
    }

    /// The number of the line that was read last.
    pub fn line(&self) -> u64 {
        self.record.position().map_or(0, csv::Position::line)
    }
}

struct Fields<'a> {
    line: u64,
    record: &'a csv::StringRecord,
}

impl Fields<'_> {
    fn row(&self) -> Result<Row, Error> {
        let (line, found) = (self.line, self.record.len());
        if found != HEADER.len() {
            return Err(Error::Columns { line, found });
        }
        let at_ms = self.time(
            0,
            "it has to be a whole number of milliseconds, 100 years before or behind 0 at most",
        )?;
        let what = match self.text(1) {
            "past" => What::Past {
                room: self.room()?,
                peak: self.attendees(6)?,
                duration_s: self.number(7, "it has to be a number of seconds")?,
            },
            "node_up" => What::NodeUp { node: self.node()?, weight: self.weight()? },
            "node_down" => What::NodeDown { node: self.node()? },
            "create" => What::Create {
                room: self.room()?,
                max_participants: Some(self.attendees(6)?).filter(|max| *max > 0),
                hint: Some(self.attendees(7)?).filter(|hint| *hint > 0),
            },
            "join" => What::Join {
                room: self.room()?,
                user: self.some(4)?.to_owned(),
                counted_after_ms: match self.text(6) {
                    "" => None,
                    _ => Some(self.time(
                        6,
                        "it has to be a number of milliseconds, 100 years at most, or nothing",
                    )?),
                },
            },
            "leave" => What::Leave { room: self.room()?, user: self.some(4)?.to_owned() },
            "end" => What::End { room: self.room()? },
            "count" => What::Count {
                room: self.room()?,
                node: self.node()?,
                attendees: self.attendees(6)?,
            },
            _ => return Err(Error::Event { line, found: self.text(1).to_owned() }),
        };
        Ok(Row { at_ms, what })
    }

    fn text(&self, column: usize) -> &str {
        self.record.get(column).unwrap_or_default()
    }

    fn wrong(&self, column: usize, expected: &'static str) -> Error {
        let found = self.text(column).to_owned();
        Error::Field { line: self.line, column: HEADER[column], found, expected }
    }

    fn some(&self, column: usize) -> Result<&str, Error> {
        Some(self.text(column))
            .filter(|text| !text.is_empty())
            .ok_or_else(|| self.wrong(column, "it must not be empty here"))
    }

    fn number<T: std::str::FromStr>(
        &self,
        column: usize,
        expected: &'static str,
    ) -> Result<T, Error> {
        self.text(column).parse().map_err(|_no_number| self.wrong(column, expected))
    }

    fn attendees(&self, column: usize) -> Result<u32, Error> {
        let expected = "it has to be a number of attendees, from 0 to 100000";
        let attendees: u32 = self.number(column, expected)?;
        let is_sane = attendees <= MOST_ATTENDEES;
        is_sane.then_some(attendees).ok_or_else(|| self.wrong(column, expected))
    }

    fn time(&self, column: usize, expected: &'static str) -> Result<i64, Error> {
        let time: i64 = self.number(column, expected)?;
        let is_sane = (-FARTHEST_MS..=FARTHEST_MS).contains(&time);
        is_sane.then_some(time).ok_or_else(|| self.wrong(column, expected))
    }

    fn room(&self) -> Result<Room, Error> {
        Ok(Room { tenant: self.some(2)?.to_owned(), meeting_id: self.some(3)?.to_owned() })
    }

    fn node(&self) -> Result<String, Error> {
        self.some(5).map(str::to_owned)
    }

    fn weight(&self) -> Result<Option<f64>, Error> {
        let expected =
            "it has to be a weight above 0 and up to 1000, or nothing for a node that is back";
        if self.text(6).is_empty() {
            return Ok(None);
        }
        let weight: f64 = self.number(6, expected)?;
        let is_sane = weight > 0.0 && weight <= 1000.0;
        if is_sane { Ok(Some(weight)) } else { Err(self.wrong(6, expected)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Row>, Error> {
        let mut rows = Rows::new(text.as_bytes());
        let mut all = Vec::new();
        while let Some(row) = rows.read()? {
            all.push(row);
        }
        Ok(all)
    }

    #[test]
    fn a_trace_is_read_with_its_header_or_without() {
        let rows = "-5,past,t,m,,,31,2880\n0,node_up,,,,n0,2,\n1,create,t,m,,,0,40\n1,join,t,m,7,,,2\n\
                    2,count,t,m,,n0,3,\n3,leave,t,m,7,,,\n3,end,t,m,,,,\n4,node_down,,,,n0,,\n";
        let with = format!("{}\n{rows}", HEADER.join(","));
        let read_rows = read(rows).unwrap();
        assert_eq!(read(&with).unwrap(), read_rows);
        let room = Room { tenant: "t".to_owned(), meeting_id: "m".to_owned() };
        assert_eq!(read_rows.len(), 8);
        assert_eq!(
            read_rows[2].what,
            What::Create { room: room.clone(), max_participants: None, hint: Some(40) }
        );
        assert_eq!(read_rows[4].what, What::Count { room, node: "n0".to_owned(), attendees: 3 });
    }

    #[test]
    fn a_trace_may_have_a_header_alone_but_not_nothing() {
        assert_eq!(read(&format!("{}\n", HEADER.join(","))).unwrap(), []);
        for nothing in ["", "\n\r\n\n"] {
            let told = read(nothing).unwrap_err().to_string();
            let expected = "line 1: there is nothing; a trace begins with \"time_ms,event,tenant,meeting_id,user,node,a,b\"";
            assert_eq!(told, expected);
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_what_was_expected() {
        for (text, told) in [
            (
                "time,event\n",
                "line 1: the header is \"time,event\"; a trace of version 1 begins with \"time_ms,event,tenant,meeting_id,user,node,a,b\"",
            ),
            (
                "0,node_up,,,,n,1,\n0,party,t,m,,,,\n",
                "line 2: unknown event \"party\"; it has to be past, node_up, node_down, create, join, leave, end or count",
            ),
            (
                "5,end,t,m,,,,\n4,end,t,m,,,,\n",
                "line 2: time goes back from 5 to 4; rows have to be in the order of time",
            ),
            (
                "5,end,t,m\n",
                "line 1: 4 columns; there have to be 8: time_ms,event,tenant,meeting_id,user,node,a,b",
            ),
            (
                "5,create,t,m,,,-1,0\n",
                "line 1: a is \"-1\"; it has to be a number of attendees, from 0 to 100000",
            ),
            (
                "5,create,t,m,,,100000,0\n6,create,t,n,,,100001,0\n",
                "line 2: a is \"100001\"; it has to be a number of attendees, from 0 to 100000",
            ),
            (
                "5,create,t,m,,,0,4294967295\n",
                "line 1: b is \"4294967295\"; it has to be a number of attendees, from 0 to 100000",
            ),
            (
                "-5,past,t,m,,,100001,60\n",
                "line 1: a is \"100001\"; it has to be a number of attendees, from 0 to 100000",
            ),
            (
                "5,count,t,m,,n0,100001,\n",
                "line 1: a is \"100001\"; it has to be a number of attendees, from 0 to 100000",
            ),
            (
                "5,join,t,m,7,,9223372036854775807,\n",
                "line 1: a is \"9223372036854775807\"; it has to be a number of milliseconds, 100 years at most, or nothing",
            ),
            (
                "-9223372036854775808,create,t,m,,,0,0\n",
                "line 1: time_ms is \"-9223372036854775808\"; it has to be a whole number of milliseconds, 100 years before or behind 0 at most",
            ),
            ("5,end,,m,,,,\n", "line 1: tenant is \"\"; it must not be empty here"),
            (
                "5,node_up,,,,n,NaN,\n",
                "line 1: a is \"NaN\"; it has to be a weight above 0 and up to 1000, or nothing for a node that is back",
            ),
            (
                "5,node_up,,,,n,-2,\n",
                "line 1: a is \"-2\"; it has to be a weight above 0 and up to 1000, or nothing for a node that is back",
            ),
            (
                "0,end,t,m,,,,\nx,end,t,m,,,,\n",
                "line 2: time_ms is \"x\"; it has to be a whole number of milliseconds, 100 years before or behind 0 at most",
            ),
        ] {
            assert_eq!(read(text).unwrap_err().to_string(), told);
        }
    }
}
