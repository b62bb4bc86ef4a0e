//! What can be typed. Types only: what a command means is decided in `command`.

mod bench;
mod cluster;
mod completion;
#[cfg(target_os = "linux")]
mod config;
mod consume;
#[cfg(target_os = "linux")]
mod debug;
#[cfg(target_os = "linux")]
mod dev;
mod explain;
mod produce;
mod reach;
#[cfg(target_os = "linux")]
mod serve;
mod topic;

use std::ffi::OsString;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use jiff::{SignedDuration, Span, SpanRelativeTo};

use crate::error::{Failure, Label};
use crate::exit::ExitCode;
use crate::output::Form;
use crate::version;

pub(crate) use bench::{BenchArgs, BenchVerb, LoadArgs};
pub(crate) use cluster::{ClusterArgs, ClusterVerb};
pub(crate) use completion::CompletionArgs;
#[cfg(target_os = "linux")]
pub(crate) use config::{ConfigArgs, ConfigVerb, ShowArgs};
pub(crate) use consume::ConsumeArgs;
#[cfg(target_os = "linux")]
pub(crate) use debug::{DebugArgs, DebugVerb};
#[cfg(target_os = "linux")]
pub(crate) use dev::{DevArgs, DevVerb, UpArgs};
pub(crate) use explain::ExplainArgs;
pub(crate) use produce::{Compression, LineForm, ProduceArgs};
#[cfg(target_os = "linux")]
pub(crate) use serve::ServeArgs;
pub(crate) use topic::{AlterArgs, CreateArgs, Partitions, TopicArgs, TopicVerb, TrimArgs};

/// The variable of the environment that names brokers.
const BROKERS: &str = "HIGHWATER_BROKERS";

/// A durable, replicated commit log: the broker and its client commands in one program.
#[derive(Debug, Parser)]
#[command(
    name = "highwater",
    version,
    long_version = version::long(),
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = "\
Examples:
  highwater serve                                   one broker on 127.0.0.1:7654
  highwater dev up --nodes 3                        three brokers on this machine
  highwater topic create orders -p 6
  echo 'hello' | highwater produce orders
  highwater consume orders --from start --exit-at-end

-b, -o and --timeout may stand before the command, too: highwater -b b1:7654 topic list
Data goes to stdout, everything else to stderr.
Exit codes: 0 ok, 1 failure, 2 usage, 3 not found, 4 conflict, 5 unavailable or timed out,
6 denied, 7 partial, 130 interrupted."
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) client: ClientArgs,

    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Args {
    /// Everything that can be typed.
    pub(crate) fn definition() -> clap::Command {
        Self::definition_with(std::env::var_os(BROKERS))
    }

    /// The same, where the variable of the environment that names brokers is `brokers`. Clap takes what
    /// comes from a variable for typed: every line of usage showed it, as if it had to be given, and no
    /// command was ever without arguments. So it is a default.
    fn definition_with(brokers: Option<OsString>) -> clap::Command {
        let command = Self::command();
        reach::hiding(match brokers {
            Some(brokers) => command.mut_arg("brokers", |arg| arg.default_value(brokers)),
            None => command,
        })
    }

    /// Reads a line of words, the name of the program first.
    pub(crate) fn read(
        words: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    ) -> Result<Self, clap::Error> {
        Self::read_by(Self::definition(), words)
    }

    fn read_by(
        definition: clap::Command,
        words: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    ) -> Result<Self, clap::Error> {
        let matches = definition.try_get_matches_from(words)?;
        reach::refuse_useless(&matches)?;
        Self::from_arg_matches(&matches)
    }
}

/// The families of verbs. What the help says of each stands at its arguments: a comment here would take
/// the place of all of it.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[cfg(target_os = "linux")]
    Serve(ServeArgs),
    #[cfg(target_os = "linux")]
    Config(ConfigArgs),
    Topic(TopicArgs),
    Produce(ProduceArgs),
    Consume(ConsumeArgs),
    Cluster(ClusterArgs),
    Bench(BenchArgs),
    #[cfg(target_os = "linux")]
    Dev(DevArgs),
    #[cfg(target_os = "linux")]
    Debug(DebugArgs),
    Explain(ExplainArgs),
    Completion(CompletionArgs),
}

