//! Reading and verifying: each reader has some of the partitions.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use highwater_client::{Client, ConsumerBatch, Error, PartitionIndex, Start, Until};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::latency::Latencies;
use super::load::Shared;
use super::verify::{Scope, Sent, Verifier, read};

/// How often a reader looks whether it waits in vain.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What a reader's latencies are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Measure {
    /// From when a record was due to when it is here.
    FromDue,
    /// From asking for a batch to when it is here.
    Wait,
}

/// What is read, and until when.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    pub(super) topic: String,
    pub(super) partitions: u32,
    pub(super) readers: u32,
    pub(super) start: Start,
    pub(super) until: Until,
    pub(super) scope: Scope,
    pub(super) measure: Measure,
    /// How many records all readers may take.
    pub(super) budget: Budget,
    /// All readers stop at this time of the run's clock.
    pub(super) end: u64,
    /// A reader that got nothing for so long after everything was sent gives up.
    pub(super) patience: Duration,
}

/// How many records may still be taken, by all readers together. What was only sent to warm up does not
/// count.
#[derive(Debug, Clone, Default)]
pub(super) struct Budget(Option<Arc<AtomicU64>>);

impl Budget {
    /// So many, or any number.
    pub(super) fn of(records: Option<u64>) -> Self {
        Self(records.map(|records| Arc::new(AtomicU64::new(records))))
    }

    /// Takes one, if there is one left.
    fn claim(&self) -> bool {
        let Some(left) = &self.0 else {
            return true;
        };
        let less = |left: u64| left.checked_sub(1);
        let relaxed = Ordering::Relaxed;
        left.fetch_update(relaxed, relaxed, less).is_ok()
    }

    fn is_spent(&self) -> bool {
        let left = self.0.as_ref();
        left.is_some_and(|left| left.load(Ordering::Relaxed) == 0)
    }
}

/// What a reader found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) verifier: Verifier,
    pub(super) latencies: Latencies,
    /// When the last batch came, by the run's clock.
    pub(super) last: u64,
}

/// One reader, ready to begin.
#[derive(Debug)]
pub(super) struct Reader {
    shared: Arc<Shared>,
    consumer: highwater_client::Consumer,
    reading: Reading,
    found: Found,
    sent: watch::Receiver<Option<Arc<Sent>>>,
}

impl Reading {
    /// Sets the readers up. They know what was sent when `sent` says so.
    pub(super) async fn readers(
        &self,
        client: &Client,
        shared: &Arc<Shared>,
        sent: &watch::Receiver<Option<Arc<Sent>>>,
    ) -> Result<Vec<Reader>, Error> {
        let count = self.readers.clamp(1, self.partitions.max(1));
        let mut readers = Vec::new();
        for number in 0..count {
            let partitions = (0..self.partitions).filter(|p| p % count == number);
            let builder = client
                .consumer(&self.topic)
                .partitions(partitions.clone().map(PartitionIndex))
                .start(self.start.clone())
                .until(self.until.clone());
            readers.push(Reader {
                shared: Arc::clone(shared),
                consumer: builder.build().await?,
                reading: self.clone(),
                found: Found {
                    verifier: Verifier::new(self.scope, partitions),
                    latencies: Latencies::new(),
                    last: 0,
                },
                sent: sent.clone(),
            });
        }
        Ok(readers)
    }
}

impl Reader {
    /// Reads to the end, whichever it is.
    pub(super) async fn run(mut self) -> Result<Found, Error> {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        let mut asked = self.shared.clock.nanos();
        while !self.is_done() {
            tokio::select! {
                biased;
                batch = self.consumer.next_batch() => {
                    let Some(batch) = batch else {
                        break;
                    };
                    let now = self.shared.clock.nanos();
                    self.take(&batch?, asked, now)?;
                    heard = Instant::now();
                    asked = self.shared.clock.nanos();
                }
                _ = look.tick() => {
                    let all_sent = self.sent.borrow().is_some();
                    if all_sent && heard.elapsed() >= self.reading.patience {
                        break;
                    }
                }
            }
        }
        Ok(self.found)
    }

    fn take(&mut self, batch: &ConsumerBatch, asked: u64, now: u64) -> Result<(), Error> {
        let Found {
            verifier,
            latencies,
            last,
        } = &mut self.found;
        *last = now;
        let check = verifier.partition(batch.partition().0);
        let mut count = 0;
        for record in batch.records()?.views() {
            let read = read(&self.shared.content, record?.value);
            if !read.is_warm_up() && !self.reading.budget.claim() {
                break;
            }
            count += 1;
            let due = check.take(read);
            match (due, self.reading.measure) {
                (Some(due), Measure::FromDue) => latencies.add(now.saturating_sub(due)),
                (Some(_), Measure::Wait) => latencies.add(now.saturating_sub(asked)),
                (None, _) => {}
            }
        }
        self.shared.read.fetch_add(count, Ordering::Relaxed);
        Ok(())
    }

    fn is_done(&self) -> bool {
        let shared = &self.shared;
        if shared.stopped.load(Ordering::Relaxed)
            || self.reading.budget.is_spent()
            || (self.reading.end != u64::MAX && shared.clock.nanos() >= self.reading.end)
        {
            return true;
        }
        let sent = self.sent.borrow();
        sent.as_ref()
            .is_some_and(|sent| self.found.verifier.is_complete(sent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_spent_once_whoever_takes_from_it() {
        let (one, any) = (Budget::of(Some(2)), Budget::of(None));
        let other = one.clone();
        assert!(one.claim() && !one.is_spent());
        assert!(other.claim() && one.is_spent());
        assert!(!one.claim() && !other.claim());
        assert!(any.claim() && !any.is_spent());
    }
}
