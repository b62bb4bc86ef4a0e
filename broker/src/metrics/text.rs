//! The page that `/metrics` answers with, in the OpenMetrics text format. Names are a contract of
//! `docs/operations.md`.

mod writer;

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use self::writer::{Writer, count_of};
use super::{Connections, Gauges, Metrics, PartitionGauges};

/// What begins every name.
const PREFIX: &str = "highwater";

/// The page: what was counted so far, and the state of now.
pub fn render(metrics: &Arc<Metrics>, gauges: Gauges) -> String {
    let mut registry = Registry::with_prefix(PREFIX);
    let metrics = Arc::clone(metrics);
    registry.register_collector(Box::new(Page { metrics, gauges }));
    let mut page = String::with_capacity(16 << 10);
    match text::encode(&mut page, &registry) {
        Ok(()) => page,
        // Writing to a string does not fail.
        Err(fmt::Error) => String::new(),
    }
}

#[derive(Debug)]
struct Page {
    metrics: Arc<Metrics>,
    gauges: Gauges,
}

impl Collector for Page {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Writer(encoder);
        page.identity(&self.gauges)?;
        page.produce(&self.metrics)?;
        page.fetch(&self.metrics)?;
        page.log(&self.metrics)?;
        page.groups(&self.metrics)?;
        page.clients(&self.metrics)?;
        page.cluster(&self.gauges)?;
        page.machine(&self.gauges)?;
        page.partitions(&self.gauges.each)
    }
}

type OfPartition = fn(&PartitionGauges) -> u64;

