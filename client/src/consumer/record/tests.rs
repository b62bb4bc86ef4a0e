use std::task::Poll;

use bytes::BytesMut;
use highwater_proto::batch::{BatchBuilder, BatchHeader, Codec, StoredBatch, stamped_prefix};

use super::*;
use crate::consumer::ConsumerBatch;
use crate::error::Result;

type Part<'a> = Option<&'a [u8]>;
type Sent<'a> = (Part<'a>, Part<'a>, &'a [(&'a str, Part<'a>)]);

const BASE: Offset = Offset(100);

/// Records with everything that a record may have or lack, at offsets 100, 101, ...
const RECORDS: [Sent<'_>; 9] = [
    (Some(b"key"), Some(b"value"), &[]),
    (None, Some(b""), &[("h", None)]),
    (Some(b""), None, &[("h", Some(b"1")), ("h", Some(b"2"))]),
    (None, None, &[]),
    (Some(b""), Some(b""), &[("", Some(b"")), ("\u{e9}", None)]),
    (None, Some(b"value"), &[]),
    (Some(b"key"), None, &[]),
    (Some(b"key"), Some(b"value"), &[("h", None)]),
    (Some(b"k"), Some(&[b'v'; 300]), &[("h", Some(&[b'x'; 200]))]),
];

fn built(codec: Codec) -> Bytes {
    let mut builder = BatchBuilder::new();
    for (time, (key, value, headers)) in (1000..).zip(RECORDS) {
        builder.push(Timestamp(time), key, value, headers);
    }
    let bytes = builder.build(codec, None).unwrap();
    let header = BatchHeader::decode(&bytes).unwrap();
    let mut stamped = BytesMut::from(&bytes[..]);
    stamped[..16].copy_from_slice(&stamped_prefix(&header, BASE, 1));
    stamped.freeze()
}

fn received(bytes: Bytes) -> ConsumerBatch {
    let batch = StoredBatch::decode(bytes).unwrap();
    ConsumerBatch {
        topic: Arc::from("t"),
        partition: PartitionIndex(3),
        append_time: Timestamp(77),
        high_watermark: Offset(1000),
        from: BASE,
        to: batch.next_offset(),
        batch,
    }
}

fn records(batch: &ConsumerBatch) -> Vec<ConsumerRecord> {
    batch.records().unwrap().map(Result::unwrap).collect()
}

#[test]
fn a_record_tells_what_was_sent_and_where_it_is() {
    for codec in Codec::ALL {
        let read = records(&received(built(codec)));
        assert_eq!(read.len(), RECORDS.len());
        for ((at, record), (key, value, headers)) in (0..).zip(&read).zip(RECORDS) {
            assert_eq!(&**record.topic(), "t");
            assert_eq!(record.partition(), PartitionIndex(3));
            assert_eq!(record.offset(), BASE.plus(at));
            assert_eq!(record.timestamp(), Timestamp(1000 + at.cast_signed()));
            assert_eq!(record.append_time(), Timestamp(77));
            assert_eq!((record.key(), record.value()), (key, value));
            assert_eq!(record.key_bytes().as_deref(), key);
            assert_eq!(record.value_bytes().as_deref(), value);
            let headers = headers
                .iter()
                .map(|(name, value)| (name.as_bytes(), *value));
            assert!(record.headers().eq(headers.clone()), "{record:?}");
            assert!(record.headers().eq(headers), "the same ones each time");
        }
    }
}

#[test]
fn a_record_is_small_and_so_is_what_a_stream_moves() {
    assert!(size_of::<ConsumerRecord>() <= 64);
    assert!(size_of::<Poll<Option<Result<ConsumerRecord>>>>() <= 64);
}

#[test]
fn each_record_counts_one_reference_to_what_its_batch_shares() {
    let batch = received(built(Codec::None));
    let topics = Arc::strong_count(&batch.topic);
    let read = records(&batch);
    assert_eq!(Arc::strong_count(&read[0].origin), read.len());
    assert_eq!(Arc::strong_count(&batch.topic), topics + 1);
    let origin = Arc::downgrade(&read[0].origin);
    drop(read);
    assert_eq!(origin.strong_count(), 0);
}

