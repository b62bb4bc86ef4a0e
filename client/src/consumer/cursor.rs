//! Where a partition's reader is, and whether what arrives continues it. Pure.

use std::cmp::Ordering;
use std::sync::Arc;

use highwater_proto::batch::StoredBatch;
use highwater_proto::pb::v1;
use highwater_proto::{BrokerId, Offset, PartitionIndex, Timestamp};

use super::batch::ConsumerBatch;
use crate::error::{CorruptData, Error, Result};
use crate::topology::broker_id;

/// The next offset wanted. Only moves forward, batch by batch, and never over a hole.
#[derive(Debug)]
pub(super) struct Cursor {
    topic: Arc<str>,
    partition: PartitionIndex,
    next: Offset,
    end: Option<Offset>,
    high_watermark: Offset,
    /// Who sent the last message, and whether its replica follows.
    served_by: Option<(BrokerId, bool)>,
    /// True while everything that the broker had, when it last sent something, is here.
    caught_up: bool,
    /// Nothing came yet on this subscription, so a batch may begin below `next`.
    fresh: bool,
}

impl Cursor {
    pub(super) fn new(
        topic: Arc<str>,
        partition: PartitionIndex,
        next: Offset,
        end: Option<Offset>,
    ) -> Self {
        Self {
            topic,
            partition,
            next,
            end,
            high_watermark: next,
            served_by: None,
            caught_up: false,
            fresh: true,
        }
    }

    pub(super) fn topic(&self) -> &str {
        &self.topic
    }

    pub(super) fn partition(&self) -> PartitionIndex {
        self.partition
    }

    pub(super) fn next_offset(&self) -> Offset {
        self.next
    }

    pub(super) fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// Who sent the last message, and whether its replica follows.
    pub(super) fn served_by(&self) -> Option<(BrokerId, bool)> {
        self.served_by
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.end.is_some_and(|end| self.next >= end)
    }

    /// A new subscription begins.
    pub(super) fn restart(&mut self) {
        self.fresh = true;
    }

    /// Takes a message: hands its batches to `out` and moves on. True if the end was reached with
    /// it and had not been before. An error means that the message does not continue what was
    /// read, or is damaged; batches before it were handed out.
    pub(super) fn take(
        &mut self,
        message: v1::SubscribeResponse,
        mut out: impl FnMut(ConsumerBatch),
    ) -> Result<bool> {
        let high_watermark = Offset::from_i64(message.high_watermark).unwrap_or_default();
        self.high_watermark = self.high_watermark.max(high_watermark);
        self.served_by = broker_id(message.broker).map(|broker| (broker, message.follower));
        for appended in message.batches {
            let append_time = Timestamp(appended.append_time);
            let batch = StoredBatch::decode(appended.batch)
                .map_err(|error| self.corrupt(format!("a batch is damaged: {error}")))?;
            self.check(&batch)?;
            let from = self.next;
            // Only a subscription's first batches may lie below what was asked for.
            if batch.next_offset() <= from {
                continue;
            }
            self.fresh = false;
            self.next = batch.next_offset();
            let to = self.end.map_or(self.next, |end| end.min(self.next));
            if from < to {
                out(ConsumerBatch {
                    topic: Arc::clone(&self.topic),
                    partition: self.partition,
                    append_time,
                    high_watermark: self.high_watermark,
                    batch,
                    from,
                    to,
                });
            }
        }
        if Offset::from_i64(message.next_offset) != Some(self.next) {
            let (next, sent) = (self.next, message.next_offset);
            return Err(self.corrupt(format!(
                "the broker goes on at offset {sent}, but the records up to {next} are here"
            )));
        }
        // A replica that is behind what was read already says nothing about the end.
        match self.next.cmp(&high_watermark) {
            Ordering::Less => self.caught_up = false,
            Ordering::Equal => return Ok(!std::mem::replace(&mut self.caught_up, true)),
            Ordering::Greater => {}
        }
        Ok(false)
    }

    fn check(&self, batch: &StoredBatch) -> Result<()> {
        let (base, next) = (batch.base_offset(), self.next);
        let continues = match self.fresh {
            true => base <= next,
            false => base == next,
        };
        if !continues {
            let why = format!("a batch begins at offset {base}, but {next} is the next one");
            return Err(self.corrupt(why));
        }
        let header = batch.header();
        if i64::from(header.record_count) != i64::from(header.last_offset_delta) + 1 {
            let (count, last) = (header.record_count, batch.last_offset());
            let why = format!("the batch from {base} to {last} has {count} records");
            return Err(self.corrupt(why));
        }
        Ok(())
    }

    fn corrupt(&self, why: String) -> Error {
        let (topic, partition) = (&self.topic, self.partition);
        let context = format!("partition {partition} of topic {topic:?}");
        let detail = CorruptData {
            topic: topic.to_string(),
            partition: i32::try_from(partition.0).unwrap_or(i32::MAX),
            offset: self.next.to_i64(),
            next_offset: None,
        };
        Error::corrupt(why, detail).in_context(context)
    }
}

#[cfg(test)]
mod tests;
