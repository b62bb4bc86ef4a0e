//! One metric after the other, in the forms that the page uses.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::super::{Latency, Traffic};

/// How names end that have a unit. What is counted in pieces has none.
static UNITS: [(&str, &Unit); 2] = [("_seconds", &Unit::Seconds), ("_bytes", &Unit::Bytes)];

pub(super) struct Writer<'a>(pub(super) DescriptorEncoder<'a>);

impl Writer<'_> {
    /// Begins a metric. The end of a name says its unit, which the page names, too.
    pub(super) fn begin(
        &mut self,
        name: &'static str,
        help: &str,
        kind: MetricType,
    ) -> Result<MetricEncoder<'_>, fmt::Error> {
        for (end, unit) in UNITS {
            if let Some(name) = name.strip_suffix(end) {
                return self.0.encode_descriptor(name, help, Some(unit), kind);
            }
        }
        self.0.encode_descriptor(name, help, None, kind)
    }

    pub(super) fn counter(&mut self, name: &'static str, help: &str, value: u64) -> fmt::Result {
        count_of(self.begin(name, help, MetricType::Counter)?, value)
    }

    pub(super) fn gauge(&mut self, name: &'static str, help: &str, value: u64) -> fmt::Result {
        self.begin(name, help, MetricType::Gauge)?
            .encode_gauge(&value)
    }

    pub(super) fn gauge_of_seconds(
        &mut self,
        name: &'static str,
        help: &str,
        milliseconds: f64,
    ) -> fmt::Result {
        self.begin(name, help, MetricType::Gauge)?
            .encode_gauge(&(milliseconds / 1000.0))
    }

    pub(super) fn gauges(
        &mut self,
        name: &'static str,
        help: &str,
        label: &str,
        values: [(&str, u64); 2],
    ) -> fmt::Result {
        let mut family = self.begin(name, help, MetricType::Gauge)?;
        for (state, value) in values {
            family
                .encode_family(&[(label, state)])?
                .encode_gauge(&value)?;
        }
        Ok(())
    }

    pub(super) fn latency(
        &mut self,
        name: &'static str,
        help: &str,
        latency: &Latency,
    ) -> fmt::Result {
        let buckets = latency.buckets();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let mut histogram = self.begin(name, help, MetricType::Histogram)?;
        histogram.encode_histogram::<NoLabelSet>(latency.seconds(), count, &buckets, None)
    }

    /// Batches, records and bytes of one direction.
    pub(super) fn traffic(
        &mut self,
        [of_batches, of_records, of_bytes]: [&'static str; 3],
        what: &str,
        traffic: &Traffic,
        batches: u64,
    ) -> fmt::Result {
        self.counter(of_batches, &format!("Batches that were {what}"), batches)?;
        let records = traffic.records.get();
        self.counter(of_records, &format!("Records that were {what}"), records)?;
        let help = format!("Bytes of batches that were {what}");
        self.counter(of_bytes, &help, traffic.bytes.get())
    }
}

pub(super) fn count_of(mut metric: MetricEncoder<'_>, count: u64) -> fmt::Result {
    metric.encode_counter::<NoLabelSet, _, u64>(&count, None)
}
