use std::path::PathBuf;

use clap::ValueEnum;

/// Append lines of files or of stdin to a topic.
///
/// Each line is one record; its value is the line's bytes without the newline, unchanged. A
/// record with a key goes to the partition that the key's hash names, so records of one key stay
/// in order. The command ends when every record is acknowledged, which means durable on a
/// majority of the replicas.
///
/// With -o jsonl it prints one line per acknowledged record, in the order of the
/// acknowledgements: {"file","line","partition","offset"}, where file is the position among the
/// arguments, 0 for stdin, and line counts from 1.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  echo 'hello' | highwater produce greetings
  highwater produce changes changes.jsonl -f json --key-field path
  printf 'k1\\tv1\\nk2\\tv2\\n' | highwater produce pairs -f kv
  highwater produce pairs pairs.csv -f kv --separator ';' -o jsonl
  highwater produce logs huge.log -z zstd
  highwater produce orders orders.txt --producer-name orders-writer

Exit codes: 0 every record was acknowledged, 7 only some were, 1 none was (3 no such topic,
5 no broker answered).")]
pub(crate) struct ProduceArgs {
    /// The topic.
    #[arg(value_name = "TOPIC")]
    pub(crate) topic: String,

    /// Files to read, in this order; '-' is stdin [default: stdin].
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,

    /// What a line is.
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) format: LineForm,

    /// The field of the JSON object whose text is the key.
    #[arg(long, value_name = "FIELD")]
    pub(crate) key_field: Option<String>,

    /// What stands between key and value in form kv; \t, \n, \xHH are understood [default: '\t'].
    #[arg(long, value_name = "TEXT")]
    pub(crate) separator: Option<String>,

    /// Send every record to this partition, whatever its key.
    #[arg(short, long, value_name = "P")]
    pub(crate) partition: Option<u32>,

    /// How batches are compressed.
    #[arg(
        short = 'z',
        long = "compression",
        value_enum,
        value_name = "CODEC",
        default_value_t
    )]
    pub(crate) compression: Compression,

    /// Produce under this name: an earlier producer of the name that still runs is refused from
    /// then on, with PRODUCER_FENCED, on every partition.
    #[arg(long, value_name = "NAME")]
    pub(crate) producer_name: Option<String>,
}

/// How batches are compressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip: small and slow.
    Gzip,
    /// Snappy: fast.
    Snappy,
    /// LZ4: fast.
    Lz4,
    /// Zstandard: small, and faster than gzip.
    Zstd,
}

/// What a line is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LineForm {
    /// The value of a record without a key.
    #[default]
    Line,
    /// Key, separator, value.
    Kv,
    /// A JSON text: the value; --key-field names the key.
    Json,
}
