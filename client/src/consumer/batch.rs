//! A batch as the application gets it, and the walks over its records.

use std::sync::Arc;

use bytes::Bytes;
use highwater_proto::batch::{BatchError, RecordView, RecordViews, Records, StoredBatch};
use highwater_proto::{Offset, PartitionIndex, Timestamp};

use super::record::{ConsumerRecord, Origin};
use crate::error::{CorruptData, Error, Result};

/// A batch of a partition; its bytes are known to be those that the producer sent.
#[derive(Debug, Clone)]
pub struct ConsumerBatch {
    pub(super) topic: Arc<str>,
    pub(super) partition: PartitionIndex,
    pub(super) append_time: Timestamp,
    pub(super) high_watermark: Offset,
    pub(super) batch: StoredBatch,
    /// The records from here on are wanted; those below were handed out or not asked for.
    pub(super) from: Offset,
    /// The first record that is not wanted any more.
    pub(super) to: Offset,
}

impl ConsumerBatch {
    /// The topic.
    pub fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    /// The partition.
    pub fn partition(&self) -> PartitionIndex {
        self.partition
    }

    /// When the leader appended it.
    pub fn append_time(&self) -> Timestamp {
        self.append_time
    }

    /// The end of what could be read when the batch was sent.
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// The offset of its first record that is wanted.
    pub fn first_offset(&self) -> Offset {
        self.from
    }

    /// The offset after its last record that is wanted.
    pub fn next_offset(&self) -> Offset {
        self.to
    }

    /// How many of its records are wanted.
    pub fn len(&self) -> u64 {
        self.to.since(self.from)
    }

    /// True if none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The whole batch as it is stored, in Kafka's format v2. It may have records below
    /// [`ConsumerBatch::first_offset`] and above [`ConsumerBatch::next_offset`].
    pub fn bytes(&self) -> &Bytes {
        self.batch.bytes()
    }

    /// The records that are wanted, in the order of their offsets, decompressed if need be; the same
    /// ones each time. An error, or one as the last item, is `CORRUPT_DATA`: the batch is malformed
    /// inside, unpacks to more than 32 MiB, or has a codec that this version does not know. A consumer
    /// that handed the batch out goes on behind it.
    pub fn records(&self) -> Result<ConsumerRecords> {
        let inner = self.batch.records();
        let inner = inner.map_err(|e| self.malformed(self.from, &e))?;
        Ok(ConsumerRecords {
            next: self.from,
            readable: self.from,
            inner,
            batch: self.clone(),
            origin: None,
        })
    }

    /// What the records share that are encoded in `data`.
    #[cold]
    fn origin(&self, data: &Bytes) -> Arc<Origin> {
        Arc::new(Origin {
            topic: Arc::clone(&self.topic),
            partition: self.partition,
            append_time: self.append_time,
            data: data.clone(),
        })
    }

    /// The error of what cannot be read from `at` on; the next batch may be read again.
    fn malformed(&self, at: Offset, error: &BatchError) -> Error {
        let (topic, partition) = (&self.topic, self.partition);
        let base = self.batch.base_offset();
        let next = self.batch.next_offset();
        let context = format!("the batch at offset {base} of partition {partition} of {topic:?}");
        let detail = CorruptData {
            topic: topic.to_string(),
            partition: i32::try_from(partition.0).unwrap_or(i32::MAX),
            offset: at.to_i64(),
            next_offset: Some(next.to_i64()),
        };
        Error::corrupt(format!("{error}; the next one begins at {next}"), detail)
            .in_context(context)
    }
}

/// Iterator of [`ConsumerBatch::records`].
#[derive(Debug)]
pub struct ConsumerRecords {
    batch: ConsumerBatch,
    inner: Records,
    next: Offset,
    readable: Offset,
    /// Made for the first record; views do without.
    origin: Option<Arc<Origin>>,
}

impl ConsumerRecords {
    pub(super) fn batch(&self) -> &ConsumerBatch {
        &self.batch
    }

    /// The offset of the next record.
    pub(super) fn next_offset(&self) -> Offset {
        self.next
    }

    /// The first record that was not handed out, even after an error.
    pub(super) fn readable(&self) -> Offset {
        self.readable
    }

    /// The batch without the records that were handed out, if any is left.
    pub(super) fn into_rest(mut self) -> Option<ConsumerBatch> {
        self.batch.from = self.next;
        (!self.batch.is_empty()).then_some(self.batch)
    }
}

impl ConsumerRecords {
    /// The records from here on, borrowed. Much cheaper where they are not to be kept. The last
    /// item is an error if the batch is malformed inside.
    pub fn views(&self) -> ConsumerRecordViews<'_> {
        ConsumerRecordViews {
            batch: &self.batch,
            inner: self.inner.views(),
            from: self.next,
        }
    }
}

/// Iterator of [`ConsumerRecords::views`].
#[derive(Debug, Clone)]
pub struct ConsumerRecordViews<'a> {
    batch: &'a ConsumerBatch,
    inner: RecordViews<'a>,
    from: Offset,
}

impl<'a> Iterator for ConsumerRecordViews<'a> {
    type Item = Result<RecordView<'a>>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let record = match self.inner.next()? {
                Ok(record) => record,
                Err(error) => return Some(Err(self.batch.malformed(self.from, &error))),
            };
            if record.offset < self.from {
                continue;
            }
            return (record.offset < self.batch.to).then_some(Ok(record));
        }
    }
}

impl Iterator for ConsumerRecords {
    type Item = Result<ConsumerRecord>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let record = match self.inner.next_placed()? {
                Ok(record) => record,
                Err(error) => {
                    self.next = self.batch.to;
                    return Some(Err(self.batch.malformed(self.readable, &error)));
                }
            };
            if record.offset < self.next {
                continue;
            }
            if record.offset >= self.batch.to {
                return None;
            }
            self.next = record.offset.plus(1);
            self.readable = self.next;
            let data = self.inner.data();
            let origin = self.origin.get_or_insert_with(|| self.batch.origin(data));
            return Some(Ok(ConsumerRecord::new(Arc::clone(origin), record)));
        }
    }
}
