//! What the broker refuses, and what it says.

use super::*;

/// The refusal of the small batch with its header changed and everything else right.
fn refusal(codec: Codec, change: impl FnOnce(&mut BatchHeader)) -> String {
    let batch = small(codec);
    let mut header = BatchHeader::decode(&batch).unwrap();
    change(&mut header);
    let changed = sealed(header, &batch[HEADER_LEN..]);
    RecordBatch::parse(changed, DEFAULT_MAX_BATCH_BYTES)
        .unwrap_err()
        .to_string()
}

/// The refusal of an uncompressed batch of one record with these bytes.
fn record_refusal(record: &[u8]) -> String {
    let mut header = BatchHeader::decode(&small(Codec::None)).unwrap();
    (header.record_count, header.last_offset_delta) = (1, 0);
    header.max_timestamp = header.base_timestamp;
    let batch = sealed(header, record);
    RecordBatch::parse(batch, DEFAULT_MAX_BATCH_BYTES)
        .unwrap_err()
        .to_string()
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    let batch = small(Codec::None);
    let len = batch.len();
    let parse = |bytes: Bytes, most| RecordBatch::parse(bytes, most).map(|batch| batch.len());
    assert_eq!(parse(batch.clone(), len), Ok(len));
    let too_large = BatchError::TooLarge {
        found: len,
        limit: len - 1,
    };
    assert_eq!(too_large.reason(), crate::Reason::BatchTooLarge);
    assert_eq!(parse(batch.clone(), len - 1), Err(too_large));
    let cut = batch.slice(..len - 1);
    assert_eq!(
        parse(cut, len),
        Err(BatchError::Short {
            found: len - 1,
            expected: len
        })
    );
    let header_cut = batch.slice(..60);
    assert_eq!(
        parse(header_cut, len),
        Err(BatchError::Short {
            found: 60,
            expected: 61
        })
    );
    let longer = Bytes::from([&batch[..], b"!"].concat());
    let trailing = BatchError::Trailing {
        found: len + 1,
        expected: len,
    };
    assert_eq!(parse(longer, len + 1), Err(trailing));
    let mut lying = batch.to_vec();
    lying[8..12].copy_from_slice(&48_i32.to_be_bytes());
    let message = parse(Bytes::from(lying), len).unwrap_err().to_string();
    assert_eq!(message, "the batchLength is 48, expected at least 49");
}

#[test]
fn another_magic_is_refused() {
    let mut bytes = small(Codec::None).to_vec();
    bytes[16] = 1;
    let message = RecordBatch::parse(Bytes::from(bytes), 1 << 20)
        .unwrap_err()
        .to_string();
    assert_eq!(message, "the magic is 1, expected 2");
}

#[test]
fn a_wrong_crc_is_refused_with_both_values() {
    let mut bytes = small(Codec::None).to_vec();
    bytes[17..21].copy_from_slice(&7_u32.to_be_bytes());
    let expected = crc32c(&bytes[CRC_END..]);
    let refused = RecordBatch::parse(Bytes::from(bytes), 1 << 20).unwrap_err();
    assert_eq!(refused, BatchError::Crc { found: 7, expected });
    assert_eq!(refused.reason(), crate::Reason::BadBatch);
}

#[test]
fn transactional_control_append_time_and_unknown_bits_are_refused() {
    for bit in 3..16 {
        let message = refusal(Codec::None, |header| {
            header.attributes = Attributes(1 << bit)
        });
        assert!(message.starts_with("the attributes are 0x"), "{message}");
    }
    for number in 5..8 {
        let message = refusal(Codec::None, |header| header.attributes = Attributes(number));
        assert_eq!(
            message,
            format!("the codec is {number}, expected at most 4")
        );
    }
}

#[test]
fn the_record_count_must_be_the_offsets_taken() {
    for codec in Codec::ALL {
        let message = refusal(codec, |header| header.record_count = 4);
        assert_eq!(message, "the recordsCount is 4, expected 3");
        let message = refusal(codec, |header| {
            (header.record_count, header.last_offset_delta) = (0, -1);
        });
        assert_eq!(message, "the lastOffsetDelta is -1, expected at least 0");
        let message = refusal(codec, |header| {
            (header.record_count, header.last_offset_delta) = (i32::MIN, i32::MAX);
        });
        assert_eq!(
            message,
            "the recordsCount is -2147483648, expected 2147483648"
        );
        let message = refusal(codec, |header| {
            (header.record_count, header.last_offset_delta) = (i32::MAX, i32::MAX - 1);
        });
        let most = if codec == Codec::None {
            5
        } else {
            MAX_RECORDS_BYTES / 7
        };
        assert_eq!(
            message,
            format!("the recordsCount is 2147483647, expected at most {most}")
        );
    }
}

