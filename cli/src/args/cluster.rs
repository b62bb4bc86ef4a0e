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
    /// "partition_count","version"}
    Info,
    /// List the brokers.
    ///
    /// JSON: [{"id","listen","peer","http","rack","state"}]
    Brokers,
    /// Say whether every broker is up and every partition has a leader and all its replicas.
    ///
    /// JSON: {"status","broker_count","topic_count","partition_count","problems":[{"broker",
    /// "topic","partition","problem"}]}. Exit codes: 0 healthy, 1 degraded, 5 no answer.
    Health {
        /// Wait until the cluster is healthy, but not longer than this.
        #[arg(long, value_name = "TIME", value_parser = duration)]
        wait: Option<Duration>,
    },
}
