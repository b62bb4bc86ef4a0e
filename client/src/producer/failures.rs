//! Which failures flushes have to tell. Pure.
//!
//! Flushes are numbered from 1. A batch belongs to the **era** of the last flush that had passed its
//! partition when its first record came, so everything that was sent before a flush began is in an
//! earlier era than its number. A flush tells the first failure of those eras, except of the ones
//! that were told when it began.
//!
//! Failures that no two flushes can tell apart are kept as one, so what is held is bounded by the
//! number of flushes that wait.

use std::collections::BTreeMap;

use crate::error::Error;

/// A flush that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Its number: it tells of the eras before.
    pub(crate) number: u64,
    /// The eras before this one were told when it began.
    told: u64,
}

/// The first failure of each era that may have to be told.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    /// The number of the latest flush.
    latest: u64,
    /// The eras before this one are told: a flush of this number has ended.
    told: u64,
    waiting: Vec<Asked>,
    by_era: BTreeMap<u64, Error>,
}

impl Failures {
    /// A flush begins.
    pub(crate) fn ask(&mut self) -> Asked {
        self.latest += 1;
        let asked = Asked {
            number: self.latest,
            told: self.told,
        };
        self.waiting.push(asked);
        asked
    }

    /// A batch of this era failed.
    pub(crate) fn note(&mut self, era: u64, error: &Error) {
        self.by_era.entry(era).or_insert_with(|| error.clone());
        self.compact();
    }

    /// All batches of the eras that the flush asks for have ended; gives what it tells.
    pub(crate) fn tell(&mut self, asked: Asked) -> Option<Error> {
        let mut asked_for = self.by_era.range(asked.told..asked.number);
        let first = asked_for.next().map(|(_, error)| error.clone());
        self.told = self.told.max(asked.number);
        self.withdraw(asked);
        first
    }

    /// The flush does not wait any more.
    pub(crate) fn withdraw(&mut self, asked: Asked) {
        self.waiting.retain(|waiting| *waiting != asked);
        self.compact();
    }

    /// Forgets what no flush, waiting or later, would tell.
    fn compact(&mut self) {
        let ends = self
            .waiting
            .iter()
            .flat_map(|asked| [asked.told, asked.number]);
        let mut bounds: Vec<u64> = ends.chain([self.told]).collect();
        bounds.sort_unstable();
        let mut last = None;
        self.by_era.retain(|era, _| {
            // How many of the bounds are at or below the era: none, and everybody was told.
            let between = bounds.partition_point(|bound| bound <= era);
            between > 0 && last.replace(between) != Some(between)
        });
    }
}

#[cfg(test)]
mod tests {
    use highwater_proto::Reason;

    use super::*;

    const FIRST: Reason = Reason::BadBatch;
    const SECOND: Reason = Reason::Denied;

    fn fail(failures: &mut Failures, era: u64, reason: Reason) {
        failures.note(era, &Error::new(reason, "m"));
    }

    fn tell(failures: &mut Failures, asked: Asked) -> Option<Reason> {
        failures.tell(asked).and_then(|error| error.reason())
    }

    #[test]
    fn a_failure_is_told_by_the_next_flush_alone() {
        let mut failures = Failures::default();
        fail(&mut failures, 0, FIRST);
        fail(&mut failures, 0, SECOND);
        let asked = failures.ask();
        assert_eq!(tell(&mut failures, asked), Some(FIRST));
        let asked = failures.ask();
        assert_eq!(tell(&mut failures, asked), None);
        assert!(failures.by_era.is_empty());
    }

    #[test]
    fn what_was_sent_after_a_flush_began_is_told_by_the_one_after() {
        let mut failures = Failures::default();
        let first = failures.ask();
        fail(&mut failures, 0, FIRST);
        fail(&mut failures, 1, SECOND);
        assert_eq!(tell(&mut failures, first), Some(FIRST));
        let second = failures.ask();
        assert_eq!(tell(&mut failures, second), Some(SECOND));
    }

    #[test]
    fn flushes_that_wait_at_the_same_time_all_tell_what_was_sent_before_them() {
        let mut failures = Failures::default();
        let asked = [(); 3].map(|()| failures.ask());
        fail(&mut failures, 2, SECOND);
        fail(&mut failures, 0, FIRST);
        // In whatever order they end.
        assert_eq!(tell(&mut failures, asked[1]), Some(FIRST));
        assert_eq!(tell(&mut failures, asked[0]), Some(FIRST));
        assert_eq!(tell(&mut failures, asked[2]), Some(FIRST));
        let later = failures.ask();
        assert_eq!(tell(&mut failures, later), None);
    }

    #[test]
    fn a_flush_that_began_after_another_ended_does_not_repeat_what_that_told() {
        let mut failures = Failures::default();
        let slow = failures.ask();
        let quick = failures.ask();
        fail(&mut failures, 0, FIRST);
        assert_eq!(tell(&mut failures, quick), Some(FIRST));
        let later = failures.ask();
        fail(&mut failures, 2, SECOND);
        assert_eq!(tell(&mut failures, later), Some(SECOND));
        assert_eq!(tell(&mut failures, slow), Some(FIRST));
        assert!(failures.by_era.is_empty());
    }

    #[test]
    fn a_flush_that_is_dropped_leaves_what_it_would_have_told_to_the_next() {
        let mut failures = Failures::default();
        let dropped = failures.ask();
        fail(&mut failures, 0, FIRST);
        fail(&mut failures, 1, SECOND);
        failures.withdraw(dropped);
        let asked = failures.ask();
        assert_eq!(tell(&mut failures, asked), Some(FIRST));
    }

    #[test]
    fn flushes_that_are_dropped_again_and_again_leave_nothing_behind() {
        let mut failures = Failures::default();
        for era in 0..1000 {
            fail(&mut failures, era, FIRST);
            let dropped = failures.ask();
            failures.withdraw(dropped);
        }
        assert_eq!(failures.by_era.len(), 1);
        assert!(failures.waiting.is_empty());
    }
}
