//! What is written down of meetings and nodes.

use async_trait::async_trait;

use super::Error;
use crate::model::{Counted, MOST_ATTENDEES, MeetingLine, NodeLine};

/// Counts that a meeting has at most, in bytes of their text: a thousand or so, which takes weeks.
pub(super) const MAX_COUNTS_BYTES: i64 = 16 * 1024;

/// Behind which meeting to go on: when it was created, and its internal id.
pub type Behind = (u64, String);

/// The part of a [`Store`](super::Store) that keeps what is written down.
#[async_trait]
pub trait Chronicles: Send + Sync {
    /// Adds what is new of meetings to what is known of them. Told twice, it changes nothing but that counts stand
    /// there twice.
    async fn write_meetings(&self, lines: &[MeetingLine]) -> Result<(), Error>;

    /// Notes which nodes are there and which are gone, where that is news and not older than what is known.
    async fn write_nodes(&self, lines: &[NodeLine]) -> Result<(), Error>;

    /// Forgets meetings that were created before, in ms since 1970, and of the others the oldest where there are
    /// more than that; of what nodes were before, the last. At most `limit` of each go at once, so that nobody waits
    /// long for the store meanwhile; says how many meetings went.
    async fn forget_chronicle(&self, before_ms: u64, most: u64, limit: u32) -> Result<u64, Error>;
}

/// Reads what was written down, beside whoever writes it.
#[async_trait]
pub trait ChronicleReader: Send + Sync {
    /// When meetings were created, ms since 1970, from the first on.
    async fn creates(&self) -> Result<Vec<u64>, Error>;

    /// So many meetings that were created before then, in that order; less, if there are no more. Of rows that make
    /// no sense there is nothing but that place.
    async fn meetings(
        &self,
        behind: &Behind,
        before_ms: u64,
        limit: u32,
    ) -> Result<Vec<(Behind, Option<MeetingLine>)>, Error>;

    /// What became of nodes, from the first on.
    async fn nodes(&self) -> Result<Vec<NodeLine>, Error>;
}

/// Counts as they stand in a column: `seconds:attendees`, each with a blank behind it, so that more can be added.
pub(super) fn to_text(counts: &[Counted]) -> String {
    let one = |Counted { after_s, attendees }: &Counted| format!("{after_s}:{attendees} ");
    counts.iter().map(one).collect()
}

/// Counts in their order, each once, or nothing where one of them makes no sense: without it the others tell something
/// else. No count is higher than can be: whoever reads them may make up so many people.
pub(super) fn from_text(text: &str) -> Option<Vec<Counted>> {
    let one = |word: &str| {
        let (after_s, attendees) = word.split_once(':')?;
        let attendees: u32 = attendees.parse().ok()?;
        Some(Counted { after_s: after_s.parse().ok()?, attendees: attendees.min(MOST_ATTENDEES) })
    };
    let mut counts = text.split_ascii_whitespace().map(one).collect::<Option<Vec<_>>>()?;
    counts.sort_by_key(|count| count.after_s);
    counts.dedup();
    Some(counts)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn counts_that_were_told_twice_are_read_once_and_those_that_make_no_sense_not_at_all() {
        let counts = from_text("5:1 12:3 5:1 12:3 10:2 ").unwrap();
        let read: Vec<_> = counts.iter().map(|count| (count.after_s, count.attendees)).collect();
        assert_eq!(read, [(5, 1), (10, 2), (12, 3)]);
        assert_eq!(from_text("1:4294967295 ").unwrap()[0].attendees, MOST_ATTENDEES);
        assert_eq!(from_text("").unwrap(), []);
        for odd in ["x:1", "7:", ":9", "20:-1", "9", "12:20:3", "1:4294967296", "\u{fffd}"] {
            assert_eq!(from_text(&format!("5:1 {odd} 12:3 ")), None, "{odd}");
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(mut counts in prop::collection::vec((any::<u32>(), 0..=MOST_ATTENDEES), 0..20)) {
            counts.sort_unstable();
            counts.dedup_by_key(|count| count.0);
            let counts: Vec<_> =
                counts.into_iter().map(|(after_s, attendees)| Counted { after_s, attendees }).collect();
            prop_assert_eq!(from_text(&to_text(&counts)), Some(counts));
        }

        #[test]
        fn no_text_is_too_odd(text in ".*") {
            from_text(&text);
        }
    }
}