/// What the commands that talk to a cluster take, anywhere on the line.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ClientArgs {
    /// Brokers to ask first; one that answers is enough. Also HIGHWATER_BROKERS.
    #[arg(
        short,
        long = "brokers",
        value_name = "HOST:PORT,…",
        default_value = "127.0.0.1:7654",
        value_delimiter = ',',
        global = true
    )]
    pub(crate) brokers: Vec<String>,

    /// The form of the data on stdout.
    #[arg(short, long, value_enum, default_value_t, global = true)]
    pub(crate) output: Form,

    /// How long to try, such as 500ms, 30s or 2m [default: 30s; for the delivery of produced
    /// records 120s].
    #[arg(long, value_parser = duration, global = true)]
    pub(crate) timeout: Option<Duration>,
}

impl ClientArgs {
    /// The time for a call.
    pub(crate) fn call_timeout(&self) -> Duration {
        self.timeout.unwrap_or(Duration::from_secs(30))
    }

    /// The time for a produced record to be acknowledged.
    pub(crate) fn delivery_timeout(&self) -> Duration {
        self.timeout.unwrap_or(Duration::from_secs(120))
    }
}

/// The longest span of time: clocks can count that far from any moment.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Reads a span of time such as `30s`, `500ms`, `1m30s`, `2d`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let help = "write a span of time such as 500ms, 30s or 2m";
    let span = span(text).ok_or_else(|| help.to_owned())?;
    match Duration::try_from(span) {
        Ok(span) if span > LONGEST => Err(format!("it is longer than 366 days; {help}")),
        Ok(span) if !span.is_zero() => Ok(span),
        _ => Err(format!("it must be longer than nothing; {help}")),
    }
}

/// Reads a span of time, also one below zero. Days have 24 hours, whatever clocks were changed in them.
pub(crate) fn span(text: &str) -> Option<SignedDuration> {
    let in_days = |_| {
        let span: Span = text.parse()?;
        span.to_duration(SpanRelativeTo::days_are_24_hours())
    };
    text.parse().or_else(in_days).ok()
}

/// Answers what clap could not turn into arguments: help and version are no failure.
pub(crate) fn refuse(error: &clap::Error) -> Result<(), Failure> {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Ok(error.print()?),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            drop(error.print());
            Err(Failure::Told(ExitCode::Usage))
        }
        _ => {
            let words = std::env::args_os().skip(1);
            let (message, hint) = reworded(&error.render().to_string(), &verbs_of(words));
            Err(Failure::new(Label::Usage, ExitCode::Usage, message).hint(hint))
        }
    }
}

/// The command that these words begin with, whatever stands between its names.
fn verbs_of(words: impl Iterator<Item = OsString>) -> String {
    let mut command = Args::command();
    let mut verbs = "highwater".to_owned();
    for word in words {
        if let Some(below) = command.find_subcommand(&word).cloned() {
            verbs = format!("{verbs} {}", below.get_name());
            command = below;
        }
    }
    verbs
}

/// Splits clap's text into the message and the next step, the help of the command: that of its usage
/// line, else that of the `typed` names.
fn reworded(text: &str, typed: &str) -> (String, String) {
    let text = text.trim_end();
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let (message, _) = text
        .split_once("\n\nFor more information")
        .unwrap_or((text, ""));
    let usage = message
        .lines()
        .find_map(|line| line.strip_prefix("Usage: "));
    let verbs = usage.map_or(typed, |line| {
        line.split([' ', '\n'])
            .take_while(plain_word)
            .last()
            .map_or("", |last| {
                let end = line.find(last).map_or(0, |at| at + last.len());
                &line[..end]
            })
    });
    (message.to_owned(), format!("{verbs} --help"))
}

fn plain_word(word: &&str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    word.bytes().all(plain) && !word.starts_with('-')
}

#[cfg(test)]
mod tests;
