//! What a run came to. The names of the fields are JSON keys, a contract of `docs/cli.md`.

use serde::Serialize;

use super::calibrate::Calibration;
use super::latency::Percentiles;

/// One run of the bench.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Report {
    /// Records that were measured.
    pub(super) records: u64,
    pub(super) seconds: f64,
    pub(super) records_per_second: f64,
    /// Millions of bytes of values.
    pub(super) mb_per_second: f64,
    pub(super) latency_ms: Percentiles,
    /// Records found sound, in order and once.
    pub(super) verified: u64,
    /// Records that failed, or were found missing, repeated, out of order or damaged.
    pub(super) errors: u64,
    pub(super) cpu_seconds: CpuSeconds,
    pub(super) calibration: Calibration,
}

/// Processor time while it was measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct CpuSeconds {
    /// Of this process: all producers and consumers.
    pub(super) client: f64,
}

/// What a report is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Figures {
    pub(super) records: u64,
    pub(super) nanos: u64,
    pub(super) size: usize,
    pub(super) latency_ms: Percentiles,
    pub(super) verified: u64,
    pub(super) errors: u64,
    pub(super) client_cpu: f64,
}

impl Report {
    pub(super) fn new(figures: Figures, calibration: Calibration) -> Self {
        let seconds = figures.nanos.max(1) as f64 / 1e9;
        let rate = figures.records as f64 / seconds;
        Self {
            records: figures.records,
            seconds: rounded(seconds, 1e6),
            records_per_second: rounded(rate, 10.0),
            mb_per_second: rounded(rate * figures.size as f64 / 1e6, 1e3),
            latency_ms: figures.latency_ms,
            verified: figures.verified,
            errors: figures.errors,
            cpu_seconds: CpuSeconds {
                client: rounded(figures.client_cpu, 1e3),
            },
            calibration,
        }
    }

    /// The report for people.
    pub(super) fn text(&self) -> String {
        let latency = self.latency_ms;
        let machine = self.calibration;
        let cpu_each = self.cpu_seconds.client * 1e9 / self.records.max(1) as f64;
        format!(
            "records      {} in {:.3} s\n\
             rate         {:.0} records/s, {:.1} MB/s\n\
             latency      p50 {:.3} ms, p99 {:.3} ms, p99.9 {:.3} ms, max {:.3} ms\n\
             verified     {}, errors {}\n\
             client CPU   {:.3} s, {cpu_each:.0} ns a record\n\
             calibration  TCP {:.2} GB/s, fdatasync p50 {:.0} us p99 {:.0} us, synced write {:.0} MB/s, memcpy {:.1} GB/s\n",
            self.records,
            self.seconds,
            self.records_per_second,
            self.mb_per_second,
            latency.p50,
            latency.p99,
            latency.p999,
            latency.max,
            self.verified,
            self.errors,
            self.cpu_seconds.client,
            machine.tcp_gb_per_second,
            machine.fdatasync_us_p50,
            machine.fdatasync_us_p99,
            machine.synced_write_mb_per_second,
            machine.memcpy_gb_per_second,
        )
    }
}

fn rounded(value: f64, parts: f64) -> f64 {
    (value * parts).round() / parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let figures = Figures {
            records: 3_000,
            nanos: 2_000_000_000,
            size: 100,
            latency_ms: Percentiles {
                p50: 1.5,
                p99: 2.0,
                p999: 3.0,
                max: 4.25,
            },
            verified: 2_999,
            errors: 1,
            client_cpu: 0.25,
        };
        let calibration = Calibration {
            tcp_gb_per_second: 3.0,
            fdatasync_us_p50: 120.5,
            fdatasync_us_p99: 450.0,
            synced_write_mb_per_second: 900.0,
            memcpy_gb_per_second: 8.0,
        };
        Report::new(figures, calibration)
    }

    #[test]
    fn the_keys_of_a_report_are_the_contract() {
        let expected = concat!(
            r#"{"records":3000,"seconds":2.0,"records_per_second":1500.0,"mb_per_second":0.15,"#,
            r#""latency_ms":{"p50":1.5,"p99":2.0,"p999":3.0,"max":4.25},"verified":2999,"errors":1,"#,
            r#""cpu_seconds":{"client":0.25},"calibration":{"tcp_gb_per_second":3.0,"#,
            r#""fdatasync_us_p50":120.5,"fdatasync_us_p99":450.0,"synced_write_mb_per_second":900.0,"memcpy_gb_per_second":8.0}}"#
        );
        assert_eq!(serde_json::to_string(&report()).unwrap(), expected);
    }

    #[test]
    fn people_see_rate_latency_and_what_was_verified() {
        let text = report().text();
        assert!(
            text.contains("1500 records/s, 0.1 MB/s") || text.contains("0.2 MB/s"),
            "{text}"
        );
        assert!(text.contains("p99.9 3.000 ms"), "{text}");
        assert!(text.contains("verified     2999, errors 1"), "{text}");
    }
}
