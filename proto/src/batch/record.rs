//! One record: how it is laid out, and how it is handed to a reader.

use bytes::Bytes;

use super::error::{Expected, RecordFault, RecordField};
use super::reader::Reader;
use super::record_headers::{HeaderViews, RecordHeader};
use crate::{Offset, Timestamp};

/// A record as a consumer gets it. Key, value and headers are slices of the batch they came in,
/// and keep it in memory as long as they live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its place in the partition.
    pub offset: Offset,
    /// Its time: the producer's, or that of the append where the batch says so.
    pub timestamp: Timestamp,
    /// The key, if it has one.
    pub key: Option<Bytes>,
    /// The value, if it has one.
    pub value: Option<Bytes>,
    /// The headers, in the producer's order.
    pub headers: Vec<RecordHeader>,
}

/// A record as [`Record`], borrowed: no reference is counted, which is most of what reading costs.
#[derive(Debug, Clone)]
pub struct RecordView<'a> {
    /// Its place in the partition.
    pub offset: Offset,
    /// Its time: the producer's, or that of the append where the batch says so.
    pub timestamp: Timestamp,
    /// The key, if it has one.
    pub key: Option<&'a [u8]>,
    /// The value, if it has one.
    pub value: Option<&'a [u8]>,
    /// The headers, in the producer's order.
    pub headers: HeaderViews<'a>,
}

impl RecordView<'_> {
    /// The record as slices of `data`, in which this one lies.
    #[inline]
    pub(super) fn to_record(&self, data: &Bytes) -> Record {
        Record {
            offset: self.offset,
            timestamp: self.timestamp,
            key: self.key.map(|key| data.slice_ref(key)),
            value: self.value.map(|value| data.slice_ref(value)),
            headers: match self.headers.is_empty() {
                true => Vec::new(),
                false => self.headers.to_headers(data),
            },
        }
    }
}

/// A record as it is encoded: offset and time relative to its batch.
#[derive(Debug)]
pub(super) struct Encoded<'a> {
    pub(super) attributes: i8,
    pub(super) timestamp_delta: i64,
    pub(super) offset_delta: i32,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    pub(super) headers: HeaderViews<'a>,
}

impl<'a> Encoded<'a> {
    /// Reads one record. Its length must be exactly what its fields take.
    #[inline]
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, RecordFault> {
        let length = reader.varint(RecordField::Length)?;
        let mut body = reader.sub(RecordField::Length, length)?;
        let attributes = body.byte(RecordField::Attributes)?;
        let timestamp_delta = body.varlong(RecordField::TimestampDelta)?;
        let offset_delta = body.varint(RecordField::OffsetDelta)?;
        let key = body.nullable(RecordField::KeyLength)?;
        let value = body.nullable(RecordField::ValueLength)?;
        let headers = HeaderViews::read(&mut body)?;
        match body.left() {
            0 => Ok(Self {
                attributes,
                timestamp_delta,
                offset_delta,
                key,
                value,
                headers,
            }),
            left => {
                let found = i64::try_from(left).unwrap_or(i64::MAX);
                Err(RecordFault::value(
                    RecordField::Rest,
                    found,
                    Expected::Exactly(0),
                ))
            }
        }
    }

    /// The record's own time; a fault where it leaves the number space.
    #[inline]
    pub(super) fn timestamp(&self, base: i64) -> Result<i64, RecordFault> {
        base.checked_add(self.timestamp_delta).ok_or_else(|| {
            let expected = match self.timestamp_delta {
                ..0 => Expected::AtLeast(i64::MIN.saturating_sub(base)),
                _ => Expected::AtMost(i64::MAX.saturating_sub(base)),
            };
            RecordFault::value(RecordField::TimestampDelta, self.timestamp_delta, expected)
        })
    }
}