#[test]
fn producer_fields_come_together_or_not_at_all() {
    let refused = |id, epoch, sequence| {
        refusal(Codec::Zstd, |header| {
            header.producer_id = id;
            header.producer_epoch = epoch;
            header.base_sequence = sequence;
        })
    };
    assert_eq!(
        refused(-2, -1, -1),
        "the producerId is -2, expected at least -1"
    );
    assert_eq!(refused(-1, 0, -1), "the producerEpoch is 0, expected -1");
    assert_eq!(refused(-1, -1, 0), "the baseSequence is 0, expected -1");
    assert_eq!(
        refused(0, -1, 0),
        "the producerEpoch is -1, expected at least 0"
    );
    assert_eq!(
        refused(0, 0, -1),
        "the baseSequence is -1, expected at least 0"
    );
}

#[test]
fn the_greatest_time_must_be_that_of_a_record() {
    let message = refusal(Codec::None, |header| header.max_timestamp = 1011);
    assert_eq!(message, "the maxTimestamp is 1011, expected 1010");
    let message = refusal(Codec::Lz4, |header| header.max_timestamp = 999);
    assert_eq!(message, "the maxTimestamp is 999, expected at least 1000");
}

#[test]
fn malformed_records_are_refused_by_field() {
    let cases: [(&[u8], &str); 14] = [
        (
            &[12, 0, 0, 0, 1, 1, 0, 0],
            "1 bytes are left over after the last record, expected none",
        ),
        (
            &[14, 0, 0, 0, 1, 1, 0],
            "record 0: the length is 7, expected at most 6",
        ),
        (
            &[1, 0, 0, 0, 1, 1, 0],
            "record 0: the length is -1, expected at least 0",
        ),
        (
            &[0, 0, 0, 0, 1, 1, 0],
            "record 0: the bytes end inside the attribute byte, expected more",
        ),
        (
            &[12, 1, 0, 0, 1, 1, 0],
            "record 0: the attribute byte is 1, expected 0",
        ),
        (
            &[12, 0, 0, 2, 1, 1, 0],
            "record 0: the offsetDelta is 1, expected 0",
        ),
        (
            &[12, 0, 0, 0, 3, 1, 0],
            "record 0: the key length is -2, expected at least -1",
        ),
        (
            &[12, 0, 0, 0, 6, 1, 0],
            "record 0: the key length is 3, expected at most 2",
        ),
        (
            &[12, 0, 0, 0, 1, 8, 0],
            "record 0: the value length is 4, expected at most 1",
        ),
        (
            &[12, 0, 0, 0, 1, 1, 1],
            "record 0: the header count is -1, expected at least 0",
        ),
        (
            &[12, 0, 0, 0, 1, 1, 2],
            "record 0: the header count is 1, expected at most 0",
        ),
        (
            &[16, 0, 0, 0, 1, 1, 2, 1, 1],
            "record 0: the header name length is -1, expected at least 0",
        ),
        (
            &[16, 0, 0, 0, 1, 1, 2, 0, 2],
            "record 0: the header value length is 1, expected at most 0",
        ),
        (
            &[14, 0, 0, 0, 1, 1, 0, 9],
            "record 0: the number of bytes after the last header is 1, expected 0",
        ),
    ];
    for (record, message) in cases {
        assert_eq!(record_refusal(record), message, "{record:?}");
    }
}

#[test]
fn record_times_outside_the_number_space_are_refused() {
    let batch = small(Codec::None);
    let header = BatchHeader {
        base_timestamp: i64::MAX,
        max_timestamp: i64::MAX,
        ..BatchHeader::decode(&batch).unwrap()
    };
    let batch = sealed(header, &batch[HEADER_LEN..]);
    let message = RecordBatch::parse(batch, 1 << 20).unwrap_err().to_string();
    assert_eq!(
        message,
        "record 2: the timestampDelta is 10, expected at most 0"
    );
}
