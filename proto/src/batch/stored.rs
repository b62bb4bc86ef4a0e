//! A batch as a consumer reads it.

use bytes::Bytes;

use super::attributes::Codec;
use super::error::{BatchError, Expected, HeaderField};
use super::header::{BatchHeader, HEADER_LEN, wrong};
use super::records::Records;
use super::{MIN_RECORD_BYTES, compression};
use crate::Offset;

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
        Ok(Records::new(data, self.header, self.base_offset))
    }
}
