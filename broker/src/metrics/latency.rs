//! A histogram of times with fixed buckets.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The upper bounds of the buckets in nanoseconds; one more bucket is without bound.
const BOUNDS: [u64; 18] = [
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    10_000_000_000,
];

/// How long something took, over all times. Recording is two relaxed additions.
#[derive(Debug, Default)]
pub struct Latency {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanos: AtomicU64,
}

impl Latency {
    /// Records one time.
    pub fn record(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let at = BOUNDS.partition_point(|bound| *bound < nanos);
        self.buckets[at].fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// How many times were recorded.
    pub fn count(&self) -> u64 {
        let buckets = self.buckets.iter();
        buckets.map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }

    /// The sum of all times in seconds.
    pub(super) fn seconds(&self) -> f64 {
        self.nanos.load(Ordering::Relaxed) as f64 / 1e9
    }

    /// The upper bound of each bucket in seconds, and how many times fell into it; the last bound
    /// is `f64::MAX`.
    pub(super) fn buckets(&self) -> Vec<(f64, u64)> {
        let bounds = BOUNDS.iter().map(|nanos| *nanos as f64 / 1e9);
        let counts = self.buckets.iter();
        bounds
            .chain([f64::MAX])
            .zip(counts.map(|bucket| bucket.load(Ordering::Relaxed)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_falls_into_the_first_bucket_that_is_not_below_it() {
        let latency = Latency::default();
        for nanos in [0, 10_000, 10_001, 3_000_000_000, 20_000_000_000] {
            latency.record(Duration::from_nanos(nanos));
        }
        let filled: Vec<_> = latency.buckets().into_iter().filter(|b| b.1 > 0).collect();
        assert_eq!(filled, [(1e-5, 2), (2.5e-5, 1), (10.0, 1), (f64::MAX, 1)]);
        assert_eq!(latency.count(), 5);
        assert!((latency.seconds() - 23.000_020_001).abs() < 1e-9);
    }

    #[test]
    fn bounds_rise() {
        assert!(BOUNDS.is_sorted());
    }
}
