//! The answers to what was sent: counted, and printed in the order in which they come.

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::io::{self, Write};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use highwater_client::{Ack, Delivery, Error, Outcome};
use serde::Serialize;

use crate::error::Failure;
use crate::output::{JsonStream, count};

/// A line of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The position of the file among the arguments; 0 for stdin without arguments.
    pub(super) file: usize,
    /// From 1.
    pub(super) line: u64,
}

/// What became of the records so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) acknowledged: u64,
    pub(super) failed: u64,
    pub(super) unknown: u64,
    /// Of the acknowledged lines.
    pub(super) bytes: u64,
}

/// Deliveries that have no answer yet, and the tally of those that have.
#[derive(Debug)]
pub(super) struct Acks {
    /// By partition, in the order of sending, which is the order of the answers.
    waiting: BTreeMap<u32, VecDeque<Waiting>>,
    count: usize,
    tally: Tally,
    first_failure: Option<(Place, Error)>,
    printed: Option<JsonStream>,
}

#[derive(Debug)]
struct Waiting {
    place: Place,
    size: usize,
    delivery: Delivery,
}

/// An acknowledged record, as `-o jsonl` prints it.
#[derive(Debug, Serialize)]
struct AckLine {
    file: usize,
    line: u64,
    partition: u32,
    offset: Option<u64>,
}

impl Acks {
    /// No deliveries yet; acknowledgements are printed to `printed`, if at all.
    pub(super) fn new(printed: Option<JsonStream>) -> Self {
        Self {
            waiting: BTreeMap::new(),
            count: 0,
            tally: Tally::default(),
            first_failure: None,
            printed,
        }
    }

    /// A record of `size` bytes was sent.
    pub(super) fn expect(&mut self, place: Place, size: usize, delivery: Delivery) {
        self.count += 1;
        let waiting = Waiting {
            place,
            size,
            delivery,
        };
        self.waiting
            .entry(waiting.delivery.partition().0)
            .or_default()
            .push_back(waiting);
    }

    /// A record failed before or after it was sent.
    pub(super) fn failed(&mut self, place: Place, error: Error) {
        match error.outcome() {
            Outcome::Unknown => self.tally.unknown += 1,
            _ => self.tally.failed += 1,
        }
        self.first_failure.get_or_insert((place, error));
    }

    /// Waits no longer: what became of records without an answer is not known.
    pub(super) fn give_up(&mut self) {
        self.tally.unknown += self.count as u64;
        self.waiting.clear();
        self.count = 0;
    }

    /// True when every record that was sent has its answer.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Waits until some record has its answer; for ever if none is waiting. Cancel-safe.
    pub(super) async fn ready(&mut self) {
        poll_fn(|cx| {
            let mut fronts = self.waiting.values_mut().filter_map(VecDeque::front_mut);
            match fronts.any(|front| Pin::new(&mut front.delivery).poll(cx).is_ready()) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
    }

    /// Takes the answers that are there, and prints them if they are to be printed.
    pub(super) fn collect(&mut self, out: &mut impl Write) -> Result<(), Failure> {
        let before = self.count;
        let mut partitions = std::mem::take(&mut self.waiting);
        let mut printed = Ok(());
        for waiting in partitions.values_mut() {
            while let Some(outcome) = waiting.front().and_then(|front| front.delivery.outcome()) {
                let Some(answered) = waiting.pop_front() else {
                    break;
                };
                self.count -= 1;
                match outcome {
                    Ok(ack) => printed = printed.and(self.acknowledged(&answered, &ack, out)),
                    Err(error) => self.failed(answered.place, error),
                }
            }
        }
        self.waiting = partitions;
        if before != self.count && self.printed.is_some() {
            printed = printed.and_then(|()| out.flush());
        }
        self.unless_reader_gone(printed)
    }

    fn acknowledged(&mut self, of: &Waiting, ack: &Ack, out: &mut impl Write) -> io::Result<()> {
        self.tally.acknowledged += 1;
        self.tally.bytes += of.size as u64;
        let Some(printed) = &mut self.printed else {
            return Ok(());
        };
        let line = AckLine {
            file: of.place.file,
            line: of.place.line,
            partition: ack.partition.0,
            offset: ack.offset.map(|offset| offset.0),
        };
        printed.item(out, &line)
    }

    /// Ends what is printed by a command that `failed` or not.
    pub(super) fn finish(&mut self, out: &mut impl Write, failed: bool) -> Result<(), Failure> {
        let printed = self
            .printed
            .take()
            .map_or(Ok(()), |printed| printed.end(out, failed));
        self.unless_reader_gone(printed.and_then(|()| out.flush()))
    }

    /// When whoever reads the acknowledgements has gone, the records are sent all the same and the
    /// exit code stays true.
    fn unless_reader_gone(&mut self, printed: io::Result<()>) -> Result<(), Failure> {
        match printed {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.printed = None;
                Ok(())
            }
            other => Ok(other?),
        }
    }

    /// What became of the records so far.
    pub(super) fn tally(&self) -> Tally {
        self.tally
    }

    /// The first record that failed.
    pub(super) fn first_failure(&self) -> Option<&(Place, Error)> {
        self.first_failure.as_ref()
    }
}

impl Tally {
    /// The final line: counts and rate.
    pub(super) fn summary(&self, took: Duration) -> String {
        let seconds = took.as_secs_f64().max(1e-6);
        let acknowledged = self.acknowledged as f64;
        let mut line = format!(
            "{} acknowledged in {seconds:.2} s: {:.0} records/s, {:.1} MB/s",
            count(self.acknowledged, "record"),
            acknowledged / seconds,
            self.bytes as f64 / seconds / 1e6,
        );
        if self.failed > 0 {
            line += &format!("; {} failed", self.failed);
        }
        if self.unknown > 0 {
            line += &format!(
                "; of {} it is not known whether they were written",
                self.unknown
            );
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_has_counts_and_a_rate() {
        let mut tally = Tally {
            acknowledged: 1000,
            bytes: 2_000_000,
            ..Tally::default()
        };
        let summary = tally.summary(Duration::from_millis(500));
        let expected = "1000 records acknowledged in 0.50 s: 2000 records/s, 4.0 MB/s";
        assert_eq!(summary, expected);
        tally.failed = 2;
        tally.unknown = 3;
        let summary = tally.summary(Duration::from_millis(500));
        let ending = "; 2 failed; of 3 it is not known whether they were written";
        assert!(summary.ends_with(ending), "{summary}");
    }

    #[test]
    fn an_ack_line_has_the_keys_of_the_contract() {
        let line = AckLine {
            file: 0,
            line: 7,
            partition: 3,
            offset: Some(12),
        };
        let json = serde_json::to_string(&line).unwrap();
        assert_eq!(json, r#"{"file":0,"line":7,"partition":3,"offset":12}"#);
    }
}
