//! A line of the log that would come again with every call or poll for as long as something is away: once a minute,
//! with how often it was left out.

use std::fmt;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

const EVERY: Duration = Duration::from_mins(1);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Sparing(Mutex<Said>);

#[derive(Debug, Default)]
struct Said {
    at: Option<Instant>,
    left_out: u64,
}

/// How often a line was left out since it was said last; goes behind it.
#[derive(Debug)]
pub(crate) struct LeftOut(u64);

impl Sparing {
    /// Whether the line is to be said now.
    pub(crate) fn turn(&self) -> Option<LeftOut> {
        let mut said = self.0.lock();
        if said.at.is_some_and(|at| at.elapsed() < EVERY) {
            said.left_out += 1;
            return None;
        }
        said.at = Some(Instant::now());
        Some(LeftOut(std::mem::take(&mut said.left_out)))
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            1 => f.write_str(" (and once more since this was said last)"),
            count => write!(f, " (and {count} times more since this was said last)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_line_comes_once_a_minute_with_how_often_it_did_not() {
        let sparing = Sparing::default();
        let said = || sparing.turn().map(|left_out| left_out.to_string());
        assert_eq!(said().as_deref(), Some(""));
        for _ in 0..3 {
            advance(EVERY / 4).await;
            assert_eq!(said(), None);
        }
        advance(EVERY / 4).await;
        assert_eq!(said().as_deref(), Some(" (and 3 times more since this was said last)"));
        assert_eq!(said(), None);
        advance(EVERY).await;
        assert_eq!(said().as_deref(), Some(" (and once more since this was said last)"));
    }
}
