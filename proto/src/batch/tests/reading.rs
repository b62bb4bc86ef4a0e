//! What a consumer meets in batches that no producer of ours made.

use super::*;

fn first_error(batch: Bytes) -> BatchError {
    let stored = StoredBatch::decode(batch).unwrap();
    let records = stored
        .records()
        .and_then(|records| records.collect::<Result<Vec<_>, _>>());
    records.unwrap_err()
}

fn header_of(batch: &Bytes) -> BatchHeader {
    BatchHeader::decode(batch).unwrap()
}

#[test]
fn values_are_slices_of_the_batch() {
    let bytes = small(Codec::None);
    let records = StoredBatch::decode(bytes.clone())
        .unwrap()
        .records()
        .unwrap();
    let value = records.map(Result::unwrap).next().unwrap().value.unwrap();
    assert!(bytes.as_ptr_range().contains(&value.as_ptr()));
}

#[test]
fn views_are_the_records_not_yet_taken() {
    for codec in Codec::ALL {
        let mut records = StoredBatch::decode(small(codec))
            .unwrap()
            .records()
            .unwrap();
        records.next().unwrap().unwrap();
        let views: Vec<_> = records.views().map(Result::unwrap).collect();
        let headers: Vec<_> = views.iter().flat_map(|view| view.headers.clone()).collect();
        assert_eq!(headers, [(&b"name"[..], Some(&b"x"[..])), (b"none", None)]);
        let seen: Vec<_> = views
            .iter()
            .map(|view| (view.offset, view.timestamp, view.key, view.value))
            .collect();
        let owned: Vec<_> = records.clone().map(Result::unwrap).collect();
        let same = owned
            .iter()
            .map(|r| (r.offset, r.timestamp, r.key.as_deref(), r.value.as_deref()));
        assert_eq!(seen, same.collect::<Vec<_>>());
        assert_eq!(seen.len(), 2);
        let owned: Vec<_> = owned.into_iter().map(Ok).collect();
        assert_eq!(placed(records), owned);
    }
}

#[test]
fn a_placed_record_finds_no_more_than_there_is_in_other_bytes() {
    let mut records = StoredBatch::decode(small(Codec::None))
        .unwrap()
        .records()
        .unwrap();
    let data = records.data().clone();
    while let Some(record) = records.next_placed() {
        let record = record.unwrap();
        for len in 0..data.len() {
            let cut = data.slice(..len);
            let whole = [record.key(&data), record.value(&data)];
            for (part, whole) in [record.key(&cut), record.value(&cut)].iter().zip(whole) {
                assert!(part.is_none() || *part == whole);
            }
            assert!(record.headers(&cut).count() <= record.headers(&data).count());
        }
    }
}

#[test]
fn append_time_batches_give_every_record_the_batch_time() {
    let batch = small(Codec::Zstd);
    let header = header_of(&batch);
    let attributes = Attributes(header.attributes.0 | 8);
    let stored = StoredBatch::decode(sealed(
        BatchHeader {
            attributes,
            ..header
        },
        &batch[HEADER_LEN..],
    ));
    let times: Vec<_> = stored
        .unwrap()
        .records()
        .unwrap()
        .map(|r| r.unwrap().timestamp.0)
        .collect();
    assert_eq!(times, [1010, 1010, 1010]);
}

#[test]
fn compacted_batches_may_have_gaps_but_offsets_only_grow() {
    let (first, third) = ([12, 0, 0, 0, 1, 1, 0], [12, 0, 0, 4, 1, 1, 0]);
    let header = BatchHeader {
        record_count: 2,
        ..header_of(&small(Codec::None))
    };
    let gap = StoredBatch::decode(sealed(header, &[first, third].concat())).unwrap();
    let offsets: Vec<_> = gap
        .records()
        .unwrap()
        .map(|record| record.unwrap().offset.0)
        .collect();
    assert_eq!((offsets, gap.next_offset()), (vec![0, 2], Offset(3)));

    let error = first_error(sealed(header, &[third, third].concat())).to_string();
    assert_eq!(error, "record 1: the offsetDelta is 2, expected at least 3");
    let beyond = BatchHeader {
        last_offset_delta: 1,
        ..header
    };
    let error = first_error(sealed(beyond, &[first, third].concat())).to_string();
    assert_eq!(error, "record 1: the offsetDelta is 2, expected at most 1");
}

#[test]
fn a_walk_ends_after_its_first_error() {
    let batch = small(Codec::None);
    let header = BatchHeader {
        record_count: 2,
        ..header_of(&batch)
    };
    let stored = StoredBatch::decode(sealed(header, &batch[HEADER_LEN..])).unwrap();
    let mut records = stored.records().unwrap();
    assert!(records.by_ref().take(2).all(|record| record.is_ok()));
    assert_eq!(records.next(), Some(Err(BatchError::LeftOver { found: 7 })));
    assert_eq!(records.next(), None);

    let stored = StoredBatch::decode(sealed(
        header_of(&batch),
        &[
            12, 0, 0, 0, 1, 1, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ],
    ))
    .unwrap();
    let mut records = stored.records().unwrap();
    assert!(records.next().unwrap().is_err());
    assert_eq!(records.next(), None);
}

