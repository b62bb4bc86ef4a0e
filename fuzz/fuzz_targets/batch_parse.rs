//! What a producer sends: an error, or a batch whose records can all be read if not compressed.
#![no_main]

use bytes::Bytes;
use highwater_proto::batch::{Codec, DEFAULT_MAX_BATCH_BYTES, RecordBatch, StoredBatch};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let bytes = highwater_fuzz::sealed(input);
    let Ok(batch) = RecordBatch::parse(bytes, DEFAULT_MAX_BATCH_BYTES) else {
        return;
    };
    assert!(batch.record_count() > 0);
    if batch.header().attributes.codec() != Ok(Codec::None) {
        return;
    }
    let mut stored = batch.bytes().to_vec();
    stored[..8].fill(0);
    let stored = StoredBatch::decode(Bytes::from(stored)).expect("an accepted batch is whole");
    let records = stored
        .records()
        .expect("an accepted batch has room for its records");
    let read = records
        .map(|record| record.expect("an accepted record is well formed"))
        .count();
    assert_eq!(u32::try_from(read), Ok(batch.record_count()));
});
