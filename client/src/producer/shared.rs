//! What the callers of a producer and its sender share.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use highwater_proto::PartitionIndex;
use highwater_proto::batch::HEADER_LEN;
use tokio::sync::Notify;

use super::accumulator::Accumulator;
use super::budget::{Budget, Closed};
use super::buffers::Buffers;
use super::failures::{Asked, Failures};
use super::line::Line;
use super::partitioner::Partitioner;
use super::rules::Rules;
use super::sender::session::Target;
use crate::error::{Error, Result};

const RUNNING: u8 = 0;
const DRAINING: u8 = 1;
const ABORTED: u8 = 2;

/// How long the sender goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Records may still come.
    Running,
    /// No more records come; those there are will be delivered.
    Draining,
    /// What is left is given up.
    Aborted,
}

/// The gathered records and the ways to reach the sender.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) target: Target,
    pub(crate) partitioner: Partitioner,
    pub(crate) budget: Budget,
    pub(crate) line: Line,
    pub(crate) buffers: Arc<Buffers>,
    /// What a record may be charged for at most.
    max_record_bytes: AtomicUsize,
    // guards: each, what one partition gathered; held to encode one record, or some.
    accumulators: Vec<Mutex<Accumulator>>,
    // guards: partitions that have something new for the sender.
    announced: Mutex<Vec<PartitionIndex>>,
    wake: Notify,
    stop: AtomicU8,
    /// Batches wait for more records, also while nothing is on its way.
    lingers: bool,
    // guards: what flushes have to tell.
    failures: Mutex<Failures>,
}

/// A flush that waits, until it is dropped.
#[derive(Debug)]
pub(crate) struct Flush<'a> {
    shared: &'a Shared,
    asked: Asked,
}

impl Shared {
    pub(crate) fn new(
        target: Target,
        partitioner: Partitioner,
        budget: Budget,
        accumulators: Vec<Accumulator>,
        buffers: Arc<Buffers>,
        rules: &Rules,
    ) -> Self {
        Self {
            target,
            partitioner,
            budget,
            line: Line::default(),
            buffers,
            max_record_bytes: AtomicUsize::new(max_record_bytes(rules.max_batch_bytes)),
            accumulators: accumulators.into_iter().map(Mutex::new).collect(),
            announced: Mutex::default(),
            wake: Notify::new(),
            stop: AtomicU8::new(RUNNING),
            lingers: !rules.linger.is_zero(),
            failures: Mutex::default(),
        }
    }

    /// Remembers that a batch of this era failed until flushes have told it.
    pub(crate) fn note_failure(&self, era: u64, error: &Error) {
        self.lock_failures().note(era, error);
    }

    /// A flush begins.
    pub(crate) fn flush(&self) -> Flush<'_> {
        Flush {
            shared: self,
            asked: self.lock_failures().ask(),
        }
    }

    /// The largest record that may fit into a batch and into the buffer.
    pub(crate) fn max_record_bytes(&self) -> usize {
        let bytes = self.max_record_bytes.load(Ordering::Relaxed);
        bytes.min(self.budget.limit())
    }

    /// Some partition takes batches of at most `max_batch_bytes`, and none takes larger ones.
    pub(crate) fn set_largest_batch(&self, max_batch_bytes: usize) {
        let bytes = max_record_bytes(max_batch_bytes);
        self.max_record_bytes.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn partition_count(&self) -> u32 {
        u32::try_from(self.accumulators.len()).unwrap_or(u32::MAX)
    }

    /// What `partition`, one of the topic's, has gathered.
    pub(crate) fn accumulator(&self, partition: PartitionIndex) -> MutexGuard<'_, Accumulator> {
        let accumulator = &self.accumulators[partition.0 as usize];
        accumulator.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn partitions(&self) -> impl Iterator<Item = PartitionIndex> + use<> {
        (0..self.partition_count()).map(PartitionIndex)
    }

    /// Tells the sender that `partition` has something for it.
    pub(crate) fn announce(&self, partition: PartitionIndex) {
        let mut announced = self.lock_announced();
        announced.push(partition);
        drop(announced);
        self.wake.notify_one();
    }

    /// Moves what was announced to `into`.
    pub(crate) fn take_announced(&self, into: &mut Vec<PartitionIndex>) {
        std::mem::swap(&mut *self.lock_announced(), into);
    }

    /// Takes `bytes` from the budget, waiting in turn until they are free. Batches that linger do not keep
    /// them: the sender is told that somebody waits. Cancel-safe: nothing is taken then.
    pub(crate) async fn take(&self, bytes: usize) -> std::result::Result<(), Closed> {
        let mut taking = pin!(self.budget.take(bytes));
        if self.lingers {
            let first = poll_fn(|context| Poll::Ready(taking.as_mut().poll(context)));
            if let Poll::Ready(taken) = first.await {
                return taken;
            }
            self.wake.notify_one();
        }
        taking.await
    }

    /// Whether batches linger whose space somebody waits for.
    pub(crate) fn is_pressed(&self) -> bool {
        self.lingers && self.budget.is_awaited()
    }

    /// Returns when something was announced, somebody waits for space, or the stop state changed.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    pub(crate) fn stop(&self) -> Stop {
        match self.stop.load(Ordering::SeqCst) {
            RUNNING => Stop::Running,
            DRAINING => Stop::Draining,
            _ => Stop::Aborted,
        }
    }

    /// Moves on to `stop`; never back.
    pub(crate) fn advance(&self, stop: Stop) {
        let value = match stop {
            Stop::Running => RUNNING,
            Stop::Draining => DRAINING,
            Stop::Aborted => ABORTED,
        };
        self.stop.fetch_max(value, Ordering::SeqCst);
        self.wake.notify_one();
    }

    fn lock_announced(&self) -> MutexGuard<'_, Vec<PartitionIndex>> {
        self.announced
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_failures(&self) -> MutexGuard<'_, Failures> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A record's size is known only roughly before it is encoded; the batch is checked again.
fn max_record_bytes(max_batch_bytes: usize) -> usize {
    max_batch_bytes + HEADER_LEN
}

impl Flush<'_> {
    /// Its number, which is the era of what comes after it.
    pub(crate) fn number(&self) -> u64 {
        self.asked.number
    }

    /// What it tells, now that everything that was sent before it has ended.
    pub(crate) fn verdict(self) -> Result<()> {
        let told = self.shared.lock_failures().tell(self.asked);
        told.map_or(Ok(()), Err)
    }
}

impl Drop for Flush<'_> {
    fn drop(&mut self) {
        self.shared.lock_failures().withdraw(self.asked);
    }
}