#[test]
fn keys_and_values_are_slices_of_the_batch_that_outlive_their_record() {
    let bytes = built(Codec::None);
    let record = records(&received(bytes.clone())).remove(0);
    let (key, value) = (record.key_bytes().unwrap(), record.value_bytes().unwrap());
    assert_eq!(record.value().unwrap().as_ptr(), value.as_ptr());
    assert_eq!(record.key().unwrap().as_ptr(), key.as_ptr());
    for part in [&key, &value] {
        assert!(bytes.as_ptr_range().contains(&part.as_ptr()));
    }
    drop(bytes);
    drop(record);
    assert_eq!((&key[..], &value[..]), (&b"key"[..], &b"value"[..]));

    let record = records(&received(built(Codec::Zstd))).remove(0);
    let value = record.value_bytes().unwrap();
    assert_eq!(record.value().unwrap().as_ptr(), value.as_ptr());
}

#[test]
fn records_are_equal_if_all_that_they_tell_is() {
    let batch = received(built(Codec::None));
    let read = records(&batch);
    assert_eq!(read, read.clone());
    assert_eq!(read, records(&received(built(Codec::Gzip))));
    let changed = |change: fn(&mut ConsumerBatch)| {
        let mut batch = batch.clone();
        change(&mut batch);
        records(&batch).remove(0)
    };
    assert_eq!(changed(|_| {}), read[0]);
    assert_ne!(changed(|batch| batch.topic = Arc::from("u")), read[0]);
    assert_ne!(changed(|batch| batch.partition.0 = 4), read[0]);
    assert_ne!(changed(|batch| batch.append_time.0 = 78), read[0]);

    type Change = fn(&mut ConsumerRecord, &PlacedRecord);
    let differs = |from: usize, change: Change| {
        let mut record = read[0].clone();
        change(&mut record, &read[from].placed);
        assert_ne!(record, read[0]);
    };
    differs(1, |record, other| record.placed.offset = other.offset);
    differs(1, |record, other| record.placed.timestamp = other.timestamp);
    for from in 1..RECORDS.len() {
        differs(from, |record, other| {
            let (offset, timestamp) = (record.offset(), record.timestamp());
            record.placed = *other;
            (record.placed.offset, record.placed.timestamp) = (offset, timestamp);
        });
    }
}

#[test]
fn a_record_is_shown_as_text() {
    let read = records(&received(built(Codec::Lz4)));
    assert_eq!(
        format!("{:?}", read[2]),
        "ConsumerRecord { topic: \"t\", partition: PartitionIndex(3), offset: Offset(102), \
         timestamp: Timestamp(1002), append_time: Timestamp(77), key: Some(b\"\"), value: None, \
         headers: [(b\"h\", Some(b\"1\")), (b\"h\", Some(b\"2\"))] }"
    );
}

#[test]
fn a_malformed_record_ends_its_batch_behind_those_before_it() {
    const CRC: usize = 17;
    const ATTRIBUTES: usize = 21;
    let mut bytes = BytesMut::from(&built(Codec::None)[..]);
    // The fourth of the records, without anything, has its length first: 6 bytes, and now 63.
    let fourth = bytes
        .windows(7)
        .position(|w| w[0] == 12 && w[4..] == [1, 1, 0]);
    bytes[fourth.unwrap()] = 126;
    let crc = crc_fast::crc32_iscsi(&bytes[ATTRIBUTES..]);
    bytes[CRC..ATTRIBUTES].copy_from_slice(&crc.to_be_bytes());
    let mut batch = received(bytes.freeze());
    batch.from = Offset(101);

    let mut walk = batch.records().unwrap();
    for at in [101, 102] {
        assert_eq!(
            (walk.next_offset(), walk.readable()),
            (Offset(at), Offset(at))
        );
        assert_eq!(walk.next().unwrap().unwrap().offset(), Offset(at));
    }
    let views: Vec<_> = walk.views().collect();
    assert!(matches!(&views[..], [Err(_)]), "{views:?}");
    let error = walk.next().unwrap().unwrap_err();
    let corrupt = error.corrupt_data().unwrap();
    assert_eq!((corrupt.offset, corrupt.next_offset), (103, Some(109)));
    assert_eq!(
        (walk.readable(), walk.next_offset()),
        (Offset(103), Offset(109))
    );
    assert!(walk.next().is_none());
    assert!(walk.into_rest().is_none());
}
