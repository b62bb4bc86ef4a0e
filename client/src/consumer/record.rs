//! A record as the application gets it: small, with one counted reference.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use highwater_proto::batch::{HeaderViews, PlacedRecord};
use highwater_proto::{Offset, PartitionIndex, Timestamp};

/// A record. Cheap to move, to clone and to keep, but while it lives it keeps in memory what it lies in, and
/// so does a clone of it or what [`ConsumerRecord::key_bytes`] and [`ConsumerRecord::value_bytes`] give. Of
/// a compressed batch that is the batch, unpacked; of one that is not, the whole answer of the broker that
/// it came in, which may have other batches. Copy what is to be kept for long of few records.
///
/// Two are equal if everything that they tell is.
#[derive(Clone)]
pub struct ConsumerRecord {
    origin: Arc<Origin>,
    placed: PlacedRecord,
}

/// What the records of a batch share, so that each of them counts one reference.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) topic: Arc<str>,
    pub(super) partition: PartitionIndex,
    pub(super) append_time: Timestamp,
    /// The bytes of the records, decompressed.
    pub(super) data: Bytes,
}

impl ConsumerRecord {
    /// The record whose parts lie in the data of `origin`.
    #[inline]
    pub(super) fn new(origin: Arc<Origin>, placed: PlacedRecord) -> Self {
        Self { origin, placed }
    }

    /// The topic. A clone of it keeps nothing else in memory.
    #[inline]
    pub fn topic(&self) -> &Arc<str> {
        &self.origin.topic
    }

    /// The partition.
    #[inline]
    pub fn partition(&self) -> PartitionIndex {
        self.origin.partition
    }

    /// The record's place in the partition.
    #[inline]
    pub fn offset(&self) -> Offset {
        self.placed.offset
    }

    /// The record's own time.
    #[inline]
    pub fn timestamp(&self) -> Timestamp {
        self.placed.timestamp
    }

    /// When the leader appended it.
    #[inline]
    pub fn append_time(&self) -> Timestamp {
        self.origin.append_time
    }

    /// The key, if it has one; one without bytes is not none.
    #[inline]
    pub fn key(&self) -> Option<&[u8]> {
        self.placed.key(&self.origin.data)
    }

    /// The value, if it has one; one without bytes is not none.
    #[inline]
    pub fn value(&self) -> Option<&[u8]> {
        self.placed.value(&self.origin.data)
    }

    /// The headers, names and values, in the producer's order. Names are UTF-8 from every well-behaved
    /// producer, and may repeat.
    #[inline]
    pub fn headers(&self) -> HeaderViews<'_> {
        self.placed.headers(&self.origin.data)
    }

    /// The key to keep or pass on without a copy. It is a slice of what the record lies in, which stays in
    /// memory as long as it lives.
    pub fn key_bytes(&self) -> Option<Bytes> {
        self.key().map(|key| self.counted(key))
    }

    /// The value to keep or pass on without a copy. It is a slice of what the record lies in, which stays in
    /// memory as long as it lives.
    pub fn value_bytes(&self) -> Option<Bytes> {
        self.value().map(|value| self.counted(value))
    }

    /// A part of the record, with a reference of its own.
    fn counted(&self, part: &[u8]) -> Bytes {
        self.origin.data.slice_ref(part)
    }
}

impl PartialEq for ConsumerRecord {
    fn eq(&self, other: &Self) -> bool {
        self.topic() == other.topic()
            && self.partition() == other.partition()
            && self.offset() == other.offset()
            && self.timestamp() == other.timestamp()
            && self.append_time() == other.append_time()
            && self.key() == other.key()
            && self.value() == other.value()
            && self.headers().eq(other.headers())
    }
}

impl Eq for ConsumerRecord {}

impl fmt::Debug for ConsumerRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `Bytes` are shown as text with escapes.
        let header = |(name, value): (_, Option<_>)| {
            let value = value.map(|value| self.counted(value));
            (self.counted(name), value)
        };
        f.debug_struct("ConsumerRecord")
            .field("topic", self.topic())
            .field("partition", &self.partition())
            .field("offset", &self.offset())
            .field("timestamp", &self.timestamp())
            .field("append_time", &self.append_time())
            .field("key", &self.key_bytes())
            .field("value", &self.value_bytes())
            .field("headers", &self.headers().map(header).collect::<Vec<_>>())
            .finish()
    }
}

#[cfg(test)]
mod tests;
