use bytes::{Bytes, BytesMut};
use highwater_proto::Reason;
use highwater_proto::batch::{BatchBuilder, BatchHeader, Codec, stamped_prefix};

use super::*;

fn batch(base: u64, values: &[&str]) -> Bytes {
    let mut builder = BatchBuilder::new();
    for value in values {
        builder.push(Timestamp(5), None, Some(value.as_bytes()), &[]);
    }
    let bytes = builder.build(Codec::None, None).unwrap();
    let header = BatchHeader::decode(&bytes).unwrap();
    let mut stamped = BytesMut::from(&bytes[..]);
    stamped[..16].copy_from_slice(&stamped_prefix(&header, Offset(base), 1));
    stamped.freeze()
}

fn message(next: i64, batches: Vec<Bytes>) -> v1::SubscribeResponse {
    let appended = |batch| v1::AppendedBatch {
        append_time: 77,
        batch,
    };
    v1::SubscribeResponse {
        next_offset: next,
        high_watermark: 100,
        batches: batches.into_iter().map(appended).collect(),
        ..Default::default()
    }
}

fn cursor(next: u64, end: Option<u64>) -> Cursor {
    Cursor::new(
        Arc::from("t"),
        PartitionIndex(3),
        Offset(next),
        end.map(Offset),
    )
}

fn values(cursor: &mut Cursor, message: v1::SubscribeResponse) -> Result<Vec<(u64, String)>> {
    let mut values = Vec::new();
    let mut take = |batch: ConsumerBatch| {
        for record in batch.records().unwrap() {
            let record = record.unwrap();
            assert_eq!(record.append_time(), Timestamp(77));
            let value = record.value().unwrap_or_default();
            values.push((
                record.offset().0,
                String::from_utf8(value.to_vec()).unwrap(),
            ));
        }
    };
    cursor.take(message, &mut take)?;
    Ok(values)
}

fn text(pairs: &[(u64, &str)]) -> Vec<(u64, String)> {
    pairs.iter().map(|(o, v)| (*o, (*v).to_owned())).collect()
}

#[test]
fn records_below_the_wanted_offset_are_dropped_and_the_rest_comes_in_order() {
    let mut cursor = cursor(5, None);
    let batches = vec![batch(3, &["a", "b", "c"]), batch(6, &["d"])];
    let got = values(&mut cursor, message(7, batches)).unwrap();
    assert_eq!(got, text(&[(5, "c"), (6, "d")]));
    assert_eq!(cursor.next_offset(), Offset(7));
    assert_eq!(cursor.high_watermark(), Offset(100));
}

#[test]
fn the_end_offset_cuts_the_last_batch() {
    let mut cursor = cursor(0, Some(2));
    assert!(!cursor.is_at_end());
    let got = values(&mut cursor, message(3, vec![batch(0, &["a", "b", "c"])])).unwrap();
    assert_eq!(got, text(&[(0, "a"), (1, "b")]));
    assert!(cursor.is_at_end());
}

#[test]
fn a_hole_before_between_or_after_batches_is_an_error() {
    for (start, next, batches) in [
        (0, 2, vec![batch(1, &["b"])]),
        (0, 3, vec![batch(0, &["a"]), batch(2, &["c"])]),
        (0, 2, vec![batch(0, &["a"])]),
        (0, 5, vec![]),
    ] {
        let error = values(&mut cursor(start, None), message(next, batches)).unwrap_err();
        assert_eq!(error.reason(), Some(Reason::CorruptData), "{error}");
        assert!(error.message().contains("partition 3"), "{error}");
    }
}

#[test]
fn a_repetition_is_an_error_except_where_a_subscription_begins() {
    let mut cursor = cursor(0, None);
    values(&mut cursor, message(2, vec![batch(0, &["a", "b"])])).unwrap();
    let again = message(2, vec![batch(0, &["a", "b"])]);
    assert!(values(&mut cursor, again).is_err());
    cursor.restart();
    let overlap = message(3, vec![batch(0, &["a", "b"]), batch(2, &["c"])]);
    assert_eq!(values(&mut cursor, overlap).unwrap(), text(&[(2, "c")]));
}

#[test]
fn a_damaged_batch_is_an_error() {
    let mut damaged = BytesMut::from(&batch(0, &["a"])[..]);
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    let error = values(&mut cursor(0, None), message(1, vec![damaged.freeze()])).unwrap_err();
    assert_eq!(error.reason(), Some(Reason::CorruptData));
}

#[test]
fn progress_without_batches_moves_the_high_watermark_only() {
    let mut cursor = cursor(4, None);
    assert!(values(&mut cursor, message(4, vec![])).unwrap().is_empty());
    assert_eq!(cursor.next_offset(), Offset(4));
    assert_eq!(cursor.high_watermark(), Offset(100));
}

#[test]
fn a_batch_read_halfway_is_handed_on_with_its_rest() {
    let mut rest = None;
    let take = |batch: ConsumerBatch| {
        let mut records = batch.records().unwrap();
        assert_eq!(records.next().unwrap().unwrap().offset(), Offset(0));
        rest = records.into_rest();
    };
    let mut cursor = cursor(0, None);
    cursor
        .take(message(3, vec![batch(0, &["a", "b", "c"])]), take)
        .unwrap();
    let rest = rest.unwrap();
    assert_eq!((rest.first_offset(), rest.len()), (Offset(1), 2));
    let offsets: Vec<_> = rest
        .records()
        .unwrap()
        .map(|r| r.unwrap().offset().0)
        .collect();
    assert_eq!(offsets, [1, 2]);
}

#[test]
fn the_end_is_reached_anew_only_from_behind() {
    let mut cursor = cursor(0, None);
    let mut take = |next: i64, high_watermark, batches| {
        let message = v1::SubscribeResponse {
            high_watermark,
            ..message(next, batches)
        };
        cursor.take(message, |_| {}).unwrap()
    };
    let one = |at| vec![batch(at, &["x"])];
    assert!(!take(1, 2, one(0)), "one is to come");
    assert!(take(2, 2, one(1)));
    assert!(!take(2, 2, vec![]), "it was told");
    assert!(!take(3, 3, one(2)), "it never was behind");
    assert!(!take(3, 1, vec![]), "a replica that is behind says nothing");
    assert!(!take(4, 6, one(3)));
    assert!(!take(5, 6, one(4)));
    assert!(take(6, 6, one(5)));
}
