//! What a log or a broker gives a reader: an error or records, within bounded memory.
#![no_main]

use bytes::Bytes;
use highwater_proto::batch::{StoredBatch, batches};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let split = batches(&Bytes::copy_from_slice(input)).flatten();
    let whole: usize = split.map(|(_, batch)| batch.len()).sum();
    assert!(whole <= input.len());
    let Ok(stored) = StoredBatch::decode(highwater_fuzz::sealed(input)) else {
        return;
    };
    let Ok(records) = stored.records() else {
        return;
    };
    let mut next = stored.base_offset();
    let (mut places, data) = (records.clone(), records.data().clone());
    for record in records.flatten() {
        let placed = places.next_placed().expect("as many").expect("the same");
        assert_eq!(placed.key(&data), record.key.as_deref());
        assert_eq!(placed.value(&data), record.value.as_deref());
        assert_eq!(placed.headers(&data).count(), record.headers.len());
        assert!(next <= record.offset && record.offset <= stored.last_offset());
        next = record.offset.plus(1);
    }
});
