//! Builder, broker check and reader against each other.

mod broker;
mod golden;
mod properties;
mod reading;

use bytes::{Bytes, BytesMut};

use super::*;
use crate::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

const STAMP: ProducerStamp = ProducerStamp {
    id: ProducerId(7),
    epoch: ProducerEpoch(3),
    base_sequence: Sequence(40),
};

fn stamped(batch: &RecordBatch, base_offset: u64) -> StoredBatch {
    let mut bytes = BytesMut::from(&batch.bytes()[..]);
    bytes[..16].copy_from_slice(&stamped_prefix(batch.header(), Offset(base_offset), 5));
    StoredBatch::decode(bytes.freeze()).unwrap()
}

fn build(
    records: &[Record],
    codec: Codec,
    producer: Option<ProducerStamp>,
) -> Result<Bytes, BatchError> {
    let mut builder = BatchBuilder::new();
    for record in records {
        let names: Vec<_> = record.headers.iter().map(RecordHeader::name_text).collect();
        let values = record.headers.iter().map(|header| header.value.as_deref());
        let headers: Vec<_> = names.iter().map(AsRef::as_ref).zip(values).collect();
        builder.push(
            record.timestamp,
            record.key.as_deref(),
            record.value.as_deref(),
            &headers,
        );
    }
    builder.build(codec, producer)
}

/// A batch with this header and these encoded records, its length and CRC right.
fn sealed(header: BatchHeader, records: &[u8]) -> Bytes {
    let mut bytes = vec![0; HEADER_LEN];
    bytes.extend_from_slice(records);
    let batch_length = i32::try_from(bytes.len() - 12).unwrap();
    stamp::seal(
        &mut bytes,
        BatchHeader {
            batch_length,
            ..header
        },
    )
    .unwrap();
    Bytes::from(bytes)
}

/// What is left of `records`, found by the places of its parts.
fn placed(mut records: Records) -> Vec<Result<Record, BatchError>> {
    let data = records.data().clone();
    let part = Bytes::copy_from_slice;
    let header = |(name, value): (_, Option<_>)| RecordHeader {
        name: part(name),
        value: value.map(part),
    };
    let record = |placed: PlacedRecord| Record {
        offset: placed.offset,
        timestamp: placed.timestamp,
        key: placed.key(&data).map(part),
        value: placed.value(&data).map(part),
        headers: placed.headers(&data).map(header).collect(),
    };
    let next = || records.next_placed().map(|next| next.map(record));
    std::iter::from_fn(next).collect()
}

fn small(codec: Codec) -> Bytes {
    let mut builder = BatchBuilder::new();
    builder.push(Timestamp(1000), Some(b"k"), Some(b"v"), &[]);
    builder.push(
        Timestamp(990),
        None,
        Some(b""),
        &[("name", Some(b"x")), ("none", None)],
    );
    builder.push(Timestamp(1010), Some(b""), None, &[]);
    builder.build(codec, Some(STAMP)).unwrap()
}

#[test]
fn what_is_built_passes_the_broker_and_is_read_back() {
    for codec in Codec::ALL {
        let batch = RecordBatch::parse(small(codec), DEFAULT_MAX_BATCH_BYTES).unwrap();
        assert_eq!(
            (batch.record_count(), batch.header().producer()),
            (3, Some(STAMP))
        );
        assert_eq!(
            (batch.header().base_timestamp, batch.header().max_timestamp),
            (1000, 1010)
        );
        let stored = stamped(&batch, 100);
        assert_eq!(stored.header().leader_epoch, 5);
        assert_eq!(
            (stored.base_offset(), stored.last_offset()),
            (Offset(100), Offset(102))
        );
        assert_eq!(stored.next_offset(), Offset(103));
        let records: Vec<_> = stored.records().unwrap().map(Result::unwrap).collect();
        let heads: Vec<_> = records
            .iter()
            .map(|r| (r.offset.0, r.timestamp.0))
            .collect();
        assert_eq!(heads, [(100, 1000), (101, 990), (102, 1010)]);
        assert_eq!(records[0].key.as_deref(), Some(&b"k"[..]));
        assert_eq!(
            (records[1].key.clone(), records[1].value.as_deref()),
            (None, Some(&b""[..]))
        );
        assert_eq!(records[1].headers[0].name_text(), "name");
        assert_eq!(records[1].headers[0].value.as_deref(), Some(&b"x"[..]));
        assert_eq!(records[1].headers[1].value, None);
        assert_eq!(
            (records[2].key.as_deref(), records[2].value.clone()),
            (Some(&b""[..]), None)
        );
    }
}
