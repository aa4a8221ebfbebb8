//! Tables in files: CSV whose first line names the columns. All of a file is looked at before any of it is sent.

use std::collections::HashMap;
use std::fmt;
use std::io::Read;
use std::path::Path;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::body_of;
use crate::admin::MAX_HISTORY_ROWS;
use crate::cli::client::failure::Failure;

/// Past meetings that are sent together: each is learned by itself, while other instances wait to learn.
pub(super) const MAX_LESSONS: usize = 250;
/// Half of what the API takes at once.
const MAX_BATCH_BYTES: usize = 512 * 1024;
/// Whoever has made more mistakes than these sees the rest when they are mended.
const MAX_SHOWN: usize = 20;

/// What the columns of a file are.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) columns: &'static [&'static str],
    /// These may be missing.
    optional: &'static [&'static str],
    /// These hold numbers, and what numbers.
    numbers: &'static [(&'static str, &'static str)],
}

/// What is known, as it is exported.
pub(super) const KNOWN: Kind = Kind {
    columns: &["tenant", "sub_id", "room", "hour", "meetings", "mean", "variance", "learned_at"],
    optional: &[],
    numbers: &[
        ("sub_id", "a whole number of 0 to 999, or nothing"),
        ("hour", "a whole number of 0 to 167, or nothing"),
        ("meetings", "a whole number of 1 or more"),
        ("mean", "a number of 0 to 100000"),
        ("variance", "a number of 0 to 10000000000"),
    ],
};

/// Meetings of the past.
pub(super) const PAST: Kind = Kind {
    columns: &["tenant", "meeting_id", "created_at", "attendees", "sub_id"],
    optional: &["sub_id"],
    numbers: &[
        ("attendees", "a whole number of 0 to 100000"),
        ("sub_id", "a whole number of 0 to 999, or nothing"),
    ],
};

/// A table that was read, and not understood yet.
pub(super) struct Sheet {
    kind: &'static Kind,
    file: String,
    header: Vec<String>,
    rows: Vec<(u64, csv::StringRecord)>,
}

/// A row as the API takes it, and its line in the file.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) number: u64,
    pub(super) document: Value,
}

impl Sheet {
    /// Reads a file, and looks at its columns.
    pub(super) fn read(file: &Path, kind: &'static Kind) -> Result<Self, Failure> {
        let name = file.display().to_string();
        let mut bytes = Vec::new();
        let read = if name == "-" {
            std::io::stdin().lock().read_to_end(&mut bytes).map(drop)
        } else {
            std::fs::read(file).map(|read| bytes = read)
        };
        read.map_err(|error| Failure::wrong(format_args!("{name}: {error}")))?;
        Self::of(name, &bytes, kind)
    }

    fn of(file: String, bytes: &[u8], kind: &'static Kind) -> Result<Self, Failure> {
        // Spreadsheets begin what they write so.
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let mut csv =
            csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(bytes);
        let (mut rows, mut lines) = (Vec::new(), LineCount::default());
        for record in csv.records() {
            let record = record.map_err(|error| {
                let line = lines.of(bytes, error.position());
                let what = match error.kind() {
                    csv::ErrorKind::Utf8 { .. } => "is no UTF-8; save the file as UTF-8",
                    _ => "is no CSV",
                };
                Failure::wrong(format_args!("{file}: line {line} {what}"))
            })?;
            rows.push((lines.of(bytes, record.position()), record));
        }
        if rows.is_empty() {
            return Err(Failure::wrong(format_args!(
                "{file}: is empty; its first line has to be {}",
                kind.header()
            )));
        }
        let (line, header) = rows.remove(0);
        let header: Vec<_> = header.iter().map(|name| name.trim().to_owned()).collect();
        kind.check(&header).map_err(|why| {
            let expected = kind.header();
            Failure::wrong(format_args!("{file}: line {line}: {why}; it has to be {expected}"))
        })?;
        Ok(Self { kind, file, header, rows })
    }

