//! What a partition has gathered and not yet sent. Pure: times are handed in, and what to do next
//! is said in the answer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use highwater_proto::batch::BatchBuilder;
use highwater_proto::{PartitionIndex, Timestamp};
use tokio::time::Instant;

use super::budget::Budget;
use super::buffers::Buffers;
use super::delivery::BatchSlot;
use crate::error::{Error, Result};

/// The smallest buffer a batch begins with.
const SMALLEST: usize = 512;
/// What the encoder needs of a buffer beyond the batch.
const ROOM: usize = 64;

/// One record, encoded from borrowed parts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parts<'a> {
    pub(crate) timestamp: Timestamp,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: &'a [(&'a str, Option<&'a [u8]>)],
    /// An upper bound of the record's encoded size; what it is charged for.
    pub(crate) bytes: usize,
}

/// How a record is paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Payment {
    /// Out of what its partition took from the budget before and has not used.
    Credit,
    /// Out of the budget too, by whole steps while there is room for them: most records find credit.
    Room,
    /// It was taken from the budget by whoever sends it.
    Taken,
}

/// Where a record went, and whether the sender should be told.
#[derive(Debug)]
pub(crate) struct Pushed<'a> {
    pub(crate) slot: &'a Arc<BatchSlot>,
    pub(crate) index: u32,
    /// The sender does not know that this partition has something for it.
    pub(crate) announce: bool,
    /// A batch became full.
    pub(crate) sealed: bool,
}

/// A batch's worth of records.
#[derive(Debug)]
pub(crate) struct Gathered {
    pub(crate) builder: BatchBuilder,
    pub(crate) slot: Arc<BatchSlot>,
    /// When its first record came.
    pub(crate) opened: Instant,
    /// What its records are charged.
    pub(crate) charge: usize,
    base_time: i64,
}

/// Whether the open batch may go before it is full.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Readiness {
    pub(crate) now: Instant,
    pub(crate) linger: Duration,
    /// Nothing else of the partition is on its way.
    pub(crate) idle: bool,
    /// Somebody waits for the space that it takes.
    pub(crate) awaited: bool,
}

/// What the partition has for the sender.
#[derive(Debug)]
pub(crate) enum Taken {
    /// A batch to send.
    Batch(Gathered),
    /// Nothing yet; the open batch may go at this time, or once others are answered.
    Later(Option<Instant>),
    /// Nothing at all: the next record is announced.
    Nothing,
}

/// The open batch and the full ones of a partition.
#[derive(Debug)]
pub(crate) struct Accumulator {
    partition: PartitionIndex,
    limit: usize,
    buffers: Arc<Buffers>,
    open: Option<Gathered>,
    sealed: VecDeque<Gathered>,
    announced: bool,
    /// The most recent batch: when it is done, all are.
    latest: Option<Arc<BatchSlot>>,
    /// The number of the last flush that passed; new batches belong to it.
    era: u64,
    /// How large the last batch became.
    usual_len: usize,
    /// Taken from the budget for records to come. Only beside an open batch: whoever may have closed
    /// that gives back what is [`unused`](Self::unused).
    credit: usize,
    closed: Option<Error>,
}

impl Accumulator {
    pub(crate) fn new(partition: PartitionIndex, limit: usize, buffers: Arc<Buffers>) -> Self {
        Self {
            partition,
            limit,
            buffers,
            open: None,
            sealed: VecDeque::new(),
            announced: false,
            latest: None,
            era: 0,
            usual_len: SMALLEST,
            credit: 0,
            closed: None,
        }
    }

    /// Pays for a record of `bytes`. False if that cannot be: nothing is taken then.
    #[inline]
    pub(crate) fn pay(&mut self, payment: Payment, bytes: usize, budget: &Budget) -> bool {
        if payment == Payment::Taken {
            self.credit += bytes;
            return true;
        }
        // Whoever waits for room is not overtaken.
        if budget.is_awaited() {
            return false;
        }
        let missing = bytes.saturating_sub(self.credit);
        if missing == 0 {
            return true;
        }
        if payment == Payment::Credit {
            return false;
        }
        let mut takes = [missing.max(budget.step()), missing].into_iter();
        let Some(taken) = takes.find(|bytes| budget.try_take(*bytes)) else {
            return false;
        };
        self.credit += taken;
        true
    }