impl Writer<'_> {
    fn identity(&mut self, gauges: &Gauges) -> fmt::Result {
        let help = "The broker, its cluster and its version";
        let mut info = self.begin("build", help, MetricType::Info)?;
        let broker = gauges.broker.to_string();
        info.encode_info(&[
            ("version", env!("CARGO_PKG_VERSION")),
            ("broker", broker.as_str()),
            ("cluster", gauges.cluster.as_str()),
        ])
    }

    fn produce(&mut self, metrics: &Metrics) -> fmt::Result {
        self.latency(
            "produce_queue_seconds",
            "Time of batches from their arrival at the partition to their proposal",
            &metrics.produce_queue,
        )?;
        self.latency(
            "produce_commit_seconds",
            "Time of batches from their proposal until they are committed and applied",
            &metrics.produce_commit,
        )?;
        self.latency(
            "replicate_seconds",
            "Time of requests with entries to a follower until it has them on its disk",
            &metrics.replicate,
        )?;
        let batches = metrics.produce_commit.count();
        let names = ["produced_batches", "produced_records", "produced_bytes"];
        self.traffic(
            names,
            "committed and acknowledged",
            &metrics.produced,
            batches,
        )?;
        self.counter(
            "produce_duplicate_batches",
            "Batches that were sent again and were in the log already",
            metrics.duplicate_batches.get(),
        )?;
        let help = "Batches that were not taken, or whose fate is not known, by reason";
        let mut errors = self.begin("produce_errors", help, MetricType::Counter)?;
        for (reason, count) in metrics.produce_errors().filter(|(_, count)| *count > 0) {
            let labels = [("reason", reason.as_str())];
            count_of(errors.encode_family(&labels)?, count)?;
        }
        Ok(())
    }

    fn fetch(&mut self, metrics: &Metrics) -> fmt::Result {
        self.latency(
            "fetch_seconds",
            "Time of reading and preparing a reply with data to a consumer, without waiting for data",
            &metrics.fetch,
        )?;
        let batches = metrics.fetched_batches.get();
        let names = ["fetched_batches", "fetched_records", "fetched_bytes"];
        self.traffic(names, "read for consumers", &metrics.fetched, batches)
    }

    fn log(&mut self, metrics: &Metrics) -> fmt::Result {
        self.latency(
            "log_write_seconds",
            "Time of giving bytes of a file to the system",
            &metrics.log_write,
        )?;
        self.counter(
            "log_written_bytes",
            "Bytes of files given to the system",
            metrics.log_written_bytes.get(),
        )?;
        self.latency(
            "log_sync_seconds",
            "Time of syncing a file to the disk, the wait for a thread included",
            &metrics.log_sync,
        )?;
        self.counter(
            "log_sync_errors",
            "Syncs that failed; the broker stops after one",
            metrics.log_sync_errors.get(),
        )?;
        self.counter(
            "log_made_segments",
            "Segment files that were made of free space",
            metrics.made_segments.get(),
        )?;
        self.counter(
            "log_reused_segments",
            "Segment files that nobody can read any more and that became the next one",
            metrics.reused_segments.get(),
        )?;
        self.counter(
            "log_deleted_segments",
            "Segment files that were given back because nobody can read them any more",
            metrics.deleted_segments.get(),
        )?;
        self.counter(
            "log_deleted_bytes",
            "Bytes that those files took on the disk",
            metrics.deleted_bytes.get(),
        )
    }

    fn groups(&mut self, metrics: &Metrics) -> fmt::Result {
        self.counter(
            "leaderships",
            "Times that this broker came to lead a partition or the metadata group",
            metrics.leaderships.get(),
        )?;
        self.counter(
            "suspicions",
            "Times that another broker did not answer and was suspected of having failed",
            metrics.suspicions.get(),
        )?;
        self.counter(
            "replica_failures",
            "Times that a replica here stopped by itself or could not be opened",
            metrics.replica_failures.get(),
        )
    }

    fn clients(&mut self, metrics: &Metrics) -> fmt::Result {
        let help = "Calls by method and gRPC code; streams count when they open";
        let mut requests = self.begin("requests", help, MetricType::Counter)?;
        for (method, code, count) in metrics.requests.counted() {
            let labels = [("method", method), ("code", code)];
            count_of(requests.encode_family(&labels)?, count)?;
        }
        let listeners = [("client", &metrics.clients), ("peer", &metrics.peers)];
        let help = "Connections that were accepted, by listener";
        let mut accepted = self.begin("connections_accepted", help, MetricType::Counter)?;
        for (listener, connections) in listeners {
            let labels = [("listener", listener)];
            count_of(accepted.encode_family(&labels)?, connections.accepted.get())?;
        }
        let help = "Connections that are open, by listener";
        let open =
            listeners.map(|(listener, connections)| (listener, Connections::open(connections)));
        self.gauges("connections", help, "listener", open)
    }

    fn cluster(&mut self, now: &Gauges) -> fmt::Result {
        self.gauge(
            "ready",
            "1 when the broker has joined its cluster and opened its partitions",
            u64::from(now.ready),
        )?;
        self.gauge(
            "controller",
            "1 when the broker leads the metadata group",
            u64::from(now.controller),
        )?;
        self.gauges(
            "brokers",
            "Brokers of the cluster, by whether they answer this one",
            "state",
            [("up", now.brokers_up), ("down", now.brokers_down)],
        )?;
        self.gauge("topics", "Topics of the cluster", now.topics)?;
        self.gauge("partitions", "Partitions of the cluster", now.partitions)?;
        self.gauge(
            "partitions_leaderless",
            "Partitions of the cluster of which this broker knows no leader",
            now.partitions_leaderless,
        )?;
        self.gauge(
            "partitions_led",
            "Partitions that this broker leads",
            now.partitions_led,
        )?;
        self.gauge(
            "partitions_under_replicated",
            "Partitions led here with a replica that does not answer or is far behind",
            now.partitions_under_replicated,
        )?;
        self.gauge(
            "replica_lag_entries",
            "The most committed entries that a replica of a partition led here lacks",
            now.lag_entries,
        )?;
        self.gauge("replicas", "Replicas that are open here", now.replicas)?;
        self.gauge(
            "log_ready_segments",
            "Segment files of partitions that are ready for the next records",
            now.ready_segments,
        )?;
        self.gauge(
            "replicas_out",
            "Replicas that are placed here and not open",
            now.replicas_out,
        )?;
        self.gauge(
            "replicas_damaged",
            "Replicas here that are out of their groups because their files are damaged",
            now.replicas_damaged,
        )?;
        self.gauge(
            "replicas_diverged",
            "Replicas here that are out of their groups because their history differs",
            now.replicas_diverged,
        )
    }

    fn machine(&mut self, now: &Gauges) -> fmt::Result {
        let help = "Seconds by which the machine's clock is ahead of the time that the broker goes by; 0 \
                    while it follows it";
        self.gauge_of_seconds("clock_offset_seconds", help, now.clock_offset_ms as f64)?;
        let help = "Seconds between this broker's time and that of the one that differs most";
        self.gauge_of_seconds("clock_skew_seconds", help, now.clock_skew_ms as f64)?;
        let help = "1 while something is refused because the data directory's disk is full";
        self.gauge("disk_full", help, u64::from(now.disk_full))?;
        let help = "Bytes of deleted files that are on the disk because somebody still reads them";
        self.gauge("disk_deleted_bytes", help, now.disk_deleted)?;
        if let Some((free, total)) = now.disk {
            let help = "Bytes of the data directory's disk that are free";
            self.gauge("disk_free_bytes", help, free)?;
            let help = "Bytes of the data directory's disk";
            self.gauge("disk_size_bytes", help, total)?;
        }
        if let Some((open, limit)) = now.files {
            self.gauge("open_files", "Files that are open", open)?;
            let help = "How many files may be open";
            self.gauge("open_files_limit", help, limit)?;
        }
        match now.memory {
            Some(bytes) => {
                let help = "Bytes of memory in use that are no pages of files";
                self.gauge("memory_bytes", help, bytes)
            }
            None => Ok(()),
        }
    }

    fn partitions(&mut self, each: &[PartitionGauges]) -> fmt::Result {
        let names: [(_, _, OfPartition); 5] = [
            (
                "partition_log_start_offset",
                "The first offset that can be read",
                |partition| partition.log_start_offset,
            ),
            (
                "partition_high_watermark",
                "The end of what can be read",
                |partition| partition.high_watermark,
            ),
            (
                "partition_leader_epoch",
                "The number of the leadership",
                |partition| partition.leader_epoch,
            ),
            (
                "partition_in_sync_replicas",
                "Replicas that have everything that is committed",
                |partition| partition.in_sync,
            ),
            (
                "partition_lag_entries",
                "The most committed entries that a replica lacks",
                |partition| partition.lag_entries,
            ),
        ];
        if each.is_empty() {
            return Ok(());
        }
        for (name, help, value) in names {
            let mut family = self.begin(name, help, MetricType::Gauge)?;
            for partition in each {
                let number = partition.partition.to_string();
                let labels = [
                    ("topic", partition.topic.as_str()),
                    ("partition", number.as_str()),
                ];
                family
                    .encode_family(&labels)?
                    .encode_gauge(&value(partition))?;
            }
        }
        Ok(())
    }
}
