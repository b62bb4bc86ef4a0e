use std::path::PathBuf;

use clap::Subcommand;

/// Run a cluster on this machine for development.
///
/// The brokers run on their own until `dev down`. Their client ports are 7654, 7664, 7674 and so
/// on; data, logs and the state of the cluster are in one directory.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct DevArgs {
    #[command(subcommand)]
    pub(crate) verb: DevVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DevVerb {
    Up(UpArgs),
    /// Show the brokers of the cluster.
    ///
    /// JSON: [{"broker","pid","listen","peer","http","data_dir","state"}]
    Status {
        #[command(flatten)]
        dir: DevDir,
    },
    /// Stop the brokers and keep their data.
    Down {
        #[command(flatten)]
        dir: DevDir,

        /// Remove the data, too.
        #[arg(long)]
        purge: bool,
    },
}

/// Start the cluster, or those of its brokers that do not run; returns when it is healthy.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  highwater dev up
  highwater dev up --nodes 5 --dir /tmp/five --base-port 9000
  highwater dev down --purge")]
pub(crate) struct UpArgs {
    /// How many brokers [default: 3, or as many as there are].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) nodes: Option<u16>,

    #[command(flatten)]
    pub(crate) dir: DevDir,

    /// The client port of the first broker; each next is 10 higher; 0 takes free ports [default: 7654,
    /// or that of the brokers that are there].
    #[arg(long, value_name = "PORT")]
    pub(crate) base_port: Option<u16>,

    /// How long to wait for each broker and then for the cluster to be healthy.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = super::duration)]
    pub(crate) wait: std::time::Duration,
}

/// Where a development cluster is.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DevDir {
    /// The directory of the cluster.
    #[arg(
        id = "dir",
        long = "dir",
        value_name = "DIR",
        default_value = "./highwater-dev"
    )]
    pub(crate) path: PathBuf,
}
