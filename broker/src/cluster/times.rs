//! PURE. What time most brokers have. One whose clock is far from theirs takes their time: what it
//! stamps as a leader stays in the log, and what it deletes is deleted everywhere.

use std::collections::BTreeMap;
use std::time::Duration;

use highwater_proto::BrokerId;

/// Clocks that differ by less are as equal as clocks are.
const FAR_MS: i64 = 10_000;
/// An answer that took longer says too little about when it was given.
const QUICK: Duration = Duration::from_secs(2);

/// What the other brokers' clocks say.
#[derive(Debug)]
pub(super) struct Times {
    /// Whether this broker's clock counts: that of a newcomer does not before it has heard the others.
    counts: bool,
    /// By how many milliseconds each is ahead of this broker's, if it told.
    ahead: BTreeMap<BrokerId, Option<i64>>,
    /// By how many milliseconds the wall clock of each is ahead of the time that it goes by.
    walls: BTreeMap<BrokerId, i64>,
}

impl Times {
    /// Nobody was heard yet.
    pub(super) fn new(counts: bool) -> Self {
        Self {
            counts,
            ahead: BTreeMap::new(),
            walls: BTreeMap::new(),
        }
    }

    /// Whether others may count on this broker's clock.
    pub(super) fn counts(&self) -> bool {
        self.counts
    }

    /// A broker answered a question within `took` that its clock stood at `theirs`, or does not count,
    /// when this broker's stands at `mine`.
    pub(super) fn hear(
        &mut self,
        broker: BrokerId,
        theirs: Option<i64>,
        mine: i64,
        took: Duration,
    ) {
        if took > QUICK {
            return;
        }
        let half = i64::try_from(took.as_millis() / 2).unwrap_or(0);
        let then = mine.saturating_sub(half);
        let ahead = theirs.map(|theirs| theirs.saturating_sub(then));
        self.ahead.insert(broker, ahead);
    }

    /// What a broker said that does not answer any more is worth nothing.
    pub(super) fn forget(&mut self, broker: BrokerId) {
        self.ahead.remove(&broker);
        self.walls.remove(&broker);
    }

    /// A broker said by how much its wall clock is ahead of the time that it goes by.
    pub(super) fn hear_of_wall(&mut self, broker: BrokerId, ahead: i64) {
        self.walls.insert(broker, ahead);
    }

    /// What it said, if it answers.
    pub(super) fn wall(&self, broker: BrokerId) -> i64 {
        self.walls.get(&broker).copied().unwrap_or_default()
    }

    /// The largest difference between this broker's time and that of another one, in milliseconds.
    pub(super) fn skew(&self) -> u64 {
        let others = self.ahead.values().flatten();
        others.map(|ahead| ahead.unsigned_abs()).max().unwrap_or(0)
    }

