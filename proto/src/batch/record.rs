//! One record: how it is laid out, and how it is handed to a reader.

use std::borrow::Cow;

use bytes::Bytes;

use super::MAX_RECORD_HEADERS;
use super::error::{Expected, RecordFault, RecordField};
use super::reader::Reader;
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

/// A name and a value beside a record's key and value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordHeader {
    /// The name: UTF-8 from every well-behaved producer. Names may repeat within a record.
    pub name: Bytes,
    /// The value, if it has one.
    pub value: Option<Bytes>,
}

impl RecordHeader {
    /// The name as text; bytes that are not UTF-8 become U+FFFD.
    pub fn name_text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.name)
    }
}

/// A record inside its encoded bytes, offset and time still relative to its batch.
#[derive(Debug)]
pub(super) struct RecordView<'a> {
    pub(super) attributes: i8,
    pub(super) timestamp_delta: i64,
    pub(super) offset_delta: i32,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
}

/// Reads one record and hands its headers to `header` in order. The record's length must be
/// exactly what its fields take.
#[inline]
pub(super) fn read_record<'a>(
    reader: &mut Reader<'a>,
    header: impl FnMut(&'a [u8], Option<&'a [u8]>),
) -> Result<RecordView<'a>, RecordFault> {
    let length = reader.varint(RecordField::Length)?;
    let mut body = reader.sub(RecordField::Length, length)?;
    let view = RecordView {
        attributes: body.byte(RecordField::Attributes)?,
        timestamp_delta: body.varlong(RecordField::TimestampDelta)?,
        offset_delta: body.varint(RecordField::OffsetDelta)?,
        key: body.nullable(RecordField::KeyLength)?,
        value: body.nullable(RecordField::ValueLength)?,
    };
    let headers = body.varint(RecordField::HeaderCount)?;
    if headers != 0 {
        read_headers(&mut body, headers, header)?;
    }
    match body.left() {
        0 => Ok(view),
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

fn read_headers<'a>(
    body: &mut Reader<'a>,
    count: i32,
    mut header: impl FnMut(&'a [u8], Option<&'a [u8]>),
) -> Result<(), RecordFault> {
    if count < 0 {
        let expected = Expected::AtLeast(0);
        return Err(RecordFault::value(
            RecordField::HeaderCount,
            i64::from(count),
            expected,
        ));
    }
    let most = MAX_RECORD_HEADERS.min(body.left() / 2);
    if usize::try_from(count).is_ok_and(|count| count > most) {
        let expected = Expected::at_most_len(most);
        return Err(RecordFault::value(
            RecordField::HeaderCount,
            i64::from(count),
            expected,
        ));
    }
    for _ in 0..count {
        let name = body.bytes(RecordField::HeaderNameLength)?;
        header(name, body.nullable(RecordField::HeaderValueLength)?);
    }
    Ok(())
}

impl RecordView<'_> {
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
