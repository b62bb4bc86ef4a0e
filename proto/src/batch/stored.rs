//! A batch as a consumer reads it.

use std::iter::FusedIterator;

use bytes::Bytes;

use super::attributes::Codec;
use super::error::{BatchError, Expected, HeaderField, RecordFault, RecordField};
use super::header::{BatchHeader, HEADER_LEN, wrong};
use super::reader::Reader;
use super::record::{Record, RecordHeader, read_record};
use super::{MIN_RECORD_BYTES, compression};
use crate::{Offset, Timestamp};

/// A batch as read from the log: stamped, and known to be the bytes that the producer sent.
#[derive(Debug, Clone)]
pub struct StoredBatch {
    header: BatchHeader,
    bytes: Bytes,
    base_offset: Offset,
    last_offset: Offset,
}

impl StoredBatch {
    /// Checks length, CRC and offsets of the one batch that `bytes` hold. Its records are looked at
    /// by [`StoredBatch::records`] only, so a batch whose records are malformed can be passed over.
    pub fn decode(bytes: Bytes) -> Result<Self, BatchError> {
        let header = BatchHeader::decode(&bytes)?;
        header.check_len(&bytes)?;
        header.check_crc(&bytes)?;
        let delta = u32::try_from(header.last_offset_delta).map_err(|_| {
            wrong(
                HeaderField::LastOffsetDelta,
                header.last_offset_delta,
                Expected::AtLeast(0),
            )
        })?;
        let most = i64::MAX - 1 - i64::from(delta);
        if header.base_offset > most {
            let expected = Expected::AtMost(most);
            return Err(wrong(HeaderField::BaseOffset, header.base_offset, expected));
        }
        let Some(base_offset) = Offset::from_i64(header.base_offset) else {
            return Err(wrong(
                HeaderField::BaseOffset,
                header.base_offset,
                Expected::AtLeast(0),
            ));
        };
        let last_offset = base_offset.plus(u64::from(delta));
        Ok(Self {
            header,
            bytes,
            base_offset,
            last_offset,
        })
    }

    /// The header.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The whole batch.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The offset of the first record.
    pub fn base_offset(&self) -> Offset {
        self.base_offset
    }

    /// The offset of the last record.
    pub fn last_offset(&self) -> Offset {
        self.last_offset
    }

    /// The offset after the last record, where the next batch begins.
    pub fn next_offset(&self) -> Offset {
        self.last_offset.plus(1)
    }

    /// The records in the order of their offsets. Compressed ones are decompressed here, into at
    /// most [`MAX_RECORDS_BYTES`](super::MAX_RECORDS_BYTES).
    pub fn records(&self) -> Result<Records, BatchError> {
        let body = self.bytes.slice(HEADER_LEN.min(self.bytes.len())..);
        let data = match self.header.attributes.codec()? {
            Codec::None => body,
            codec => compression::decompress(codec, &body)?,
        };
        let count = self.header.record_count;
        let most = data.len() / MIN_RECORD_BYTES;
        let Ok(records) = usize::try_from(count) else {
            return Err(wrong(HeaderField::RecordCount, count, Expected::AtLeast(0)));
        };
        if records > most {
            return Err(wrong(
                HeaderField::RecordCount,
                count,
                Expected::at_most_len(most),
            ));
        }
        let (header, base_offset) = (self.header, self.base_offset);
        Ok(Records {
            header,
            base_offset,
            data,
            at: 0,
            left: count,
            least_delta: 0,
        })
    }
}

/// Iterator of [`StoredBatch::records`]. Ends after the first error.
#[derive(Debug, Clone)]
pub struct Records {
    header: BatchHeader,
    base_offset: Offset,
    data: Bytes,
    /// Where the next record begins in `data`.
    at: usize,
    /// How many records are to come.
    left: i32,
    /// The least offset delta the next one may have: offsets only grow.
    least_delta: i32,
}

impl Iterator for Records {
    type Item = Result<Record, BatchError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return self.end().map(Err);
        }
        match self.record() {
            Ok(record) => {
                self.left -= 1;
                Some(Ok(record))
            }
            Err(fault) => Some(Err(self.stop(fault))),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // One more than the records: bytes left over end the walk with an error.
        (
            0,
            usize::try_from(self.left)
                .ok()
                .map(|left| left.saturating_add(1)),
        )
    }
}

impl FusedIterator for Records {}

impl Records {
    /// After the last record: an error, once, if bytes are left over.
    fn end(&mut self) -> Option<BatchError> {
        let found = self.data.len().saturating_sub(self.at);
        self.at = self.data.len();
        (found > 0).then_some(BatchError::LeftOver { found })
    }

    /// Ends the walk at the record that is at fault.
    #[cold]
    fn stop(&mut self, fault: RecordFault) -> BatchError {
        let index = self.header.record_count - self.left;
        self.left = 0;
        self.at = self.data.len();
        fault.at(index)
    }

    #[inline]
    fn record(&mut self) -> Result<Record, RecordFault> {
        let data = &self.data;
        let mut reader = Reader::new(data.get(self.at..).unwrap_or_default());
        let mut headers = Vec::new();
        let view = read_record(&mut reader, |name, value| {
            headers.push(RecordHeader {
                name: data.slice_ref(name),
                value: value.map(|value| data.slice_ref(value)),
            });
        })?;
        let delta = u64::try_from(view.offset_delta).ok().filter(|_| {
            (self.least_delta..=self.header.last_offset_delta).contains(&view.offset_delta)
        });
        let Some(delta) = delta else {
            return Err(self.wrong_delta(view.offset_delta));
        };
        let timestamp = match self.header.attributes.log_append_time() {
            true => self.header.max_timestamp,
            false => view.timestamp(self.header.base_timestamp)?,
        };
        let record = Record {
            offset: self.base_offset.plus(delta),
            timestamp: Timestamp(timestamp),
            key: view.key.map(|key| data.slice_ref(key)),
            value: view.value.map(|value| data.slice_ref(value)),
            headers,
        };
        self.at = data.len() - reader.left();
        self.least_delta = view.offset_delta.saturating_add(1);
        Ok(record)
    }

    #[cold]
    fn wrong_delta(&self, found: i32) -> RecordFault {
        let expected = match found < self.least_delta {
            true => Expected::AtLeast(i64::from(self.least_delta)),
            false => Expected::AtMost(i64::from(self.header.last_offset_delta)),
        };
        RecordFault::value(RecordField::OffsetDelta, i64::from(found), expected)
    }
}