    /// By how much this broker's clock is to be moved, in a cluster of `brokers`: to that in the
    /// middle, in a cluster of two the earlier, once all the others that are `up` were heard and they are a
    /// majority. All are asked anew after that.
    pub(super) fn shift(
        &mut self,
        brokers: usize,
        up: impl IntoIterator<Item = BrokerId>,
    ) -> Option<i64> {
        let all_heard = up.into_iter().all(|peer| self.ahead.contains_key(&peer));
        if !all_heard || self.ahead.len() < brokers / 2 {
            return None;
        }
        let others = self.ahead.values().copied().flatten();
        let mut all: Vec<i64> = others.chain(self.counts.then_some(0)).collect();
        // Of two nobody can tell which is wrong: where there are more, a third one will.
        let undecided = self.counts && all.len() == 2 && brokers > 2;
        self.counts = true;
        if undecided {
            return None;
        }
        all.sort_unstable();
        let by = *all.get(all.len().checked_sub(1)? / 2)?;
        if by.saturating_abs() <= FAR_MS {
            return None;
        }
        self.ahead.clear();
        Some(by)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 60 * 60 * 1000;
    const SOON: Duration = Duration::from_millis(1);

    /// What a broker whose clock is 0 does when others are so far ahead.
    fn shift(others: &[i64], brokers: usize) -> Option<i64> {
        let mut times = Times::new(true);
        for (n, ahead) in others.iter().enumerate() {
            times.hear(BrokerId(n as u32 + 2), Some(500 + ahead), 500, SOON);
        }
        times.shift(brokers, [])
    }

    #[test]
    fn one_that_is_far_from_most_takes_their_time() {
        assert_eq!(shift(&[DAY, DAY], 3), Some(DAY));
        assert_eq!(shift(&[-DAY, -DAY], 3), Some(-DAY));
        assert_eq!(shift(&[DAY, -DAY], 3), None, "it is the one in the middle");
        assert_eq!(shift(&[0, DAY], 3), None);
        assert_eq!(shift(&[0, -DAY], 3), None);
        assert_eq!(shift(&[9_000, 10_000], 3), None, "near");
    }

    #[test]
    fn of_two_the_earlier_counts() {
        assert_eq!(shift(&[DAY], 2), None);
        assert_eq!(shift(&[-DAY], 2), Some(-DAY));
        assert_eq!(shift(&[0, DAY, DAY], 4), None);
        assert_eq!(shift(&[-DAY, -DAY, 0], 4), Some(-DAY));
    }

    #[test]
    fn nothing_is_moved_before_a_majority_was_heard() {
        assert_eq!(shift(&[], 1), None);
        assert_eq!(shift(&[-DAY], 4), None);
        assert_eq!(shift(&[-DAY], 5), None);
        assert_eq!(shift(&[-DAY, -DAY], 5), Some(-DAY));
    }

    #[test]
    fn all_that_answer_are_heard_first() {
        let mut times = Times::new(true);
        times.hear(BrokerId(3), Some(-DAY), 0, SOON);
        let up = [BrokerId(2), BrokerId(3)];
        assert_eq!(times.shift(3, up), None);
        times.hear(BrokerId(2), Some(0), 0, SOON);
        assert_eq!(times.shift(3, up), None);
        times.forget(BrokerId(2));
        assert_eq!(
            times.shift(3, [BrokerId(3)]),
            None,
            "2 is down: who is wrong?"
        );
        times.hear(BrokerId(2), Some(-DAY), 0, SOON);
        assert_eq!(times.shift(3, up), Some(-DAY));
    }

    #[test]
    fn what_is_told_of_clocks_is_that_of_those_who_answer() {
        let (mut times, two) = (Times::new(true), BrokerId(2));
        assert_eq!((times.skew(), times.wall(two)), (0, 0));
        times.hear(two, Some(-7_000), 0, SOON);
        times.hear(BrokerId(3), Some(5_000), 0, SOON);
        times.hear(BrokerId(4), None, 0, SOON);
        times.hear_of_wall(two, DAY);
        assert_eq!((times.skew(), times.wall(two)), (7_000, DAY));
        times.forget(two);
        assert_eq!((times.skew(), times.wall(two)), (5_000, 0));
    }

    #[test]
    fn a_newcomer_takes_the_time_of_those_who_are_there() {
        for ahead in [DAY, -DAY] {
            let mut times = Times::new(false);
            times.hear(BrokerId(2), None, 0, SOON);
            times.hear(BrokerId(1), Some(ahead), 0, SOON);
            assert!(!times.counts());
            assert_eq!(times.shift(3, [BrokerId(1), BrokerId(2)]), Some(ahead));
            assert!(times.counts());
        }
        let mut old = Times::new(true);
        old.hear(BrokerId(2), None, 0, SOON);
        assert_eq!(old.shift(2, [BrokerId(2)]), None);
        let mut all_new = Times::new(false);
        all_new.hear(BrokerId(2), None, 0, SOON);
        assert_eq!(all_new.shift(2, [BrokerId(2)]), None);
        assert!(all_new.counts(), "somebody has to");
    }

    #[test]
    fn what_is_slow_or_gone_is_not_heard_and_after_a_shift_all_are_asked_anew() {
        let mut times = Times::new(true);
        let hear = |times: &mut Times, took| times.hear(BrokerId(2), Some(-DAY), 1000, took);
        hear(&mut times, QUICK + SOON);
        assert_eq!(times.shift(2, []), None);
        hear(&mut times, QUICK);
        times.forget(BrokerId(2));
        assert_eq!(times.shift(2, []), None);
        hear(&mut times, QUICK);
        assert_eq!(
            times.shift(2, []),
            Some(-DAY),
            "it answered half the time ago"
        );
        assert_eq!(times.shift(2, []), None);
    }
}
