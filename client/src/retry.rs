//! How long to wait before trying again. Pure: randomness is handed in, and no deadline is kept
//! here; how long to go on is the caller's business.

use std::time::Duration;

/// The longest wait before the second attempt.
pub(crate) const FIRST_DELAY: Duration = Duration::from_millis(10);
/// The longest wait between any two attempts.
pub(crate) const LONGEST_DELAY: Duration = Duration::from_secs(1);

/// Exponential backoff with full jitter: each wait lies anywhere between nothing and a limit that
/// doubles with every failure, so that many clients that failed together do not return together.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Counts a failure and gives the wait before the next attempt.
    pub(crate) fn next(&mut self, random: u64) -> Duration {
        let limit = FIRST_DELAY
            .saturating_mul(1 << self.failures.min(16))
            .min(LONGEST_DELAY);
        self.failures = self.failures.saturating_add(1);
        limit.mul_f64(random as f64 / u64::MAX as f64)
    }

    /// True when nothing failed yet.
    pub(crate) fn is_fresh(&self) -> bool {
        self.failures == 0
    }

    /// Forgets the failures: something worked.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_double_from_ten_milliseconds_up_to_a_second() {
        let mut backoff = Backoff::default();
        let limits: Vec<u128> = (0..9).map(|_| backoff.next(u64::MAX).as_millis()).collect();
        assert_eq!(limits, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        backoff.reset();
        assert_eq!(backoff.next(u64::MAX), FIRST_DELAY);
    }

    #[test]
    fn jitter_spreads_over_the_whole_range() {
        assert_eq!(Backoff { failures: 5 }.next(0), Duration::ZERO);
        let half = Backoff { failures: 7 }.next(u64::MAX / 2);
        assert_eq!(half.as_millis(), 500);
    }

    #[test]
    fn a_thousand_failures_do_not_overflow() {
        let mut backoff = Backoff { failures: u32::MAX };
        assert_eq!(backoff.next(u64::MAX), LONGEST_DELAY);
    }
}
