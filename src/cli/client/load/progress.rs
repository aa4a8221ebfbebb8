//! How far it is: a bar on a terminal, now and then a line elsewhere.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

use super::say;

const BAR_EVERY: Duration = Duration::from_millis(200);
const LINE_EVERY: Duration = Duration::from_secs(10);
const TEMPLATE: &str = "{msg:>9} [{bar:32}] {percent:>3}% {prefix}";

/// See the module.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    total: u64,
    lined: Instant,
}

impl Progress {
    pub(super) fn new(total: usize) -> Self {
        let total = total as u64;
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(total);
            if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar
        });
        Self { bar, total, lined: Instant::now() }
    }

    /// How often it wants to be told.
    pub(super) fn every(&self) -> Duration {
        if self.bar.is_some() { BAR_EVERY } else { LINE_EVERY }
    }

    /// So many rows are played, up to this time of the trace; all will be in so long.
    pub(super) fn tell(
        &mut self,
        rows: usize,
        at_ms: i64,
        behind: Duration,
        errors: u64,
        left: Duration,
    ) {
        let rows = rows as u64;
        let minutes = at_ms.div_euclid(60_000);
        let time = format!("{:02}:{:02}", minutes.div_euclid(60), minutes.rem_euclid(60));
        let state = state(behind, errors, left);
        if let Some(bar) = &self.bar {
            bar.set_position(rows);
            bar.set_message(time);
            bar.set_prefix(state);
        } else if self.lined.elapsed() >= LINE_EVERY {
            self.lined = Instant::now();
            say(format_args!("{time}: {rows} of {} rows, {state}", self.total));
        }
    }

    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// The time that is left is known from the trace: rows do not come evenly, and of the first of them nothing follows.
fn state(behind: Duration, errors: u64, left: Duration) -> String {
    let left = humantime::format_duration(Duration::from_secs(left.as_secs()));
    format!("{:.1} s behind, errors: {errors}, done in {left}", behind.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_told_in_whole_seconds() {
        for (left_ms, told) in [(750_999, "12m 30s"), (86_400_000, "1day"), (999, "0s")] {
            let told = format!("0.1 s behind, errors: 3, done in {told}");
            let left = Duration::from_millis(left_ms);
            assert_eq!(state(Duration::from_millis(120), 3, left), told);
        }
    }
}
