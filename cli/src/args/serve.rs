use std::path::PathBuf;

/// Run a broker.
///
/// Without --join the broker founds a cluster of its own, in an empty data directory. With --join
/// it joins the cluster of the broker at that peer address. A data directory that is in use
/// already belongs to its cluster; --join then only says where else to look for the others, which
/// is needed if all of them have other addresses than before.
///
/// When it accepts work it prints one line of JSON to stdout:
/// {"ready":true,"broker":1,"cluster":"…","listen":"…","peer":"…","http":"…"}
///
/// Every setting can come from a flag, from --set, from the environment (HIGHWATER__DATA_DIR=…)
/// or from the file of --config (TOML); the first of these that has it counts.
#[derive(Debug, Default, clap::Args)]
#[command(after_long_help = "\
Settings of --set, HIGHWATER__NAME and --config:
  data_dir, listen, peer_listen, http_listen, advertise, join, rack, insecure, log_level,
  log_format, metrics_per_partition, suspect_after
  `highwater config show --origin` shows them, and where each comes from.

Examples:
  highwater serve
  highwater serve --data-dir /var/lib/highwater --listen 127.0.0.1:9000
  highwater serve --data-dir b2 --listen 127.0.0.1:7664 --join 127.0.0.1:7655
  HIGHWATER__RACK=r1 highwater serve --config highwater.toml
  highwater serve --ephemeral

The log goes to stderr. HIGHWATER_LOG (or RUST_LOG), a filter such as info,highwater_broker=debug,
counts before --log-level.
Exit codes: 0 stopped by SIGTERM or SIGINT, 1 could not start or had to stop, 2 usage or
configuration.")]
pub(crate) struct ServeArgs {
    /// Where everything is kept [default: ./highwater-data].
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,

    /// The address for clients; port 0 takes a free one [default: 127.0.0.1:7654].
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<String>,

    /// The address for other brokers [default: that for clients, port + 1].
    #[arg(long, value_name = "ADDR")]
    pub(crate) peer_listen: Option<String>,

    /// The address for /healthz, /readyz and /metrics [default: that for clients, port + 2].
    #[arg(long, value_name = "ADDR")]
    pub(crate) http_listen: Option<String>,

    /// The host name or address that others reach this broker by [default: that of --listen].
    #[arg(long, value_name = "HOST")]
    pub(crate) advertise: Option<String>,

    /// The peer address of a broker of the cluster to join; may be given several times.
    #[arg(long, value_name = "PEERHOST:PORT")]
    pub(crate) join: Vec<String>,

    /// The rack this broker stands in; replicas are spread over racks.
    #[arg(long)]
    pub(crate) rack: Option<String>,

    /// From which level on the log shows what happens: error, warn, info, debug or trace
    /// [default: info].
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,

    /// How the log looks: text or json [default: text].
    #[arg(long, value_name = "FORM")]
    pub(crate) log_format: Option<String>,

    /// A TOML file with settings.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// A setting; may be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,

    /// Accept clients from other machines without authentication.
    #[arg(long)]
    pub(crate) insecure: bool,

    /// Keep everything in memory, on free ports unless told otherwise, for tests.
    ///
    /// Nothing is left when the broker ends. It founds a cluster of its own, so --data-dir and
    /// --join cannot go with it. Where stdin is a pipe that is open at the start, it ends when that
    /// closes, and so with the process that started it.
    #[arg(long)]
    pub(crate) ephemeral: bool,

    /// Leave the terminal: how `dev up` starts brokers that outlive it.
    #[arg(long, hide = true)]
    pub(crate) new_session: bool,
}