#[test]
fn offsets_outside_the_number_space_are_errors() {
    let batch = small(Codec::None);
    let decode = |change: fn(&mut BatchHeader)| {
        let mut header = header_of(&batch);
        change(&mut header);
        StoredBatch::decode(sealed(header, &batch[HEADER_LEN..])).map(|stored| stored.next_offset())
    };
    assert_eq!(
        decode(|header| header.base_offset = i64::MAX - 3),
        Ok(Offset(i64::MAX.unsigned_abs()))
    );
    let message = decode(|header| header.base_offset = i64::MAX - 2)
        .unwrap_err()
        .to_string();
    assert_eq!(
        message,
        format!(
            "the baseOffset is {}, expected at most {}",
            i64::MAX - 2,
            i64::MAX - 3
        )
    );
    let message = decode(|header| header.base_offset = -1)
        .unwrap_err()
        .to_string();
    assert_eq!(message, "the baseOffset is -1, expected at least 0");
    let message = decode(|header| header.last_offset_delta = -1)
        .unwrap_err()
        .to_string();
    assert_eq!(message, "the lastOffsetDelta is -1, expected at least 0");
}

#[test]
fn counts_that_the_bytes_cannot_hold_are_errors() {
    for codec in Codec::ALL {
        let batch = small(codec);
        let header = BatchHeader {
            record_count: 100,
            last_offset_delta: 99,
            ..header_of(&batch)
        };
        let message = first_error(sealed(header, &batch[HEADER_LEN..])).to_string();
        assert_eq!(message, "the recordsCount is 100, expected at most 5");
        let header = BatchHeader {
            record_count: -1,
            ..header
        };
        let message = first_error(sealed(header, &batch[HEADER_LEN..])).to_string();
        assert_eq!(message, "the recordsCount is -1, expected at least 0");
    }
}

#[test]
fn more_headers_than_allowed_are_an_error_when_built_and_when_read() {
    let most = vec![("", None); MAX_RECORD_HEADERS];
    let mut builder = BatchBuilder::new();
    builder.push(Timestamp(0), None, None, &most);
    let batch = builder.build(Codec::None, None).unwrap();
    let record = StoredBatch::decode(batch)
        .unwrap()
        .records()
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    assert_eq!(record.headers.len(), MAX_RECORD_HEADERS);

    let mut builder = BatchBuilder::new();
    builder.push(
        Timestamp(0),
        None,
        None,
        &vec![("", None); MAX_RECORD_HEADERS + 1],
    );
    assert!(builder.is_empty());
    let message = builder.build(Codec::None, None).unwrap_err().to_string();
    assert_eq!(
        message,
        "record 0: the header count is 65537, expected at most 65536"
    );
}

#[test]
fn batches_that_cannot_be_sent_are_not_built() {
    assert_eq!(
        BatchBuilder::new().build(Codec::None, None),
        Err(BatchError::Empty)
    );
    let mut builder = BatchBuilder::with_capacity(1 << 10);
    builder.push(Timestamp(0), None, Some(&vec![7; MAX_BATCH_BYTES]), &[]);
    assert!(builder.estimated_len() > MAX_BATCH_BYTES);
    let refused = builder.build(Codec::None, None).unwrap_err();
    assert!(
        matches!(
            refused,
            BatchError::TooLarge {
                limit: MAX_BATCH_BYTES,
                ..
            }
        ),
        "{refused}"
    );
    for (first, second, expected) in [
        (-2, i64::MAX, format!("expected at most {}", i64::MAX - 2)),
        (1, i64::MIN, format!("expected at least {}", i64::MIN + 1)),
    ] {
        let mut builder = BatchBuilder::new();
        builder.push(Timestamp(first), None, None, &[]);
        builder.push(Timestamp(second), None, None, &[]);
        let message = builder.build(Codec::None, None).unwrap_err().to_string();
        assert_eq!(
            message,
            format!("record 1: the timestamp is {second}, {expected}")
        );
    }
}

#[test]
fn stamps_that_the_header_cannot_hold_are_errors() {
    let refused = |stamp| {
        restamped(small(Codec::None), stamp)
            .unwrap_err()
            .to_string()
    };
    let epoch = refused(ProducerStamp {
        epoch: ProducerEpoch(1 << 15),
        ..STAMP
    });
    assert_eq!(epoch, "the producerEpoch is 32768, expected at most 32767");
    let sequence = refused(ProducerStamp {
        base_sequence: Sequence(-1),
        ..STAMP
    });
    assert_eq!(sequence, "the baseSequence is -1, expected at least 0");
    assert!(
        refused(ProducerStamp {
            id: ProducerId(u64::MAX),
            ..STAMP
        })
        .starts_with("the producerId")
    );
}

#[test]
fn restamping_copies_only_what_is_shared() {
    let batch = small(Codec::None);
    let place = batch.as_ptr();
    let again = restamped(batch, STAMP).unwrap();
    assert_eq!((again.as_ptr(), &again), (place, &small(Codec::None)));
    let kept = again.clone();
    assert_ne!(restamped(again, STAMP).unwrap().as_ptr(), kept.as_ptr());
}