    /// An error if records are refused.
    #[inline]
    pub(crate) fn check_open(&self) -> Result<()> {
        match &self.closed {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// Encodes a record that is paid for into the open batch.
    #[inline]
    pub(crate) fn push(
        &mut self,
        record: Parts<'_>,
        now: impl Fn() -> Instant,
    ) -> Result<Pushed<'_>> {
        self.check_open()?;
        self.credit = self.credit.saturating_sub(record.bytes);
        let sealed = !self.open.as_ref().is_some_and(|open| {
            let fits = open.builder.estimated_len() + record.bytes <= self.limit;
            fits && record.timestamp.0.checked_sub(open.base_time).is_some()
        }) && self.seal();
        let open = match &mut self.open {
            Some(open) => open,
            none => {
                let capacity = capacity(self.usual_len, self.limit);
                let slot = BatchSlot::new(self.partition, self.era);
                self.latest = Some(Arc::clone(&slot));
                none.insert(Gathered {
                    builder: BatchBuilder::in_buffer(self.buffers.take(capacity)),
                    slot,
                    opened: now(),
                    charge: 0,
                    base_time: record.timestamp.0,
                })
            }
        };
        let index = open.builder.record_count();
        open.builder
            .push(record.timestamp, record.key, record.value, record.headers);
        open.charge += record.bytes;
        Ok(Pushed {
            slot: &open.slot,
            index,
            announce: !std::mem::replace(&mut self.announced, true),
            sealed,
        })
    }

    /// Closes the open batch, if there is one. True if there was.
    fn seal(&mut self) -> bool {
        let Some(open) = self.open.take() else {
            return false;
        };
        self.usual_len = open.builder.estimated_len();
        self.sealed.push_back(open);
        true
    }

    /// Closes the open batch for the flush with this number. True if there was one.
    pub(crate) fn seal_for(&mut self, flush: u64) -> bool {
        self.era = self.era.max(flush);
        self.seal()
    }

    /// The next batch to send, if it is time.
    pub(crate) fn take(&mut self, ready: Readiness) -> Taken {
        if let Some(batch) = self.sealed.pop_front() {
            return Taken::Batch(batch);
        }
        let Some(open) = &self.open else {
            self.announced = false;
            return Taken::Nothing;
        };
        let due = open.opened + ready.linger;
        // What is on its way gives its space back, too.
        let pressed = ready.awaited && ready.idle;
        match (ready.linger.is_zero(), ready.idle) {
            (true, false) => return Taken::Later(None),
            (false, _) if ready.now < due && !pressed => return Taken::Later(Some(due)),
            _ => {}
        }
        self.seal();
        self.sealed.pop_front().map_or(Taken::Nothing, Taken::Batch)
    }

    /// What was taken from the budget and, since no batch is open any more, is to be given back there:
    /// asked before the lock is free, given after that.
    #[must_use]
    pub(crate) fn unused(&mut self) -> usize {
        match self.open {
            Some(_) => 0,
            None => std::mem::take(&mut self.credit),
        }
    }

    /// Everything that was gathered, in order.
    pub(crate) fn drain(&mut self) -> VecDeque<Gathered> {
        self.seal();
        self.announced = false;
        std::mem::take(&mut self.sealed)
    }

    /// From here on a batch is full at `limit` bytes.
    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Refuses all further records with `error`. What was gathered stays.
    pub(crate) fn close(&mut self, error: Error) {
        self.closed.get_or_insert(error);
    }

    /// Whether anything is gathered; if not, the next record is announced.
    pub(crate) fn has_work(&mut self) -> bool {
        let has_work = self.open.is_some() || !self.sealed.is_empty();
        self.announced &= has_work;
        has_work
    }

    /// When the oldest record that was gathered came.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        let first = self.sealed.front().or(self.open.as_ref());
        first.map(|batch| batch.opened)
    }

    /// The most recent batch: when it is done, all before it are.
    pub(crate) fn latest(&self) -> Option<Arc<BatchSlot>> {
        self.latest.clone()
    }
}

/// How large a buffer the next batch begins with. If batches become about full, one that never has to
/// grow, since growing copies what is there and doubles it.
fn capacity(usual_len: usize, limit: usize) -> usize {
    match usual_len > limit / 2 {
        true => limit + ROOM,
        false => usual_len.max(SMALLEST).min(limit),
    }
}

#[cfg(test)]
mod tests;
