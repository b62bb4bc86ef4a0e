use std::time::Duration;

use clap::Subcommand;

use super::duration;

/// Create, list, describe, alter and delete topics.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct TopicArgs {
    #[command(subcommand)]
    pub(crate) verb: TopicVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TopicVerb {
    /// Create a topic.
    Create(CreateArgs),
    /// List all topics.
    ///
    /// JSON: [{"name","id","partition_count","replication_factor"}]
    List,
    /// Show a topic's configuration and the state of its partitions.
    ///
    /// With --watch it looks again and again until it is interrupted; JSON has one document, with
    /// -o jsonl one line, for each look.
    ///
    /// JSON: {"name","id","config":{…},"partitions":[{"partition","leader","leader_epoch",
    /// "replicas":[…],"in_sync":[…],"log_start_offset","high_watermark"}]}
    Describe {
        /// The topic.
        #[arg(value_name = "NAME")]
        name: String,

        /// Look again after this time.
        #[arg(
            long,
            value_name = "TIME",
            value_parser = duration,
            num_args = 0..=1,
            require_equals = true,
            default_missing_value = "2s"
        )]
        watch: Option<Duration>,
    },
    /// Change settings of a topic.
    Alter(AlterArgs),
    /// Delete topics and all their records.
    ///
    /// Asks first when stdin is a terminal; elsewhere -y is required.
    Delete {
        /// The topics.
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,

        /// Delete without asking.
        #[arg(short, long)]
        yes: bool,
    },
}

/// Create a topic.
///
/// Settings are durability, retention.ms, retention.bytes, cleanup.policy, segment.bytes,
/// segment.ms and max.batch.bytes; nothing is deleted by default.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  highwater topic create orders -p 6
  highwater topic create clicks -p 12 -r 3 -c retention.ms=604800000
  highwater topic create orders -p 6 --if-not-exists")]
pub(crate) struct CreateArgs {
    /// The topic: 1 to 249 letters, digits, '.', '_' and '-'.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,

    /// How many partitions.
    #[arg(short, long, value_name = "N")]
    pub(crate) partitions: u32,

    /// How many replicas of each [default: the smaller of 3 and the number of brokers].
    #[arg(short, long, value_name = "N")]
    pub(crate) replication: Option<u32>,

    /// A setting; may be given several times.
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) config: Vec<(String, String)>,

    /// Succeed when the topic is there already.
    #[arg(long)]
    pub(crate) if_not_exists: bool,
}

/// Change settings of a topic.
///
/// What is not named stays as it is. The new values hold when the command returns.
///
/// JSON: {"name","config":{…}}, with every setting as it is then.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  highwater topic alter orders -c retention.ms=7d
  highwater topic alter orders -c max.batch.bytes=2MiB --unset retention.ms")]
pub(crate) struct AlterArgs {
    /// The topic.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,

    /// A setting and its new value; may be given several times.
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) config: Vec<(String, String)>,

    /// A setting to return to its default; may be given several times.
    #[arg(long, value_name = "KEY")]
    pub(crate) unset: Vec<String>,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as key=value, such as retention.ms=86400000".to_owned()),
    }
}
