//! Records to a batch, on the client.

use bytes::Bytes;

use super::attributes::{Attributes, Codec};
use super::error::{BatchError, Expected, RecordFault, RecordField};
use super::header::{BatchHeader, HEADER_LEN, LENGTH_END};
use super::stamp::{ProducerStamp, seal};
use super::{MAX_BATCH_BYTES, MAX_RECORD_HEADERS, MAX_RECORDS_BYTES, compression, varint};
use crate::Timestamp;

/// Gathers records into one batch. Each is encoded at once into one growing buffer.
#[derive(Debug)]
pub struct BatchBuilder {
    /// Room for the header, then the encoded records.
    bytes: Vec<u8>,
    records: i32,
    base_timestamp: i64,
    max_timestamp: i64,
    /// The first record that cannot be in a batch, and why.
    fault: Option<BatchError>,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl BatchBuilder {
    /// A batch without records.
    pub fn new() -> Self {
        Self::with_capacity(0)
    }

    /// A batch without records, with room for one of `len` bytes, header included.
    pub fn with_capacity(len: usize) -> Self {
        Self::in_buffer(Vec::with_capacity(len.max(HEADER_LEN)))
    }

    /// A batch without records, in this memory. What it holds is lost.
    pub fn in_buffer(mut bytes: Vec<u8>) -> Self {
        bytes.clear();
        bytes.resize(HEADER_LEN, 0);
        Self {
            bytes,
            records: 0,
            base_timestamp: 0,
            max_timestamp: i64::MIN,
            fault: None,
        }
    }

    /// Appends a record. One that no batch can hold (more than [`MAX_RECORDS_BYTES`] with those
    /// before it, more than [`MAX_RECORD_HEADERS`] headers) is left out, and
    /// [`BatchBuilder::build`] then says so instead of building.
    #[inline]
    pub fn push(
        &mut self,
        timestamp: Timestamp,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) {
        if self.fault.is_some() {
            return;
        }
        if let Err(fault) = self.encode(timestamp.0, key, value, headers) {
            self.fault = Some(fault.at(self.records));
        }
    }

    /// The size of the batch before compression, in bytes, header included.
    pub fn estimated_len(&self) -> usize {
        self.bytes.len()
    }

    /// How many records were pushed.
    pub fn record_count(&self) -> u32 {
        self.records.unsigned_abs()
    }

    /// Whether no record was pushed.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// The batch, with base offset 0 and leader epoch -1 for the broker to stamp. An error if a
    /// record could not be encoded, if there is none, or if the batch has more than
    /// [`MAX_BATCH_BYTES`].
    pub fn build(self, codec: Codec, producer: Option<ProducerStamp>) -> Result<Bytes, BatchError> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        if self.records == 0 {
            return Err(BatchError::Empty);
        }
        let mut bytes = match codec {
            Codec::None => self.bytes,
            codec => compression::compress(codec, self.bytes)?,
        };
        let found = bytes.len();
        let too_large = BatchError::TooLarge {
            found,
            limit: MAX_BATCH_BYTES,
        };
        let length = i32::try_from(found.saturating_sub(LENGTH_END));
        let (Ok(batch_length), true) = (length, found <= MAX_BATCH_BYTES) else {
            return Err(too_large);
        };
        let mut header = BatchHeader {
            base_offset: 0,
            batch_length,
            leader_epoch: -1,
            crc: 0,
            attributes: Attributes::of(codec),
            last_offset_delta: self.records - 1,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            record_count: self.records,
        };
        if let Some(producer) = producer {
            producer.write(&mut header)?;
        }
        seal(&mut bytes, header)?;
        Ok(Bytes::from(bytes))
    }

    /// Checks first, writes then: a record is in the buffer whole or not at all.
    #[inline]
    fn encode(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) -> Result<(), RecordFault> {
        let base = if self.records == 0 {
            timestamp
        } else {
            self.base_timestamp
        };
        let Some(timestamp_delta) = timestamp.checked_sub(base) else {
            let expected = match timestamp < base {
                true => Expected::AtLeast(i64::MIN + base),
                false => Expected::AtMost(i64::MAX + base),
            };
            return Err(RecordFault::value(
                RecordField::Timestamp,
                timestamp,
                expected,
            ));
        };
        if headers.len() > MAX_RECORD_HEADERS {
            let found = i64::try_from(headers.len()).unwrap_or(i64::MAX);
            let most = Expected::at_most_len(MAX_RECORD_HEADERS);
            return Err(RecordFault::value(RecordField::HeaderCount, found, most));
        }
        let length = 1
            + varint::encoded_len(timestamp_delta)
            + varint::encoded_len(i64::from(self.records))
            + nullable_len(key)
            + nullable_len(value)
            + headers_len(headers);
        let room = MAX_RECORDS_BYTES.saturating_sub(self.bytes.len() - HEADER_LEN);
        if length.saturating_add(varint::MAX_VARINT) > room {
            let found = i64::try_from(length).unwrap_or(i64::MAX);
            let most = Expected::at_most_len(room.saturating_sub(varint::MAX_VARINT));
            return Err(RecordFault::value(RecordField::Length, found, most));
        }
        self.bytes
            .reserve(length + varint::MAX_VARINT + varint::Head::CAPACITY);
        let mut head = varint::Head::default();
        head.put_len(length);
        head.put(0);
        head.put(timestamp_delta);
        head.put(i64::from(self.records));
        if let Some(key) = key {
            head.put_len(key.len());
            head.move_to(&mut self.bytes);
            self.bytes.extend_from_slice(key);
        } else {
            head.put(-1);
        }
        match value {
            Some(value) => head.put_len(value.len()),
            None => head.put(-1),
        }
        head.move_to(&mut self.bytes);
        self.bytes.extend_from_slice(value.unwrap_or_default());
        varint::put_len(&mut self.bytes, headers.len());
        for (name, value) in headers {
            put_nullable(&mut self.bytes, Some(name.as_bytes()));
            put_nullable(&mut self.bytes, *value);
        }
        self.base_timestamp = base;
        self.max_timestamp = self.max_timestamp.max(timestamp);
        self.records += 1;
        Ok(())
    }
}

#[inline]
fn nullable_len(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| {
        varint::len_of_len(bytes.len()).saturating_add(bytes.len())
    })
}

#[inline]
fn put_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    let Some(bytes) = bytes else {
        return varint::put(out, -1);
    };
    varint::put_len(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn headers_len(headers: &[(&str, Option<&[u8]>)]) -> usize {
    let each = headers
        .iter()
        .map(|(name, value)| nullable_len(Some(name.as_bytes())) + nullable_len(*value));
    varint::len_of_len(headers.len()) + each.sum::<usize>()
}
