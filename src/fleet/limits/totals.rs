//! What a tally has counted since ever, by the names that it has in the store.

use super::{Figures, Limit, Tally};
use crate::model::SubId;

type Total = fn(&mut Figures) -> &mut u64;

const TOTALS: [(&str, Total); 5] = [
    ("meetings", |figures| &mut figures.meetings_total),
    ("ended", |figures| &mut figures.ended),
    ("ended_seconds", |figures| &mut figures.ended_seconds),
    ("meeting_limit_hits", |figures| &mut figures.meeting_limit_hits),
    ("attendee_limit_hits", |figures| &mut figures.attendee_limit_hits),
];

/// Before the word of a limit.
const REFUSED: &str = "refused_";

impl Tally {
    /// Counts a meeting that was created here.
    pub(super) fn begin(&self, sub: SubId) {
        let mut current = self.0.lock();
        current.change(sub, |figures| figures.meetings_total += 1);
        current.begun += 1;
    }

    /// Meetings that were created here since the last time that this was asked, for statistics.
    pub fn take_begun(&self) -> u64 {
        std::mem::take(&mut self.0.lock().begun)
    }

    /// All that is not 0. What is the whole tenant's is its main secret's.
    pub fn totals(&self) -> Vec<(SubId, String, u64)> {
        let current = self.0.lock();
        let mut totals = Vec::new();
        for (sub, figures) in &current.parts {
            let mut figures = *figures;
            for (name, total) in TOTALS {
                totals.push((*sub, name.to_owned(), *total(&mut figures)));
            }
        }
        for (limit, hits) in Limit::ALL.into_iter().zip(current.hits) {
            totals.push((SubId::MAIN, format!("{REFUSED}{}", limit.as_str()), hits));
        }
        totals.retain(|(_, _, value)| *value > 0);
        totals
    }

    /// Adds what others have counted. Names of another version mean nothing here.
    pub fn add(&self, sub: SubId, name: &str, more: u64) {
        let mut current = self.0.lock();
        if let Some((_, total)) = TOTALS.into_iter().find(|(known, _)| *known == name) {
            current.change(sub, |figures| *total(figures) += more);
            return;
        }
        let limits = Limit::ALL.into_iter();
        let refused = name.strip_prefix(REFUSED);
        if let Some(limit) = limits.into_iter().find(|limit| Some(limit.as_str()) == refused) {
            current.hits[limit as usize] += more;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Limits;
    use std::sync::Arc;

    #[test]
    fn what_is_added_elsewhere_is_the_same_there() {
        let (one, other) = (Arc::<Tally>::default(), Arc::<Tally>::default());
        let limits = Limits { meetings: 1, ..Limits::default() };
        let sub = SubId::new(5).unwrap();
        let part =
            super::super::Part::of_new(one.admit(sub, limits, limits).unwrap(), None).unwrap();
        drop(one.admit(sub, limits, limits));
        drop(one.admit(sub, Limits::default(), limits));
        part.lasted(7_000);
        part.leave(None);
        let totals = one.totals();
        assert_eq!(totals.len(), 7, "{totals:?}");
        for (sub, name, value) in totals {
            other.add(sub, &name, value);
        }
        other.add(sub, "of another version", 9);
        assert_eq!((other.whole(), other.hits()), (one.whole(), one.hits()));
        assert_eq!(
            (other.part(sub), other.part(SubId::MAIN)),
            (one.part(sub), one.part(SubId::MAIN))
        );
    }
}
