use std::str::FromStr;
use std::time::Duration;

use clap::Subcommand;

use super::duration;
use crate::record::position::Position;

/// Create, list, describe, alter, trim and delete topics.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct TopicArgs {
    #[command(subcommand)]
    pub(crate) verb: TopicVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TopicVerb {
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
    /// "replicas":[…],"in_sync":[…],"log_start_offset","high_watermark",
    /// "disk_bytes"}]}; a partition with a replica that does not do its part has
    /// "faults":[{"broker","kind","message"}] besides.
    Describe {
        /// The topic.
        #[arg(value_name = "NAME")]
        name: String,

        /// Look again after this time, 2s unless another is given, such as --watch=500ms.
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
    Alter(AlterArgs),
    Trim(TrimArgs),
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
/// Of its records nothing is deleted by default. It returns when every partition has a leader; if
/// some have none within --timeout, the topic is there and the exit code is 5.
///
/// JSON: {"name","id","partition_count","replication_factor","partitions_without_leader"}
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Settings and their defaults:
  cleanup.policy=delete      what happens to records beyond the retention: delete
  durability=quorum-fsync    a batch is acknowledged once a majority of the replicas has synced it
  max.batch.bytes=1048576    the largest batch taken; from 1KiB to 3MiB
  retention.bytes=-1         what a replica of a partition may take on its disk; -1 is any number
  retention.ms=-1            how long records are kept; -1 is for ever
  segment.bytes=67108864     the largest size of a segment file; from 1MiB to 1GiB
  segment.ms=604800000       the age at which a segment is sealed
Sizes are bytes, or a number with KiB, MiB, GiB or TiB; times are milliseconds, or a number with
ms, s, m, h or d.

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

    /// A setting, see below; may be given several times.
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) config: Vec<(String, String)>,

    /// Succeed when the topic is there already.
    #[arg(long)]
    pub(crate) if_not_exists: bool,
}

/// Change settings of a topic.
///
/// `highwater topic create --help` lists them. What is not named stays as it is. The new values hold when the command returns. A lower
/// retention.ms or retention.bytes deletes the oldest records; it says how much.
///
/// JSON: {"name","config":{…},"deletes":[{"partition","log_start_offset","bytes","records"}]}, with
/// every setting as it is then.
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

/// Delete the oldest records of a topic.
///
/// Each partition then begins at the place that --to names, on every replica and for ever. Disk
/// space is given back in whole segment files. Asks first when stdin is a terminal; elsewhere -y
/// is required, unless --dry-run says that nothing is to be deleted.
///
/// JSON: [{"topic","partition","log_start_offset","previous_log_start_offset","high_watermark",
/// "deleted_records"}]
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  highwater topic trim orders --partition 3 --to 1500
  highwater topic trim orders --partition all --to @-30d --dry-run
  highwater topic trim orders --partition all --to end -y")]
pub(crate) struct TrimArgs {
    /// The topic.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,

    /// The partition, or all of them.
    #[arg(short, long, value_name = "P|all")]
    pub(crate) partition: Partitions,

    /// What becomes the first record: an offset, @TIME (RFC 3339, seconds or milliseconds since
    /// 1970, or @-30d for thirty days ago), or end to delete everything.
    #[arg(long, value_name = "WHERE", allow_hyphen_values = true, value_parser = trim_to)]
    pub(crate) to: Position,

    /// Say what would be deleted, and delete nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Delete without asking.
    #[arg(short, long)]
    pub(crate) yes: bool,
}

/// One partition, or all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Partitions {
    All,
    One(u32),
}

impl FromStr for Partitions {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" => Ok(Self::All),
            number => match number.parse() {
                Ok(number) => Ok(Self::One(number)),
                Err(_) => Err("give the number of a partition, or all".to_owned()),
            },
        }
    }
}

/// A position that says where a partition is to begin, whatever it holds.
fn trim_to(text: &str) -> Result<Position, String> {
    match text.parse().map_err(|_| ()) {
        Ok(to @ (Position::End | Position::Offset(_) | Position::Time(_) | Position::Ago(_))) => {
            Ok(to)
        }
        Ok(Position::Start | Position::Last(_)) | Err(()) => Err(
            "give an offset such as 1500, a time such as @2026-11-20T10:00:00Z or @-30d, or end"
                .to_owned(),
        ),
    }
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as key=value, such as retention.ms=86400000".to_owned()),
    }
}
