//! Latencies, in a histogram that keeps three digits from a microsecond to an hour.

use hdrhistogram::Histogram;
use serde::Serialize;

const LOWEST: u64 = 1_000;
const HIGHEST: u64 = 3_600_000_000_000;

/// Latencies of records, in nanoseconds.
#[derive(Debug, Clone)]
pub(super) struct Latencies {
    histogram: Option<Histogram<u64>>,
    /// The last value and how often it came in a row: records of a batch often share one.
    last: (u64, u64),
}

/// Percentiles in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct Percentiles {
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) p999: f64,
    pub(super) max: f64,
}

impl Latencies {
    pub(super) fn new() -> Self {
        Self {
            histogram: Histogram::new_with_bounds(LOWEST, HIGHEST, 3).ok(),
            last: (0, 0),
        }
    }

    /// Adds one record.
    #[inline]
    pub(super) fn add(&mut self, nanos: u64) {
        self.add_many(nanos, 1);
    }

    /// Adds so many records.
    #[inline]
    pub(super) fn add_many(&mut self, nanos: u64, records: u64) {
        if self.last.0 == nanos {
            self.last.1 += records;
        } else {
            self.settle();
            self.last = (nanos, records);
        }
    }

    /// Adds all of `other`.
    pub(super) fn merge(&mut self, mut other: Self) {
        other.settle();
        self.settle();
        if let (Some(ours), Some(theirs)) = (&mut self.histogram, other.histogram) {
            // The bounds are the same, so nothing is out of range.
            let _ = ours.add(theirs);
        }
    }

    /// The percentiles; zeros when nothing was added.
    pub(super) fn percentiles(mut self) -> Percentiles {
        self.settle();
        let Some(histogram) = self.histogram.filter(|histogram| !histogram.is_empty()) else {
            return Percentiles::default();
        };
        let at = |quantile| millis(histogram.value_at_quantile(quantile));
        Percentiles {
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            max: millis(histogram.max()),
        }
    }

    fn settle(&mut self) {
        let (nanos, count) = std::mem::take(&mut self.last);
        if let Some(histogram) = self.histogram.as_mut().filter(|_| count > 0) {
            histogram.saturating_record_n(nanos, count);
        }
    }
}

/// Milliseconds with the digits that the histogram keeps.
fn millis(nanos: u64) -> f64 {
    (nanos as f64 / 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_records() {
        let mut latencies = Latencies::new();
        for millis in 1..=1000_u64 {
            latencies.add(millis * 1_000_000);
        }
        let found = latencies.percentiles();
        let near = |value: f64, expected: f64| (value - expected).abs() / expected < 0.002;
        assert!(near(found.p50, 500.0), "{found:?}");
        assert!(near(found.p99, 990.0), "{found:?}");
        assert!(near(found.p999, 999.0), "{found:?}");
        assert!(near(found.max, 1000.0), "{found:?}");
    }

    #[test]
    fn equal_latencies_in_a_row_count_as_often_as_they_came() {
        let mut latencies = Latencies::new();
        (0..33).for_each(|_| latencies.add_many(2_000_000, 3));
        latencies.add(50_000_000);
        let mut all = Latencies::new();
        all.merge(latencies);
        let found = all.percentiles();
        assert!((found.p50 - 2.0).abs() < 0.01, "{found:?}");
        assert!((found.max - 50.0).abs() < 0.1, "{found:?}");
    }

    #[test]
    fn nothing_measured_is_zero_and_what_is_out_of_range_is_kept() {
        assert_eq!(Latencies::new().percentiles(), Percentiles::default());
        let mut latencies = Latencies::new();
        latencies.add(u64::MAX);
        latencies.add(1);
        let found = latencies.percentiles();
        assert!(found.max >= 3_600_000.0, "{found:?}");
        assert!(found.p50 > 0.0, "{found:?}");
    }
}
