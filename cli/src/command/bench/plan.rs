//! What a run does, from what was typed. Pure.

use std::path::PathBuf;
use std::time::Duration;

use crate::args::{BenchVerb, LoadArgs};
use crate::error::Failure;

use super::load::Limit;

/// How long a run takes when nothing else is said.
const DEFAULT_DURATION: Duration = Duration::from_secs(30);

/// How much a topic is filled with before it is read, when nothing is said.
const DEFAULT_FILL: u64 = 5_000_000;
const DEFAULT_FILL_BYTES: u64 = 512 << 20;

/// The size at which batches are full in the client library.
const DEFAULT_BATCH: usize = 256 << 10;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Produce,
    Consume,
    EndToEnd,
}

/// A run of the bench.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) mode: Mode,
    /// The topic to use; `None` for one of its own.
    pub(super) topic: Option<String>,
    pub(super) partitions: u32,
    pub(super) replication: Option<u32>,
    pub(super) records: Option<u64>,
    pub(super) duration: Option<Duration>,
    pub(super) size: usize,
    pub(super) rate: Option<u64>,
    pub(super) batch: usize,
    pub(super) clients: u32,
    pub(super) calibrate_dir: PathBuf,
}

impl Plan {
    pub(super) fn new(verb: BenchVerb) -> Result<Self, Failure> {
        let (mode, args) = match verb {
            BenchVerb::Produce(args) => (Mode::Produce, args),
            BenchVerb::Consume(args) => (Mode::Consume, args),
            BenchVerb::E2e(args) => (Mode::EndToEnd, args),
        };
        if mode == Mode::Consume && args.rate.is_some() {
            let failure = Failure::usage("reading has no rate of its own");
            return Err(failure.hint("leave out --rate, or use highwater bench e2e"));
        }
        Ok(Self::of(mode, args))
    }

    fn of(mode: Mode, args: LoadArgs) -> Self {
        Self {
            mode,
            topic: args.topic,
            partitions: args.partitions.unwrap_or(1),
            replication: args.replication,
            records: args.records,
            duration: args.duration,
            size: args.size as usize,
            rate: args.rate,
            batch: args.batch.map_or(DEFAULT_BATCH, |bytes| bytes as usize),
            clients: args.clients,
            calibrate_dir: args.calibrate_dir.unwrap_or_else(std::env::temp_dir),
        }
    }

    /// How much is sent and measured.
    pub(super) fn limit(&self) -> Limit {
        match self.records {
            Some(records) => Limit::Records(records),
            None => Limit::Duration(self.duration.unwrap_or(DEFAULT_DURATION)),
        }
    }

    /// How many records a topic gets before it is read.
    pub(super) fn fill(&self) -> u64 {
        let most = (DEFAULT_FILL_BYTES / self.size as u64).max(1);
        self.records.unwrap_or(DEFAULT_FILL.min(most))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Args, Command};
    use crate::exit::ExitCode;

    fn plan(line: &str) -> Result<Plan, Failure> {
        let args = Args::try_parse_from(line.split_whitespace()).unwrap();
        let Command::Bench(args) = args.command else {
            panic!("not bench")
        };
        Plan::new(args.verb)
    }

    #[test]
    fn without_a_limit_a_run_takes_half_a_minute() {
        let plan = plan("highwater bench e2e").unwrap();
        assert_eq!(
            (plan.mode, plan.size, plan.clients),
            (Mode::EndToEnd, 100, 1)
        );
        assert!(matches!(plan.limit(), Limit::Duration(time) if time.as_secs() == 30));
    }

    #[test]
    fn records_and_duration_exclude_each_other() {
        for line in [
            "highwater bench e2e --records 5 --duration 1s",
            "highwater bench e2e --topic t -p 3",
            "highwater bench e2e --size 39",
            "highwater bench e2e --rate 0",
        ] {
            assert!(
                Args::try_parse_from(line.split_whitespace()).is_err(),
                "{line}"
            );
        }
        let limit = plan("highwater bench produce --records 5").unwrap().limit();
        assert!(matches!(limit, Limit::Records(5)));
    }

    #[test]
    fn a_rate_of_reading_is_refused() {
        let failure = plan("highwater bench consume --rate 10").unwrap_err();
        assert_eq!(failure.exit_code(), ExitCode::Usage);
    }

    #[test]
    fn a_topic_is_filled_with_what_was_asked_for_or_half_a_gibibyte() {
        assert_eq!(
            plan("highwater bench consume --records 7").unwrap().fill(),
            7
        );
        assert_eq!(plan("highwater bench consume").unwrap().fill(), 5_000_000);
        let large = plan("highwater bench consume --size 1048576").unwrap();
        assert_eq!(large.fill(), 512);
    }
}