    /// The rows as the API takes them, once `check` finds nothing wrong with any.
    pub(super) fn documents(
        self,
        check: impl Fn(&Value) -> Result<(), (String, String)>,
    ) -> Result<Vec<Line>, Failure> {
        let (mut lines, mut wrong) = (Vec::new(), Vec::new());
        for (number, record) in &self.rows {
            let read = self.document(record).and_then(|document| {
                let checked = check(&document).map_err(|(field, detail)| match &*field {
                    "" => detail,
                    field => format!("{field} {detail}"),
                });
                checked.map(|()| document)
            });
            match read {
                Ok(document) => lines.push(Line { number: *number, document }),
                Err(why) => wrong.push(format!("{}: line {number}: {why}", self.file)),
            }
        }
        refuse(wrong)?;
        Ok(lines)
    }

    fn document(&self, record: &csv::StringRecord) -> Result<Value, String> {
        let (found, expected) = (record.len(), self.header.len());
        if found != expected {
            let header = self.header.join(",");
            return Err(format!("{found} columns; there have to be {expected}: {header}"));
        }
        if record.iter().map(str::trim).eq(self.header.iter().map(String::as_str)) {
            return Err("the names of the columns stand there again: leave the line out".to_owned());
        }
        let mut document = Map::new();
        for (name, cell) in self.header.iter().zip(record) {
            let number = self.kind.numbers.iter().find(|(column, _)| column == name);
            match number {
                // Names of rooms may begin and end as they like.
                None if cell.is_empty() => {}
                None => drop(document.insert(name.clone(), cell.into())),
                Some(_) if cell.trim().is_empty() => {}
                Some((_, expected)) => {
                    let number = number_of(cell.trim());
                    let number = number
                        .ok_or_else(|| format!("{name} is {cell:?}; it has to be {expected}"))?;
                    document.insert(name.clone(), number);
                }
            }
        }
        Ok(Value::Object(document))
    }
}

/// Counts lines, as the reader of CSV is late by one where they end as on Windows.
#[derive(Default)]
struct LineCount {
    to: usize,
    ends: u64,
}

impl LineCount {
    /// Of the row that begins there, or behind the line ends that stand there.
    fn of(&mut self, bytes: &[u8], position: Option<&csv::Position>) -> u64 {
        let at = position.and_then(|position| usize::try_from(position.byte()).ok());
        let at = at.unwrap_or_default().clamp(self.to, bytes.len());
        let is_end = |byte: &&u8| matches!(byte, b'\r' | b'\n');
        let at = at + bytes[at..].iter().take_while(is_end).count();
        self.ends += memchr::memchr_iter(b'\n', &bytes[self.to..at]).count() as u64;
        self.to = at;
        self.ends + 1
    }
}

/// As JSON writes one: neither NaN nor hexadecimal, nor with a comma.
fn number_of(text: &str) -> Option<Value> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_number = digits.starts_with(|first: char| first.is_ascii_digit());
    serde_json::from_str::<Value>(text).ok().filter(|value| is_number && value.is_number())
}

impl Kind {
    fn header(&self) -> String {
        let needed: Vec<_> =
            self.columns.iter().filter(|name| !self.optional.contains(name)).copied().collect();
        let also = match self.optional {
            [] => String::new(),
            names => format!(", and {} if you like", names.join(", ")),
        };
        format!("{}{also}", needed.join(","))
    }

    fn check(&self, header: &[String]) -> Result<(), String> {
        for (at, name) in header.iter().enumerate() {
            if !self.columns.contains(&name.as_str()) {
                return Err(format!("there is no column {name:?}"));
            }
            if header[..at].contains(name) {
                return Err(format!("the column {name:?} is there twice"));
            }
        }
        let missing = |name: &&str| !header.iter().any(|found| found == name);
        match self
            .columns
            .iter()
            .filter(|name| !self.optional.contains(name))
            .find(|name| missing(name))
        {
            Some(name) => Err(format!("the column {name:?} is missing")),
            None => Ok(()),
        }
    }
}

