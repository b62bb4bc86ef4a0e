//! Sending many records with one call: those that go together share the lock of their partition, the
//! space in the buffer and the completion of their batch.

use std::fmt;
use std::sync::{Arc, MutexGuard};

use highwater_proto::PartitionIndex;
use tokio::task::consume_budget;
use tokio::time::Instant;

use super::accumulator::{Accumulator, Parts, Payment};
use super::budget::Closed;
use super::delivery::{BatchSlot, Delivery};
use super::shared::Shared;
use super::{Handle, Producer, closed, with_parts};
use crate::error::{Error, Result};
use crate::record::Record;

/// So many records are encoded at most while their partition is locked.
const TOGETHER: usize = 64;

/// What becomes of the records of one [`Producer::send_all`], in their order. As an iterator it gives
/// each record's [`Delivery`]. May be dropped; the records are delivered all the same, and the next
/// [`Producer::flush`] tells if one failed.
#[derive(Debug, Default)]
#[must_use = "without them only the next flush tells that a record failed, and not which"]
pub struct Deliveries {
    groups: Vec<Group>,
    len: usize,
}

/// Records that follow one another in one batch.
#[derive(Debug)]
struct Group {
    slot: Arc<BatchSlot>,
    first: u32,
    count: u32,
}

impl Deliveries {
    /// How many records.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Waits until what becomes of every record is known. An error is that of the first record, in
    /// the order of sending, that has one; the others may be durable. Cancel-safe.
    pub async fn acknowledged(&self) -> Result<()> {
        let mut result = Ok(());
        for group in &self.groups {
            let ack = Delivery::new(Arc::clone(&group.slot), group.first).await;
            result = result.and(ack.map(drop));
        }
        result
    }

    #[inline]
    fn add(&mut self, slot: &Arc<BatchSlot>, index: u32) {
        self.len += 1;
        match self.groups.last_mut() {
            Some(last) if Arc::ptr_eq(&last.slot, slot) && last.first + last.count == index => {
                last.count += 1;
            }
            _ => self.groups.push(Group {
                slot: Arc::clone(slot),
                first: index,
                count: 1,
            }),
        }
    }
}

impl IntoIterator for Deliveries {
    type Item = Delivery;
    type IntoIter = IntoIter;

    fn into_iter(self) -> IntoIter {
        IntoIter {
            groups: self.groups.into_iter(),
            current: None,
        }
    }
}

/// Each record's delivery, in the order of sending.
#[derive(Debug)]
pub struct IntoIter {
    groups: std::vec::IntoIter<Group>,
    current: Option<Group>,
}

impl Iterator for IntoIter {
    type Item = Delivery;

    fn next(&mut self) -> Option<Delivery> {
        loop {
            if let Some(group) = self.current.as_mut().filter(|group| group.count > 0) {
                let delivery = Delivery::new(Arc::clone(&group.slot), group.first);
                group.first += 1;
                group.count -= 1;
                return Some(delivery);
            }
            self.current = Some(self.groups.next()?);
        }
    }
}

/// A record was not taken; those before it were sent, and none after it.
#[derive(Debug)]
#[non_exhaustive]
pub struct SendAllError {
    /// What becomes of the records that were sent: the first `sent.len()` of the call. The next one
    /// was not taken.
    pub sent: Deliveries,
    /// Why.
    pub error: Error,
}

impl fmt::Display for SendAllError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "after {} records: {}", self.sent.len(), self.error)
    }
}

impl std::error::Error for SendAllError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl From<SendAllError> for Error {
    /// Why the record was not taken. What becomes of those before it only a flush tells then.
    fn from(failed: SendAllError) -> Self {
        failed.error
    }
}

