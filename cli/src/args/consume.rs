use highwater_client::Freshness;

use super::duration;
use crate::record::position::Position;

/// Print the records of a topic.
///
/// Prints each value on a line, or what -f or -o say, and follows the topic until it is
/// interrupted, unless -n or --exit-at-end is given. Records of one partition come in the order
/// of their offsets.
///
/// JSON: {"topic","partition","offset","timestamp","key","value","headers":[{"name","value"}]};
/// a key or value that is not UTF-8 comes in base64 as "key_base64", "value_base64".
#[derive(Debug, clap::Args)]
#[command(after_long_help = r"Fields of -f:
  %t topic  %p partition  %o offset  %k key  %v value  %h headers
  %d timestamp in ms  %T timestamp as RFC 3339  %a time of the append in ms
  %K length of the key  %V length of the value  %% a percent sign
  \n \t \r \0 \\ \xHH

Examples:
  highwater consume orders --from start --exit-at-end
  highwater consume orders --from -10 -n 10 -f '%p:%o %k=%v\n'
  highwater consume orders --from @-1h -o jsonl
  highwater consume orders -p 0,3 --from @2026-11-20T10:00:00Z
  highwater consume orders --follower --rack r1 --freshness 2s")]
pub(crate) struct ConsumeArgs {
    /// The topic.
    #[arg(value_name = "TOPIC")]
    pub(crate) topic: String,

    /// The partitions to read [default: all].
    #[arg(short, long, value_name = "P,…", value_delimiter = ',', value_parser = partition)]
    pub(crate) partitions: Vec<u32>,

    /// Where to begin in each partition: start, end, an offset, -N for the last N records, or
    /// @TIME (RFC 3339, seconds or milliseconds since 1970, or @-10m for ten minutes ago).
    #[arg(
        long,
        value_name = "WHERE",
        default_value = "start",
        allow_hyphen_values = true
    )]
    pub(crate) from: Position,

    /// Stop after this many records in all.
    #[arg(short = 'n', long, value_name = "N")]
    pub(crate) max_records: Option<u64>,

    /// Stop at the end: each partition's high watermark when the command started.
    #[arg(long)]
    pub(crate) exit_at_end: bool,

    /// Read from the nearest replica instead of the leader: what is printed is committed, and may
    /// be behind the leader.
    #[arg(long)]
    pub(crate) follower: bool,

    /// The rack this command runs in: with --follower, replicas there come first.
    #[arg(long, requires = "follower")]
    pub(crate) rack: Option<String>,

    /// How fresh what is read must be: committed, linearizable, or an age such as 500ms [default:
    /// committed].
    #[arg(long, value_name = "HOW", value_parser = freshness)]
    pub(crate) freshness: Option<Freshness>,

    /// What to print for each record [default: '%v\n'].
    #[arg(short, long)]
    pub(crate) format: Option<String>,
}

/// A partition as an argument spells it.
fn partition(text: &str) -> Result<u32, String> {
    let number = text.parse();
    number.map_err(|_| "give the numbers of partitions, such as 0 or 0,3".to_owned())
}

/// A freshness as an argument spells it.
fn freshness(text: &str) -> Result<Freshness, String> {
    match text {
        "committed" => Ok(Freshness::Committed),
        "linearizable" => Ok(Freshness::Linearizable),
        age => match duration(age) {
            Ok(age) if !age.is_zero() => Ok(Freshness::Bounded(age)),
            Ok(_) | Err(_) => {
                Err("use committed, linearizable, or an age such as 500ms".to_owned())
            }
        },
    }
}
