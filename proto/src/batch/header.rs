//! The 61 bytes in front of the records.

use super::attributes::Attributes;
use super::error::{BatchError, Expected, HeaderField};
use super::stamp::ProducerStamp;
use crate::{ProducerEpoch, ProducerId, Sequence};

/// The bytes of a batch header.
pub const HEADER_LEN: usize = 61;

/// The end of the bytes outside the CRC, the CRC itself among them: base offset to CRC.
pub const CRC_END: usize = 21;

/// The magic of this batch format.
const MAGIC: i8 = 2;

/// The bytes up to and including `batchLength`, which it does not count.
pub(super) const LENGTH_END: usize = 12;

/// The smallest `batchLength`: a header and nothing else.
const LEAST_BATCH_LENGTH: i32 = 49;

/// Where each field begins.
pub(super) mod at {
    pub(in super::super) const BASE_OFFSET: usize = 0;
    pub(in super::super) const BATCH_LENGTH: usize = 8;
    pub(in super::super) const LEADER_EPOCH: usize = 12;
    pub(in super::super) const MAGIC: usize = 16;
    pub(in super::super) const CRC: usize = 17;
    pub(in super::super) const ATTRIBUTES: usize = 21;
    pub(in super::super) const LAST_OFFSET_DELTA: usize = 23;
    pub(in super::super) const BASE_TIMESTAMP: usize = 27;
    pub(in super::super) const MAX_TIMESTAMP: usize = 35;
    pub(in super::super) const PRODUCER_ID: usize = 43;
    pub(in super::super) const PRODUCER_EPOCH: usize = 51;
    pub(in super::super) const BASE_SEQUENCE: usize = 53;
    pub(in super::super) const RECORD_COUNT: usize = 57;
}

const _: () = {
    assert!(at::BASE_OFFSET == 0);
    assert!(at::BATCH_LENGTH == at::BASE_OFFSET + size_of::<i64>());
    assert!(at::LEADER_EPOCH == at::BATCH_LENGTH + size_of::<i32>());
    assert!(at::MAGIC == at::LEADER_EPOCH + size_of::<i32>());
    assert!(at::CRC == at::MAGIC + size_of::<i8>());
    assert!(at::ATTRIBUTES == at::CRC + size_of::<u32>());
    assert!(at::LAST_OFFSET_DELTA == at::ATTRIBUTES + size_of::<i16>());
    assert!(at::BASE_TIMESTAMP == at::LAST_OFFSET_DELTA + size_of::<i32>());
    assert!(at::MAX_TIMESTAMP == at::BASE_TIMESTAMP + size_of::<i64>());
    assert!(at::PRODUCER_ID == at::MAX_TIMESTAMP + size_of::<i64>());
    assert!(at::PRODUCER_EPOCH == at::PRODUCER_ID + size_of::<i64>());
    assert!(at::BASE_SEQUENCE == at::PRODUCER_EPOCH + size_of::<i16>());
    assert!(at::RECORD_COUNT == at::BASE_SEQUENCE + size_of::<i32>());
    assert!(HEADER_LEN == at::RECORD_COUNT + size_of::<i32>());
    assert!(CRC_END == at::ATTRIBUTES);
    assert!(LENGTH_END == at::LEADER_EPOCH);
    assert!(LEAST_BATCH_LENGTH.unsigned_abs() as usize + LENGTH_END == HEADER_LEN);
};

/// A decoded batch header. The magic is not kept: it is always 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// The offset of the first record; a producer's value means nothing until the broker stamps it.
    pub base_offset: i64,
    /// The bytes after this field.
    pub batch_length: i32,
    /// The term of the leader that appended the batch, stamped by the broker.
    pub leader_epoch: i32,
    /// CRC-32C of everything from the attributes to the end.
    pub crc: u32,
    /// Codec, timestamp type and the like.
    pub attributes: Attributes,
    /// The last record's offset, relative to `base_offset`.
    pub last_offset_delta: i32,
    /// The first record's time in milliseconds; the records' times are relative to it.
    pub base_timestamp: i64,
    /// The greatest time of a record, in milliseconds.
    pub max_timestamp: i64,
    /// The producer, or -1.
    pub producer_id: i64,
    /// The producer's epoch, or -1.
    pub producer_epoch: i16,
    /// The producer's number of the first record, or -1.
    pub base_sequence: i32,
    /// How many records the batch holds.
    pub record_count: i32,
}

impl BatchHeader {
    /// Decodes the header that `bytes` begin with. Of its fields only magic and `batchLength` are
    /// checked; whether the records are there and intact is not asked.
    pub fn decode(bytes: &[u8]) -> Result<Self, BatchError> {
        let Some(raw) = bytes.first_chunk::<HEADER_LEN>() else {
            return Err(BatchError::Short {
                found: bytes.len(),
                expected: HEADER_LEN,
            });
        };
        let magic = i8::from_be_bytes(field::<{ at::MAGIC }, 1>(raw));
        if magic != MAGIC {
            let expected = Expected::Exactly(i64::from(MAGIC));
            return Err(wrong(HeaderField::Magic, magic, expected));
        }
        let header = Self::read(raw);
        if header.batch_length < LEAST_BATCH_LENGTH {
            let expected = Expected::AtLeast(i64::from(LEAST_BATCH_LENGTH));
            return Err(wrong(
                HeaderField::BatchLength,
                header.batch_length,
                expected,
            ));
        }
        Ok(header)
    }