impl Producer {
    /// Takes records one after another, each as [`Producer::send`] does, at a lower cost each.
    ///
    /// An error is that of the first record that was not taken, and has the deliveries of those
    /// before it, which were sent; none after it was. A call that is dropped has sent the records
    /// up to some one, too: what becomes of them is then told by [`Producer::flush`].
    pub async fn send_all(&self, records: &[Record<'_>]) -> Result<Deliveries, SendAllError> {
        let mut sent = Deliveries::default();
        match self.send_chunks(records, &mut sent).await {
            Ok(()) => Ok(sent),
            Err(error) => Err(SendAllError { sent, error }),
        }
    }

    async fn send_chunks(&self, records: &[Record<'_>], sent: &mut Deliveries) -> Result<()> {
        for some in records.chunks(TOGETHER) {
            // A loop of sends that never wait must let the sender run, even on a single thread.
            let line = &self.handle.shared.line;
            if !line.is_free() {
                line.pass().await;
            }
            consume_budget().await;
            if !self.handle.try_send_some(some, sent)? {
                self.handle.send_some(some, sent).await?;
            }
        }
        Ok(())
    }
}

impl Handle {
    /// Sends the records if all of them can be, as far as their sizes go. False, and nothing is sent,
    /// if not.
    fn try_send_some(&self, records: &[Record<'_>], deliveries: &mut Deliveries) -> Result<bool> {
        let mut bytes = 0_usize;
        for record in records {
            match self.admit(record) {
                Ok(more) => bytes = bytes.saturating_add(more),
                Err(_) => return Ok(false),
            }
        }
        if !self.shared.budget.try_take(bytes) {
            return Ok(false);
        }
        let mut left = bytes;
        let sent = self.enqueue_some(records, &mut left, deliveries);
        if left > 0 {
            self.shared.budget.give(left);
        }
        sent.map(|()| true)
    }

    /// Sends the records one by one, waiting for space.
    async fn send_some(&self, records: &[Record<'_>], deliveries: &mut Deliveries) -> Result<()> {
        for record in records {
            let bytes = self.admit(record)?;
            if !self.shared.budget.try_take(bytes) {
                let taken = self.shared.take(bytes).await;
                taken.map_err(|Closed| closed())?;
            }
            let delivery = self.enqueue_paid(record, bytes)?;
            deliveries.add(&delivery.slot, delivery.index);
        }
        Ok(())
    }

    /// Encodes records; what they are charged leaves `left`, which is taken from the budget.
    fn enqueue_some(
        &self,
        records: &[Record<'_>],
        left: &mut usize,
        deliveries: &mut Deliveries,
    ) -> Result<()> {
        let mut held: Option<Held<'_>> = None;
        for record in records {
            let bytes = record.size_bound();
            with_parts(record, bytes, |parts| {
                let chooser = &self.shared.partitioner;
                let choice = chooser.choose(record.partition, parts.key)?;
                let partition = choice.partition;
                if held.as_ref().is_none_or(|held| held.partition != partition) {
                    // One lock at a time: this one is free before the next is taken.
                    held = None;
                }
                let held = held.get_or_insert_with(|| Held::new(&self.shared, partition));
                held.push(parts, deliveries)?;
                chooser.wrote(choice, bytes);
                Ok::<_, Error>(())
            })?;
            *left -= bytes;
        }
        Ok(())
    }
}

/// The lock of a partition. The sender is told when it is free again.
struct Held<'a> {
    shared: &'a Shared,
    partition: PartitionIndex,
    accumulator: Option<MutexGuard<'a, Accumulator>>,
    announce: bool,
}

impl<'a> Held<'a> {
    fn new(shared: &'a Shared, partition: PartitionIndex) -> Self {
        Self {
            shared,
            partition,
            accumulator: Some(shared.accumulator(partition)),
            announce: false,
        }
    }

    #[inline]
    fn push(&mut self, parts: Parts<'_>, deliveries: &mut Deliveries) -> Result<()> {
        let (shared, partition) = (self.shared, self.partition);
        let accumulator = self
            .accumulator
            .get_or_insert_with(|| shared.accumulator(partition));
        accumulator.check_open()?;
        accumulator.pay(Payment::Taken, parts.bytes, &shared.budget);
        let pushed = accumulator.push(parts, Instant::now)?;
        deliveries.add(pushed.slot, pushed.index);
        self.announce |= pushed.announce || pushed.sealed;
        Ok(())
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        drop(self.accumulator.take());
        if self.announce {
            self.shared.announce(self.partition);
        }
    }
}
