//! What the fuzz targets share.

use bytes::Bytes;
use highwater_proto::batch::{CRC_END, HEADER_LEN};

/// `input` as a batch with the right length, magic and CRC where its first byte is odd, so that
/// damage reaches what is behind those checks; as it is where that byte is even.
pub fn sealed(input: &[u8]) -> Bytes {
    let Some((choice, batch)) = input.split_first() else {
        return Bytes::new();
    };
    let mut batch = batch.to_vec();
    if choice % 2 == 1 && batch.len() >= HEADER_LEN {
        let length = i32::try_from(batch.len() - 12).expect("libFuzzer's inputs are small");
        batch[8..12].copy_from_slice(&length.to_be_bytes());
        batch[16] = 2;
        let crc = crc_fast::crc32_iscsi(&batch[CRC_END..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
    }
    Bytes::from(batch)
}