/// Refuses rows that are about the same: only one of them could count.
pub(super) fn refuse_twice(lines: &[Line]) -> Result<(), Failure> {
    let mut first: HashMap<[&Value; 4], u64> = HashMap::new();
    let (mut wrong, zero, nothing) = (Vec::new(), Value::from(0), Value::Null);
    for Line { number, document } in lines {
        let get = |name: &str| document.get(name).unwrap_or(&nothing);
        let sub = document.get("sub_id").unwrap_or(&zero);
        let key = [get("tenant"), sub, get("room"), get("hour")];
        if let Some(before) = first.insert(key, *number) {
            wrong.push(format!(
                "line {number}: is about the same as line {before}: keep one of them"
            ));
        }
    }
    refuse(wrong)
}

fn refuse(mut wrong: Vec<String>) -> Result<(), Failure> {
    let left = wrong.len().saturating_sub(MAX_SHOWN);
    wrong.truncate(MAX_SHOWN);
    if left > 0 {
        wrong.push(format!("and so on: {left} lines more"));
    }
    let wrong: Vec<_> = wrong.into_iter().map(Failure::wrong).collect();
    Failure::together(wrong)
}

/// When a meeting of the past was created, in milliseconds.
pub(super) fn moment(document: &Value) -> i64 {
    let at = document["created_at"].as_str().and_then(|text| text.parse::<Timestamp>().ok());
    at.map_or(0, Timestamp::as_millisecond)
}

/// Rows that are sent together; at least one.
pub(super) struct Batch<'l> {
    lines: &'l [Line],
    pub(super) body: Value,
}

impl Batch<'_> {
    /// What the API says of `items[N]`, of the line that this was.
    pub(super) fn by_lines(&self, told: &str) -> String {
        let of_line = || {
            let (index, rest) = told.strip_prefix("items[")?.split_once(']')?;
            let line = self.lines.get(index.parse::<usize>().ok()?)?.number;
            let (field, detail) = rest.split_once(": ")?;
            let what = [field.trim_start_matches('.'), detail].join(" ");
            Some(format!("line {line}: {}", what.trim_start()))
        };
        of_line().unwrap_or_else(|| told.to_owned())
    }

    /// The first of its rows.
    pub(super) fn first(&self) -> Option<&Line> {
        self.lines.first()
    }
}

/// As the file has them.
impl fmt::Display for Batch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.lines {
            [] => Ok(()),
            [one] => write!(f, "line {}", one.number),
            [first, .., last] => write!(f, "lines {} to {}", first.number, last.number),
        }
    }
}

