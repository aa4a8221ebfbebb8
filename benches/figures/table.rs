//! What comes out, for people.

use std::io::Write as _;

/// All figures of a run.
#[derive(Default)]
pub(crate) struct Table(Vec<Row>);

/// One figure.
pub(crate) struct Row {
    pub(crate) figure: String,
    pub(crate) portico: String,
    pub(crate) baseline: String,
    pub(crate) ratio: Option<f64>,
    pub(crate) bound: Bound,
}

/// What a figure must be.
pub(crate) enum Bound {
    /// Only told.
    None,
    AtLeast(f64),
    AtMost(f64),
}

impl Row {
    /// A figure that is only told.
    pub(crate) fn told(figure: impl Into<String>, portico: String, baseline: String) -> Self {
        Self { figure: figure.into(), portico, baseline, ratio: None, bound: Bound::None }
    }

    fn cells(&self) -> [String; 6] {
        let ratio = self.ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
        let (bound, is_met) = match self.bound {
            Bound::None => (String::new(), None),
            Bound::AtLeast(bound) => (format!("≥ {bound}"), self.ratio.map(|ratio| ratio >= bound)),
            Bound::AtMost(bound) => (format!("≤ {bound}"), self.ratio.map(|ratio| ratio <= bound)),
        };
        let verdict = match is_met {
            None => "",
            Some(true) => "met",
            Some(false) => "MISSED",
        };
        let verdict = verdict.to_owned();
        [self.figure.clone(), self.portico.clone(), self.baseline.clone(), ratio, bound, verdict]
    }
}

impl Table {
    pub(crate) fn push(&mut self, row: Row) {
        self.0.push(row);
    }

    pub(crate) fn print(&self) {
        let heads = ["figure", "portico", "baseline", "ratio", "bound", ""].map(str::to_owned);
        let rows: Vec<_> = std::iter::once(heads).chain(self.0.iter().map(Row::cells)).collect();
        let mut text = String::new();
        for (number, row) in rows.iter().enumerate() {
            for (column, cell) in row.iter().enumerate() {
                let width = rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
                let pad = " ".repeat(width - cell.chars().count());
                let cells = if column == 0 { [cell, &*pad] } else { [&*pad, cell] };
                text += &cells.concat();
                text += "  ";
            }
            text.truncate(text.trim_end().len());
            text.push('\n');
            if number == 0 {
                let width = text.trim_end().chars().count();
                text += &"-".repeat(width);
                text.push('\n');
            }
        }
        say(&text);
    }
}

/// A word on how it goes on.
pub(crate) fn note(text: &str) {
    // Where nobody reads, nothing is lost.
    writeln!(std::io::stderr(), "{text}").ok();
}

fn say(text: &str) {
    write!(std::io::stdout(), "\n{text}").ok();
}
