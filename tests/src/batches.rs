//! Record batches to send, sound and damaged.

use bytes::Bytes;
use highwater_proto::batch::{BatchBuilder, Codec, ProducerStamp};
use highwater_proto::{ProducerEpoch, ProducerId, Sequence, Timestamp};

/// The time of the first record of every batch here; each further one is a millisecond later.
pub const TIME: i64 = 1_700_000_000_000;

/// Where the fields of a batch header begin.
pub mod at {
    /// The bytes after it, i32.
    pub const BATCH_LENGTH: usize = 8;
    /// i8.
    pub const MAGIC: usize = 16;
    /// u32, of everything after it.
    pub const CRC: usize = 17;
    /// i16.
    pub const ATTRIBUTES: usize = 21;
    /// i32.
    pub const LAST_OFFSET_DELTA: usize = 23;
    /// i64.
    pub const MAX_TIMESTAMP: usize = 35;
    /// i64.
    pub const PRODUCER_ID: usize = 43;
    /// i16.
    pub const PRODUCER_EPOCH: usize = 51;
    /// i32.
    pub const BASE_SEQUENCE: usize = 53;
    /// i32.
    pub const RECORD_COUNT: usize = 57;
    /// The first record.
    pub const RECORDS: usize = 61;
}

/// A batch of records with these values, without a producer.
pub fn batch<V: AsRef<[u8]>>(values: impl IntoIterator<Item = V>) -> Bytes {
    build(values, None)
}

/// A batch of records with these values, the first of them number `base` of a producer.
pub fn sequenced<V: AsRef<[u8]>>(
    producer: i64,
    epoch: u16,
    base: i32,
    values: impl IntoIterator<Item = V>,
) -> Bytes {
    let stamp = ProducerStamp {
        id: ProducerId(u64::try_from(producer).expect("a producer's id is not negative")),
        epoch: ProducerEpoch(epoch),
        base_sequence: Sequence(base),
    };
    build(values, Some(stamp))
}

fn build<V: AsRef<[u8]>>(
    values: impl IntoIterator<Item = V>,
    producer: Option<ProducerStamp>,
) -> Bytes {
    let mut builder = BatchBuilder::new();
    for (time, value) in (TIME..).zip(values) {
        builder.push(Timestamp(time), None, Some(value.as_ref()), &[]);
    }
    let built = builder.build(Codec::None, producer);
    built.expect("sound records make a batch")
}

/// The batch with other bytes at a place, its CRC left as it was.
pub fn damaged<const N: usize>(batch: &Bytes, at: usize, bytes: [u8; N]) -> Bytes {
    let mut changed = batch.to_vec();
    changed[at..at + N].copy_from_slice(&bytes);
    changed.into()
}

/// The batch with other bytes at a place, and a CRC that says so.
pub fn changed<const N: usize>(batch: &Bytes, at: usize, bytes: [u8; N]) -> Bytes {
    let batch = damaged(batch, at, bytes);
    let crc = crc_fast::crc32_iscsi(&batch[at::ATTRIBUTES..]);
    damaged(&batch, at::CRC, crc.to_be_bytes())
}

/// A batch that claims one record, of which these bytes are said to be the compressed form.
pub fn compressed(codec: i16, records: &[u8]) -> Bytes {
    let mut bytes = batch(["x"])[..at::RECORDS].to_vec();
    bytes.extend_from_slice(records);
    let length = bytes.len() - at::BATCH_LENGTH - 4;
    let length = i32::try_from(length).expect("a batch has less than 2 GiB");
    let sized = damaged(&bytes.into(), at::BATCH_LENGTH, length.to_be_bytes());
    changed(&sized, at::ATTRIBUTES, codec.to_be_bytes())
}

/// A few bytes that zstd makes so many times 128 KiB of zeros of.
pub fn zstd_bomb(blocks: usize) -> Vec<u8> {
    const REPEAT: u32 = 1 << 1;
    const SIZE: u32 = (128 << 10) << 3;
    // The magic number, no checksum and no size, a window of 128 KiB.
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38];
    for block in 1..=blocks {
        let last = u32::from(block == blocks);
        frame.extend_from_slice(&(last | REPEAT | SIZE).to_le_bytes()[..3]);
        frame.push(0);
    }
    frame
}