/// Rows in parts of at most so many, of which the API takes each at once.
pub(super) fn batches(lines: &[Line], most: usize) -> impl Iterator<Item = Batch<'_>> {
    let mut rest = lines;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let is_small = |line: &&Line| {
            bytes += line.document.to_string().len();
            bytes <= MAX_BATCH_BYTES
        };
        let fits = rest.iter().take(most.min(MAX_HISTORY_ROWS)).take_while(is_small).count();
        let (batch, after) = rest.split_at(fits.max(1).min(rest.len()));
        rest = after;
        (!batch.is_empty()).then(|| Batch { lines: batch, body: body_of(batch) })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, kind: &'static Kind) -> Result<Vec<Line>, Failure> {
        Sheet::of("f.csv".to_owned(), text.as_bytes(), kind)?.documents(|_| Ok(()))
    }

    #[test]
    fn columns_may_stand_in_any_order_and_cells_be_empty() {
        let text = "\u{feff}meeting_id,tenant,sub_id,attendees,created_at\r\n\" a,\"\"b\n\",acme,, 7 ,now\n";
        let lines = read(text, &PAST).unwrap();
        let expected = serde_json::json!({
            "meeting_id": " a,\"b\n", "tenant": "acme", "attendees": 7, "created_at": "now"});
        assert_eq!((lines.len(), &lines[0].document, lines[0].number), (1, &expected, 2));
        assert!(read("tenant,meeting_id,created_at,attendees\n", &PAST).unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_what_was_expected() {
        const HEADER: &str = "tenant,meeting_id,created_at,attendees";
        for (text, told) in [
            (
                "",
                "f.csv: is empty; its first line has to be tenant,meeting_id,created_at,attendees, and sub_id",
            ),
            ("a,b\n", "line 1: there is no column \"a\"; it has to be tenant,meeting_id"),
            ("tenant,meeting_id,created_at\n", "line 1: the column \"attendees\" is missing"),
            ("tenant,tenant\n", "line 1: the column \"tenant\" is there twice"),
            ("{H}\na,b,c\n", "line 2: 3 columns; there have to be 4: tenant,meeting_id"),
            ("{H}\na,b,c,1\n{H}\n", "line 3: the names of the columns stand there again"),
            (
                "{H}\na,b,c,seven\n",
                "line 2: attendees is \"seven\"; it has to be a whole number of 0",
            ),
            ("{H}\na,b,c,NaN\n", "line 2: attendees is \"NaN\""),
            ("{H}\na,b,c,0x7\n", "line 2: attendees is \"0x7\""),
            ("{H}\na,b,c,true\n", "line 2: attendees is \"true\""),
            ("{H}\na,\"x\ny\",c,1\na,b,c,\"1,5\"\n", "line 4: attendees is \"1,5\""),
        ] {
            let text = text.replace("{H}", HEADER);
            let failure = read(&text, &PAST).expect_err(&text);
            assert!(format!("{failure:?}").replace('\\', "").contains(told), "{failure:?}");
        }
        let refused = Sheet::of("f".to_owned(), b"tenant\n\xff\n", &PAST).err();
        assert!(format!("{refused:?}").contains("UTF-8"), "{refused:?}");
        let many = format!("{HEADER}\n{}", "a,b,c,x\n".repeat(100));
        assert!(format!("{:?}", read(&many, &PAST)).contains("80 lines more"));
    }

    #[test]
    fn rows_about_the_same_are_told() {
        let text = format!(
            "{}\nacme,,m,9,1,1,0,x\nacme,1,m,9,1,1,0,x\nacme,0,m,9,1,1,0,x\n",
            KNOWN.columns.join(",")
        );
        let told = refuse_twice(&read(&text, &KNOWN).unwrap()).unwrap_err();
        assert!(format!("{told:?}").contains("line 4: is about the same as line 2"), "{told:?}");
    }

    #[test]
    fn what_the_api_says_of_rows_is_told_of_their_lines() {
        let line = |number| Line { number, document: Value::Null };
        let all: Vec<_> = [7, 3, 12].map(line).into();
        let batch = batches(&all, 9).next().unwrap();
        for (told, expected) in [
            (
                "items[1].tenant: is \"acne\": it is not there",
                "line 3: tenant is \"acne\": it is not there",
            ),
            ("items[2]: is odd", "line 12: is odd"),
            ("items[3]: is odd", "items[3]: is odd"),
            ("items: has 7 rows", "items: has 7 rows"),
            ("nobody listens there", "nobody listens there"),
        ] {
            assert_eq!(batch.by_lines(told), expected);
        }
        assert_eq!(batch.to_string(), "lines 7 to 12");
        assert_eq!(batches(&all[..1], 9).next().unwrap().to_string(), "line 7");
    }

    #[test]
    fn a_batch_is_no_larger_than_the_api_takes() {
        let line = |number: u64, bytes: usize| Line { number, document: "x".repeat(bytes).into() };
        let many: Vec<_> = (0..2500).map(|number| line(number, 10)).collect();
        let sizes = |lines: &[Line]| -> Vec<_> {
            let count = |batch: Batch| batch.body["items"].as_array().map_or(0, Vec::len);
            batches(lines, usize::MAX).map(count).collect()
        };
        assert_eq!(sizes(&many), [1000, 1000, 500]);
        let large: Vec<_> = (0..3).map(|number| line(number, 300 * 1024)).collect();
        assert_eq!(sizes(&large), [1, 1, 1]);
        assert_eq!(sizes(&[]), [0; 0]);
        assert_eq!(batches(&many, MAX_LESSONS).count(), 10);
    }
}
