//! PURE. How old something is, by the time that this broker saw pass. Time that its clock skipped (a
//! restart of the machine, a correction by the other brokers) may be time in which nothing ran, or a
//! clock that was wrong: nobody can tell here, so it makes nothing older.

use highwater_proto::Timestamp;

/// Skips that are told apart; the oldest two become one then, which makes ages smaller only.
const MAX_SKIPS: usize = 64;

/// The times that a clock skipped, in milliseconds since 1970: each from a moment to a later one, in
/// their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Skips(Vec<(i64, i64)>);

impl Skips {
    /// The skips that were kept; what cannot be one is left out.
    pub fn restore(kept: impl IntoIterator<Item = (i64, i64)>) -> Self {
        let mut skips = Self::default();
        for (from, until) in kept {
            skips.note(from, until);
        }
        skips
    }

    /// Each of them, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (i64, i64)> + '_ {
        self.0.iter().copied()
    }

    /// The clock went from one moment to a later one, and nobody saw the time between pass.
    pub(super) fn note(&mut self, from: i64, until: i64) {
        let from = self.0.last().map_or(from, |last| from.max(last.1));
        if from >= until {
            return;
        }
        self.0.push((from, until));
        if self.0.len() > MAX_SKIPS {
            let (_, until) = self.0.remove(1);
            self.0[0].1 = until;
        }
    }

    /// The clock went back: nothing was skipped from `now` on.
    pub(super) fn cut(&mut self, now: i64) {
        self.0.retain_mut(|skip| {
            skip.1 = skip.1.min(now);
            skip.0 < skip.1
        });
    }

    /// How much of the time from `at` on was skipped.
    fn since(&self, at: i64) -> i64 {
        let skipped = |(from, until): &(i64, i64)| until.saturating_sub(at.max(*from)).max(0);
        self.0
            .iter()
            .map(skipped)
            .fold(0, |all, one| all.saturating_add(one))
    }
}

/// A look at the clock, for judging ages.
#[derive(Debug, Clone)]
pub struct Ages {
    /// The time now.
    pub now: Timestamp,
    skips: Skips,
}

impl Ages {
    /// At `now`, with what was skipped before.
    pub fn new(now: Timestamp, skips: Skips) -> Self {
        Self { now, skips }
    }

    /// The moment from which on as much time was seen to pass until now as since `at`. Never before
    /// it, and in the same order as what it is asked for.
    pub fn counted_from(&self, at: Timestamp) -> Timestamp {
        Timestamp(at.0.saturating_add(self.skips.since(at.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_skipped_makes_nothing_older() {
        let ages = Ages::new(Timestamp(1000), Skips::restore([(100, 300), (500, 600)]));
        let age = |at| ages.now.0 - ages.counted_from(Timestamp(at)).0;
        assert_eq!(age(0), 700);
        assert_eq!((age(100), age(200), age(300)), (600, 600, 600));
        assert_eq!((age(500), age(600), age(999)), (400, 400, 1));
        assert_eq!(age(1500), -500);
    }

    #[test]
    fn skips_that_are_too_many_become_one_and_never_less() {
        let mut skips = Skips::default();
        for n in 0..100 {
            skips.note(n * 10, n * 10 + 4);
        }
        assert_eq!(skips.iter().count(), MAX_SKIPS);
        for at in 0..1000 {
            let exact = (0..100).map(|n| (n * 10 + 4 - at.max(n * 10)).max(0));
            assert!(skips.since(at) >= exact.sum(), "{at}");
        }
        assert_eq!(skips.since(900), 40, "new ones are exact");
    }

    #[test]
    fn a_clock_that_goes_back_has_skipped_nothing_that_is_to_come() {
        let mut skips = Skips::restore([(100, 200), (300, 900), (1000, 1100)]);
        skips.cut(500);
        assert_eq!(skips.iter().collect::<Vec<_>>(), [(100, 200), (300, 500)]);
        skips.note(450, 700);
        assert_eq!(skips.since(0), 100 + 200 + 200);
        skips.note(9, 5);
        assert_eq!(skips.iter().count(), 3);
    }
}
