//! What is written into a finished batch: offset and epoch by the broker, the producer's identity
//! by the client.

use bytes::{Bytes, BytesMut};

use super::error::{BatchError, Expected, HeaderField};
use super::header::{BatchHeader, CRC_END, HEADER_LEN, at, set, wrong};
use crate::{Offset, ProducerEpoch, ProducerId, Sequence};

/// Who sends a batch, and the number of its first record among theirs in the partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerStamp {
    /// The producer.
    pub id: ProducerId,
    /// Its incarnation.
    pub epoch: ProducerEpoch,
    /// The number of the batch's first record; the others follow it.
    pub base_sequence: Sequence,
}

impl ProducerStamp {
    /// Writes the stamp into a header that has yet to get its CRC.
    pub(super) fn write(self, header: &mut BatchHeader) -> Result<(), BatchError> {
        let id = i64::try_from(self.id.0).ok().filter(|id| *id < i64::MAX);
        header.producer_id = id.ok_or_else(|| {
            wrong(
                HeaderField::ProducerId,
                i64::MAX,
                Expected::AtMost(i64::MAX - 1),
            )
        })?;
        header.producer_epoch = i16::try_from(self.epoch.0).map_err(|_| {
            wrong(
                HeaderField::ProducerEpoch,
                self.epoch.0,
                Expected::AtMost(i64::from(i16::MAX)),
            )
        })?;
        if self.base_sequence.0 < 0 {
            let found = self.base_sequence.0;
            return Err(wrong(
                HeaderField::BaseSequence,
                found,
                Expected::AtLeast(0),
            ));
        }
        header.base_sequence = self.base_sequence.0;
        Ok(())
    }
}

/// The first 16 bytes of the batch as the broker stores it: the base offset at 0-7, the length kept
/// at 8-11, the leader epoch at 12-15. The bytes from 16 on stay as they came, and so does the CRC.
pub fn stamped_prefix(header: &BatchHeader, base_offset: Offset, leader_epoch: i32) -> [u8; 16] {
    let mut prefix = [0; 16];
    let (offset, rest) = prefix.split_at_mut(at::BATCH_LENGTH);
    let (length, epoch) = rest.split_at_mut(at::LEADER_EPOCH - at::BATCH_LENGTH);
    offset.copy_from_slice(&base_offset.to_i64().to_be_bytes());
    length.copy_from_slice(&header.batch_length.to_be_bytes());
    epoch.copy_from_slice(&leader_epoch.to_be_bytes());
    prefix
}

/// The same batch from another producer, epoch or place in the sequence. These fields are inside
/// the CRC, which is made anew. Copies the batch only if its bytes are shared with others.
pub fn restamped(batch: Bytes, producer: ProducerStamp) -> Result<Bytes, BatchError> {
    let mut header = BatchHeader::decode(&batch)?;
    header.check_len(&batch)?;
    producer.write(&mut header)?;
    let mut bytes = batch
        .try_into_mut()
        .unwrap_or_else(|shared| BytesMut::from(&shared[..]));
    seal(&mut bytes, header)?;
    Ok(bytes.freeze())
}

/// Writes `header` over the first bytes of `batch`, and then the CRC of the result.
pub(super) fn seal(batch: &mut [u8], header: BatchHeader) -> Result<(), BatchError> {
    let found = batch.len();
    let short = || BatchError::Short {
        found,
        expected: HEADER_LEN,
    };
    *batch.first_chunk_mut::<HEADER_LEN>().ok_or_else(short)? = header.encode();
    let crc = super::crc32c(batch.get(CRC_END..).unwrap_or_default());
    set::<{ at::CRC }, 4>(
        batch.first_chunk_mut().ok_or_else(short)?,
        crc.to_be_bytes(),
    );
    Ok(())
}
