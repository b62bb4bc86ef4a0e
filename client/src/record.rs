//! A record on its way to a topic.

use std::borrow::Cow;

use bytes::Bytes;
use highwater_proto::{PartitionIndex, Timestamp};

/// Bytes lent or given for a record's key, value or header. They are encoded into the partition's
/// batch when the record is sent, so lending is enough.
#[derive(Debug, Clone)]
pub struct Payload<'a>(Kind<'a>);

#[derive(Debug, Clone)]
enum Kind<'a> {
    Lent(&'a [u8]),
    Owned(Vec<u8>),
    Shared(Bytes),
}

impl Payload<'_> {
    /// The bytes.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        match &self.0 {
            Kind::Lent(bytes) => bytes,
            Kind::Owned(bytes) => bytes,
            Kind::Shared(bytes) => bytes,
        }
    }
}

impl<'a> From<&'a [u8]> for Payload<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self(Kind::Lent(bytes))
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Payload<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Self(Kind::Lent(bytes))
    }
}

impl<'a> From<&'a str> for Payload<'a> {
    fn from(text: &'a str) -> Self {
        Self(Kind::Lent(text.as_bytes()))
    }
}

impl From<Vec<u8>> for Payload<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Kind::Owned(bytes))
    }
}

impl From<String> for Payload<'_> {
    fn from(text: String) -> Self {
        Self(Kind::Owned(text.into_bytes()))
    }
}

impl From<Bytes> for Payload<'_> {
    fn from(bytes: Bytes) -> Self {
        Self(Kind::Shared(bytes))
    }
}

/// A record to produce.
///
/// With a key it goes to the partition that the key's murmur2 hash names, as Kafka's clients do;
/// with [`Record::partition`] to that one; else to one that changes batch by batch.
#[derive(Debug, Clone, Default)]
pub struct Record<'a> {
    pub(crate) key: Option<Payload<'a>>,
    pub(crate) value: Option<Payload<'a>>,
    pub(crate) headers: Vec<(Cow<'a, str>, Option<Payload<'a>>)>,
    pub(crate) timestamp: Option<Timestamp>,
    pub(crate) partition: Option<PartitionIndex>,
}

impl<'a> Record<'a> {
    /// A record with this value and no key. It goes to any partition, so it has no order among other
    /// records without a key.
    pub fn new(value: impl Into<Payload<'a>>) -> Self {
        Self {
            value: Some(value.into()),
            ..Self::default()
        }
    }

    /// A record without a value, which marks the end of what its key stands for.
    pub fn tombstone(key: impl Into<Payload<'a>>) -> Self {
        Self::default().key(key)
    }

    /// The record's key. Records with one key go to one partition, and so stay in the order in which
    /// they were sent.
    #[must_use]
    pub fn key(mut self, key: impl Into<Payload<'a>>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// A name and a value beside key and value; names may repeat, and their order is kept.
    #[must_use]
    pub fn header(mut self, name: impl Into<Cow<'a, str>>, value: impl Into<Payload<'a>>) -> Self {
        self.headers.push((name.into(), Some(value.into())));
        self
    }

    /// The record's own time, in milliseconds since 1970; when not set, the time of sending to within
    /// some milliseconds. It changes nothing about the order, and retention goes by the append time.
    #[must_use]
    pub fn timestamp(mut self, time: Timestamp) -> Self {
        self.timestamp = Some(time);
        self
    }

    /// The partition, whatever the key says. `send` refuses one that the topic does not have, with
    /// `PARTITION_NOT_FOUND`.
    #[must_use]
    pub fn partition(mut self, partition: PartitionIndex) -> Self {
        self.partition = Some(partition);
        self
    }

    /// The headers as the batch takes them.
    #[cold]
    pub(crate) fn borrowed_headers(&self) -> Vec<(&str, Option<&[u8]>)> {
        let headers = self.headers.iter();
        headers
            .map(|(name, value)| (name.as_ref(), value.as_ref().map(Payload::as_slice)))
            .collect()
    }

    /// An upper bound of the bytes the record takes in a batch.
    #[inline]
    pub(crate) fn size_bound(&self) -> usize {
        /// Length, attributes, times and counts at their longest.
        const FIXED: usize = 5 + 1 + 10 + 5 + 5 + 5 + 5;
        let len = |payload: &Option<Payload<'_>>| match payload {
            Some(payload) => payload.as_slice().len(),
            None => 0,
        };
        let headers = self.headers.iter();
        let headers: usize = headers
            .map(|(name, value)| name.len() + len(value) + 10)
            .sum();
        FIXED + len(&self.key) + len(&self.value) + headers
    }
}

impl<'a, T: Into<Payload<'a>>> From<T> for Record<'a> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

#[cfg(test)]
mod tests {
    use highwater_proto::batch::BatchBuilder;
    use proptest::prelude::*;

    use super::*;

    /// Bytes whose number takes one, two, three or four bytes to say.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let lens = prop_oneof![0..3_usize, 62..66_usize, 8190..8194_usize, Just(1 << 20)];
        lens.prop_map(|len| vec![b'x'; len])
    }

    fn short() -> impl Strategy<Value = Vec<u8>> {
        (0..70_usize).prop_map(|len| vec![b'x'; len])
    }

    prop_compose! {
        fn records()(
            key in prop::option::of(bytes()),
            value in prop::option::of(bytes()),
            headers in prop::collection::vec((short(), prop::option::of(short())), 0..100),
            time in prop::option::of(any::<i64>()),
        ) -> Record<'static> {
            let name = |name| String::from_utf8(name).unwrap().into();
            let headers = headers.into_iter();
            Record {
                key: key.map(Payload::from),
                value: value.map(Payload::from),
                headers: headers.map(|(n, v)| (name(n), v.map(Payload::from))).collect(),
                timestamp: time.map(Timestamp),
                partition: None,
            }
        }
    }

    /// The bytes that the record takes behind so many others of the time 0.
    fn encoded(record: &Record<'_>, before: u32) -> usize {
        let mut batch = BatchBuilder::new();
        for _ in 0..before {
            batch.push(Timestamp(0), None, None, &[]);
        }
        let len = batch.estimated_len();
        batch.push(
            record.timestamp.unwrap_or(Timestamp(0)),
            record.key.as_ref().map(Payload::as_slice),
            record.value.as_ref().map(Payload::as_slice),
            &record.borrowed_headers(),
        );
        assert_eq!(batch.record_count(), before + 1);
        batch.estimated_len() - len
    }

    proptest! {
        #[test]
        fn a_record_takes_no_more_in_a_batch_than_it_is_charged_for(
            record in records(),
            before in prop_oneof![Just(0_u32), Just(1), Just(64), Just(8192)],
        ) {
            let encoded = encoded(&record, before);
            prop_assert!(encoded <= record.size_bound(), "{encoded} bytes");
        }
    }
}
