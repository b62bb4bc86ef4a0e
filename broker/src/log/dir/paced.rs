//! PURE. Work in small steps that nobody waits for: which step is due, and how long the disk is left
//! alone after each.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// After a step the disk is left alone for so many times as long as the step took: all this work
/// together takes a quarter of the disk's time at most, however much of it there is.
const REST: u32 = 3;

/// Work that waits for its next step. What has waited longest goes first.
pub(super) struct Paced<T> {
    waiting: BTreeMap<(Instant, u64), T>,
    added: u64,
    /// Before then the disk is left alone.
    rests_until: Option<Instant>,
}

impl<T> Paced<T> {
    pub(super) fn new() -> Self {
        Self {
            waiting: BTreeMap::new(),
            added: 0,
            rests_until: None,
        }
    }

    /// Adds work whose next step is due then.
    pub(super) fn add(&mut self, due: Instant, work: T) {
        self.added += 1;
        self.waiting.insert((due, self.added), work);
    }

    /// How long from now until a step may run; none when there is no work.
    pub(super) fn wait(&self, now: Instant) -> Option<Duration> {
        let ((due, _), _) = self.waiting.first_key_value()?;
        let at = self.rests_until.map_or(*due, |rested| rested.max(*due));
        Some(at.saturating_duration_since(now))
    }

    /// The work whose step may run now.
    pub(super) fn take(&mut self, now: Instant) -> Option<T> {
        let may_run = self.wait(now)?.is_zero();
        may_run
            .then(|| self.waiting.pop_first())?
            .map(|(_, work)| work)
    }

    /// Notes that a step has run.
    pub(super) fn ran(&mut self, began: Instant, ended: Instant) {
        let took = ended.saturating_duration_since(began);
        self.rests_until = Some(ended + took.saturating_mul(REST));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::monotonic;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn steps_run_when_they_are_due_and_the_disk_has_rested() {
        let begin = monotonic().into_std();
        let mut paced = Paced::new();
        assert_eq!(paced.wait(begin), None);
        paced.add(begin + 5 * MS, "later");
        paced.add(begin, "now");
        assert_eq!(paced.take(begin), Some("now"));
        paced.ran(begin, begin + 2 * MS);
        assert_eq!(paced.wait(begin + 2 * MS), Some(6 * MS), "rests for 6 ms");
        assert_eq!(paced.take(begin + 7 * MS), None);
        assert_eq!(paced.take(begin + 8 * MS), Some("later"));
        paced.ran(begin + 8 * MS, begin + 8 * MS);
        assert_eq!(paced.wait(begin + 8 * MS), None);
    }

    #[test]
    fn of_a_thousand_works_each_has_its_turn_before_any_has_two() {
        let begin = monotonic().into_std();
        let mut paced = Paced::new();
        for work in 0..1_000 {
            paced.add(begin, work);
        }
        let mut now = begin;
        for turn in 0..2_000 {
            now += paced.wait(now).unwrap();
            let work = paced.take(now).unwrap();
            assert_eq!(work, turn % 1_000);
            paced.ran(now, now + MS);
            now += MS;
            paced.add(now + MS, work);
        }
        assert!(now - begin >= 4 * 1_999 * MS, "{:?}", now - begin);
    }
}