    fn read(raw: &[u8; HEADER_LEN]) -> Self {
        Self {
            base_offset: i64::from_be_bytes(field::<{ at::BASE_OFFSET }, 8>(raw)),
            batch_length: i32::from_be_bytes(field::<{ at::BATCH_LENGTH }, 4>(raw)),
            leader_epoch: i32::from_be_bytes(field::<{ at::LEADER_EPOCH }, 4>(raw)),
            crc: u32::from_be_bytes(field::<{ at::CRC }, 4>(raw)),
            attributes: Attributes(i16::from_be_bytes(field::<{ at::ATTRIBUTES }, 2>(raw))),
            last_offset_delta: i32::from_be_bytes(field::<{ at::LAST_OFFSET_DELTA }, 4>(raw)),
            base_timestamp: i64::from_be_bytes(field::<{ at::BASE_TIMESTAMP }, 8>(raw)),
            max_timestamp: i64::from_be_bytes(field::<{ at::MAX_TIMESTAMP }, 8>(raw)),
            producer_id: i64::from_be_bytes(field::<{ at::PRODUCER_ID }, 8>(raw)),
            producer_epoch: i16::from_be_bytes(field::<{ at::PRODUCER_EPOCH }, 2>(raw)),
            base_sequence: i32::from_be_bytes(field::<{ at::BASE_SEQUENCE }, 4>(raw)),
            record_count: i32::from_be_bytes(field::<{ at::RECORD_COUNT }, 4>(raw)),
        }
    }

    /// The 61 bytes of this header.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut raw = [0; HEADER_LEN];
        set::<{ at::BASE_OFFSET }, 8>(&mut raw, self.base_offset.to_be_bytes());
        set::<{ at::BATCH_LENGTH }, 4>(&mut raw, self.batch_length.to_be_bytes());
        set::<{ at::LEADER_EPOCH }, 4>(&mut raw, self.leader_epoch.to_be_bytes());
        set::<{ at::MAGIC }, 1>(&mut raw, MAGIC.to_be_bytes());
        set::<{ at::CRC }, 4>(&mut raw, self.crc.to_be_bytes());
        set::<{ at::ATTRIBUTES }, 2>(&mut raw, self.attributes.0.to_be_bytes());
        set::<{ at::LAST_OFFSET_DELTA }, 4>(&mut raw, self.last_offset_delta.to_be_bytes());
        set::<{ at::BASE_TIMESTAMP }, 8>(&mut raw, self.base_timestamp.to_be_bytes());
        set::<{ at::MAX_TIMESTAMP }, 8>(&mut raw, self.max_timestamp.to_be_bytes());
        set::<{ at::PRODUCER_ID }, 8>(&mut raw, self.producer_id.to_be_bytes());
        set::<{ at::PRODUCER_EPOCH }, 2>(&mut raw, self.producer_epoch.to_be_bytes());
        set::<{ at::BASE_SEQUENCE }, 4>(&mut raw, self.base_sequence.to_be_bytes());
        set::<{ at::RECORD_COUNT }, 4>(&mut raw, self.record_count.to_be_bytes());
        raw
    }

    /// The bytes of the whole batch, header included.
    pub fn total_len(&self) -> usize {
        usize::try_from(self.batch_length)
            .unwrap_or(0)
            .saturating_add(LENGTH_END)
    }

    /// Who sent the batch and where it stands in their sequence; `None` without a producer id.
    pub fn producer(&self) -> Option<ProducerStamp> {
        Some(ProducerStamp {
            id: ProducerId(u64::try_from(self.producer_id).ok()?),
            epoch: ProducerEpoch(u16::try_from(self.producer_epoch).ok()?),
            base_sequence: Sequence(self.base_sequence),
        })
    }

    /// An error unless `bytes` are exactly as many as the header says.
    pub(super) fn check_len(&self, bytes: &[u8]) -> Result<(), BatchError> {
        let (found, expected) = (bytes.len(), self.total_len());
        if found < expected {
            return Err(BatchError::Short { found, expected });
        }
        if found > expected {
            return Err(BatchError::Trailing { found, expected });
        }
        Ok(())
    }

    /// An error unless `bytes`, the whole batch, are those the CRC was made of.
    pub(super) fn check_crc(&self, bytes: &[u8]) -> Result<(), BatchError> {
        let expected = super::crc32c(bytes.get(CRC_END..).unwrap_or_default());
        if self.crc != expected {
            return Err(BatchError::Crc {
                found: self.crc,
                expected,
            });
        }
        Ok(())
    }
}

/// The error of a header field.
#[cold]
pub(super) fn wrong(field: HeaderField, found: impl Into<i64>, expected: Expected) -> BatchError {
    BatchError::Header {
        field,
        found: found.into(),
        expected,
    }
}

/// The `N` bytes of a header from `AT` on; that they exist is known when this is compiled.
fn field<const AT: usize, const N: usize>(raw: &[u8; HEADER_LEN]) -> [u8; N] {
    const { assert!(AT + N <= HEADER_LEN) };
    let mut out = [0; N];
    out.copy_from_slice(&raw[AT..AT + N]);
    out
}

/// Writes the `N` bytes of a header from `AT` on.
pub(super) fn set<const AT: usize, const N: usize>(raw: &mut [u8; HEADER_LEN], value: [u8; N]) {
    const { assert!(AT + N <= HEADER_LEN) };
    raw[AT..AT + N].copy_from_slice(&value);
}
