use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;

/// Measure how fast a cluster is, and verify every record on the way.
///
/// Every record carries its client, its number and a check of its content; reading checks that
/// none is missing, repeated, out of order or damaged. With a rate, records are due at fixed times
/// whatever the cluster does, and latencies count from when a record was due. Without, records
/// are sent as fast as they are taken.
///
/// JSON: {"records","seconds","records_per_second","mb_per_second",
/// "latency_ms":{"p50","p99","p999","max"},"verified","errors","cpu_seconds":{"client"},
/// "calibration":{"tcp_gb_per_second","fdatasync_us_p50","fdatasync_us_p99",
/// "synced_write_mb_per_second","memcpy_gb_per_second"}}
#[derive(Debug, clap::Args)]
#[command(
    arg_required_else_help = true,
    after_long_help = "\
Examples:
  highwater bench e2e --records 5000000
  highwater bench e2e --rate 50000 --duration 30s
  highwater bench produce -p 64 --batch 4096 --duration 10s -o json
  highwater bench consume -p 6 --records 10000000

Exit codes: 0 every record was acknowledged and verified, 1 some were not, 4 records of others
were seen in the topic."
)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    pub(crate) verb: BenchVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BenchVerb {
    /// From sending to the acknowledgement; afterwards everything is read back and verified.
    Produce(LoadArgs),
    /// Reading what is there; latency is the wait for each batch.
    ///
    /// A topic of its own is filled first, which is not measured; a named one is read as it is.
    Consume(LoadArgs),
    /// From sending to the consumer, both at the same time.
    E2e(LoadArgs),
}

/// What is sent and read.
#[derive(Debug, clap::Args)]
pub(crate) struct LoadArgs {
    /// A topic that is there and for this command alone [default: one that is created and deleted
    /// afterwards].
    ///
    /// It is not written to if the first batch or the last record of a partition is of somebody
    /// else. What lies between is not looked at before; what is read and of somebody else is
    /// counted, and nothing is then reported as verified.
    #[arg(long)]
    pub(crate) topic: Option<String>,

    /// How many partitions the created topic has [default: 1].
    #[arg(short, long, value_name = "N", conflicts_with = "topic",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) partitions: Option<u32>,

    /// How many replicas each of them has [default: the smaller of 3 and the number of brokers].
    #[arg(short, long, value_name = "N", conflicts_with = "topic",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) replication: Option<u32>,

    /// How many records in all.
    #[arg(long, value_name = "N", conflicts_with = "duration",
          value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) records: Option<u64>,

    /// How long to send or read [default: 30s].
    #[arg(long, value_name = "TIME", value_parser = super::duration)]
    pub(crate) duration: Option<Duration>,

    /// The bytes of a record's value, at least 40.
    #[arg(long, value_name = "BYTES", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(40..=3_000_000))]
    pub(crate) size: u32,

    /// Records a second in all [default: as fast as they are taken].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) rate: Option<u64>,

    /// The bytes at which a batch is full [default: that of the client library].
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(512..=3 << 20))]
    pub(crate) batch: Option<u32>,

    /// How many producers send, and how many consumers share the partitions.
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) clients: u32,

    /// Where the disk is measured for the calibration: best on the brokers' disk [default: the
    /// directory for temporary files].
    #[arg(long, value_name = "DIR")]
    pub(crate) calibrate_dir: Option<PathBuf>,
}
