use std::time::Duration;

use clap::Subcommand;

use super::duration;

/// Look at the cluster and its health.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct ClusterArgs {
    #[command(subcommand)]
    pub(crate) verb: ClusterVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ClusterVerb {
    /// Show the cluster's id, its controller and its size.
    ///
    /// JSON: {"cluster_id","broker","controller","broker_count","topic_count",
    /// "partition_count","version","metadata_voters"}
    Info,
    /// List the brokers.
    ///
    /// JSON: [{"id","listen","peer","http","rack","state"}]
    Brokers,
    /// Say whether every broker is up and every partition has a leader and all its replicas.
    ///
    /// A broker that is drained is no problem; it is named. JSON: {"status","broker_count",
    /// "topic_count","partition_count","draining","problems":[{"broker","topic","partition",
    /// "problem"}]}. Exit codes: 0 healthy, 1 degraded, 5 no answer.
    Health {
        /// Wait until the cluster is healthy, but not longer than this.
        #[arg(long, value_name = "TIME", value_parser = duration)]
        wait: Option<Duration>,
    },
    /// Have a broker hand over what it leads, and keep it from leading.
    ///
    /// Waits until others lead. The broker goes on following and voting, and leads nothing that
    /// another broker can lead until the drain is cancelled or the broker restarts. Clients see no
    /// error. JSON: {"broker","state","leaderships","unmovable"}. Exit codes: 0 handed over, 1 not
    /// everything within --wait, 4 the drain was cancelled meanwhile or the broker restarted.
    Drain {
        /// The broker's id.
        #[arg(value_name = "BROKER")]
        broker: u32,
        /// Let it lead again. What it led before does not come back by itself.
        #[arg(long)]
        cancel: bool,
        /// How long to wait until others lead.
        #[arg(long, value_name = "TIME", value_parser = duration, default_value = "30s")]
        wait: Duration,
    },
}
