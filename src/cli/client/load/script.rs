//! The trace, as it is played: read whole, checked, and cut to the hours that are wanted.

use std::collections::HashSet;
use std::fmt::Display;
use std::fs::File;
use std::io::{Read, stdin};
use std::path::Path;

use crate::chain::Chain;
use crate::cli::client::failure::Failure;
use crate::trace::score::Day;
use crate::trace::{Course, Row, Rows, What, unpacked};

/// All of it is in memory. A day of a hundred nodes has a tenth of that.
const MAX_ROWS: usize = 20_000_000;

/// What is to be played.
#[derive(Debug)]
pub(super) struct Script {
    /// In the order of time.
    pub(super) rows: Vec<Row>,
    /// Former meetings.
    pub(super) past: Vec<Row>,
    /// Names and weights.
    pub(super) nodes: Vec<(String, f64)>,
    /// As the trace calls them, in the order in which they come.
    pub(super) tenants: Vec<String>,
    /// When it begins: what is before happens at once.
    pub(super) begin_ms: i64,
}

impl Script {
    /// Reads a trace; - is the standard input.
    pub(super) fn read(
        path: &Path,
        from: Option<i64>,
        until: Option<i64>,
    ) -> Result<Self, Failure> {
        let wrong = |why: &dyn Display| Failure::wrong(format_args!("{}: {why}", path.display()));
        let text = if path == Path::new("-") {
            unpacked(stdin().lock())
        } else {
            File::open(path).and_then(unpacked)
        };
        Self::of(text.map_err(|error| wrong(&error))?, from, until).map_err(|why| wrong(&why))
    }

    fn of(text: impl Read, from: Option<i64>, until: Option<i64>) -> Result<Self, String> {
        let (mut rows, mut checks) = (Rows::new(text), Checks::default());
        let (mut past, mut all) = (Vec::new(), Vec::new());
        while let Some(row) = rows.read().map_err(|error| Chain(&error).to_string())? {
            let line = rows.line();
            checks.look(&row).map_err(|why| format!("line {line}: {why}"))?;
            if past.len() + all.len() == MAX_ROWS {
                return Err(format!("line {line}: more than {MAX_ROWS} rows"));
            }
            match row.what {
                What::Past { .. } => past.push(row),
                _ => all.push(row),
            }
        }
        let rows = window(all, from, until);
        let mut creates = rows.iter().filter_map(|row| match &row.what {
            What::Create { room, .. } => Some((row.at_ms, &room.tenant)),
            _ => None,
        });
        let Some((first_ms, first)) = creates.next() else {
            return Err("no meeting is created in these hours".to_owned());
        };
        let mut tenants = vec![first.clone()];
        let mut known = HashSet::from([first]);
        tenants.extend(
            creates.filter(|(_, tenant)| known.insert(*tenant)).map(|(_, tenant)| tenant.clone()),
        );
        Day::of(&rows).map_err(|error| error.to_string())?;
        let known: HashSet<_> = tenants.iter().map(String::as_str).collect();
        past.retain(|row| matches!(&row.what, What::Past { room, .. } if known.contains(room.tenant.as_str())));
        let begin_ms = from.unwrap_or(first_ms);
        Ok(Self { rows, past, nodes: checks.nodes, tenants, begin_ms })
    }
}

/// What makes a trace one that can be played.
#[derive(Debug, Default)]
struct Checks {
    course: Course,
    nodes: Vec<(String, f64)>,
}

impl Checks {
    fn look(&mut self, row: &Row) -> Result<(), String> {
        if row.at_ms < 0 && !matches!(row.what, What::Past { .. }) {
            return Err("only what is past may be before time 0".to_owned());
        }
        if matches!(row.what, What::Count { .. }) {
            return Err("a trace has no rows of polls: count".to_owned());
        }
        self.course.look(&row.what).map_err(|why| why.to_string())?;
        if let What::NodeUp { node, weight: Some(weight) } = &row.what
            && !self.nodes.iter().any(|(known, _)| known == node)
        {
            self.nodes.push((node.clone(), *weight));
        }
        Ok(())
    }
}

/// Only meetings that begin in these hours, all of which are over at their end.
fn window(rows: Vec<Row>, from: Option<i64>, until: Option<i64>) -> Vec<Row> {
    let last_ms = rows.last().map_or(0, |row| row.at_ms);
    let (from, until) = (from.unwrap_or(i64::MIN), until.unwrap_or(i64::MAX));
    let mut open = HashSet::new();
    let mut rows: Vec<Row> = rows
        .into_iter()
        .take_while(|row| row.at_ms < until)
        .filter(|row| match &row.what {
            What::Create { room, .. } => row.at_ms >= from && open.insert(room.clone()),
            What::Join { room, .. } | What::Leave { room, .. } => open.contains(room),
            What::End { room } => open.remove(room),
            _ => true,
        })
        .collect();
    let mut rest: Vec<_> = open.into_iter().collect();
    rest.sort_unstable();
    let at_ms = until.min(last_ms);
    rows.extend(rest.into_iter().map(|room| Row { at_ms, what: What::End { room } }));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: &str = "-5,past,t,a,,,3,60\n-4,past,other,a,,,3,60\n0,node_up,,,,n0,2,\n100,create,t,a,,,0,0\n\
                       200,create,u,b,,,0,7\n210,join,t,a,1,,5,0\n220,join,u,b,1,,5,0\n300,leave,t,a,1,,,\n\
                       400,end,t,a,,,,\n450,node_down,,,,n0,,\n460,node_up,,,,n0,,\n500,end,u,b,,,,\n";

    fn read(text: &str, from: Option<i64>, until: Option<i64>) -> Result<Script, String> {
        Script::of(text.as_bytes(), from, until)
    }

    #[test]
    fn a_day_is_cut_to_the_hours_that_are_wanted() {
        let whole = read(DAY, None, None).unwrap();
        assert_eq!((whole.rows.len(), whole.past.len(), whole.begin_ms), (10, 1, 100));
        assert_eq!(whole.nodes, [("n0".to_owned(), 2.0)]);
        assert_eq!(whole.tenants, ["t", "u"]);
        let late = read(DAY, Some(150), Some(420)).unwrap();
        assert_eq!((late.tenants.as_slice(), late.begin_ms), (&["u".to_owned()][..], 150));
        let last = late.rows.last().unwrap();
        assert!(
            last.at_ms == 420 && matches!(&last.what, What::End { room } if room.meeting_id == "b")
        );
        assert_eq!(late.rows.len(), 4);
        assert!(read(DAY, Some(300), None).unwrap_err().contains("no meeting"));
    }

    #[test]
    fn what_cannot_be_played_is_refused_with_its_line() {
        for (row, told) in [
            ("600,end,t,a,,,,", "line 13: t/a is not there"),
            ("600,join,t,a,1,,5,0", "line 13: t/a is not there"),
            ("600,node_up,,,,n0,1,", "line 13: node n0 is up already"),
            ("600,node_up,,,,n1,,", "line 13: node n1 is new"),
            ("600,node_down,,,,n1,,", "line 13: node n1 is unknown"),
            ("600,count,t,a,,n0,3,", "line 13: a trace has no rows of polls"),
            ("1,create,t,c,,,0,0", "line 13: time goes back"),
            ("600,party,t,c,,,0,0", "line 13: unknown event"),
        ] {
            let why = read(&format!("{DAY}{row}\n"), None, None).unwrap_err();
            assert!(why.contains(told), "{row}: {why}");
        }
    }
}
