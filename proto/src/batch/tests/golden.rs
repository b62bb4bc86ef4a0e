//! Batches that another implementation made; see testdata/golden/README.md.

use serde_json::Value;

use super::*;

const RECORDS: &str = include_str!("../../../testdata/golden/records.json");

macro_rules! golden {
    ($name:literal) => {
        Bytes::from_static(include_bytes!(concat!(
            "../../../testdata/golden/",
            $name,
            ".bin"
        )))
    };
}

fn content(value: &Value) -> Option<Bytes> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(Bytes::copy_from_slice(text.as_bytes())),
        Value::Object(fields) => match fields.get("hex") {
            Some(hex) => Some(unhex(hex.as_str().unwrap())),
            None => {
                let times = fields["times"].as_u64().unwrap();
                Some(
                    fields["repeat"]
                        .as_str()
                        .unwrap()
                        .repeat(times.try_into().unwrap())
                        .into(),
                )
            }
        },
        other => panic!("{other} is no content"),
    }
}

fn unhex(text: &str) -> Bytes {
    let pairs = text
        .as_bytes()
        .chunks(2)
        .map(|pair| std::str::from_utf8(pair).unwrap());
    pairs
        .map(|pair| u8::from_str_radix(pair, 16).unwrap())
        .collect()
}

fn described() -> Vec<Record> {
    let records: Vec<Value> = serde_json::from_str(RECORDS).unwrap();
    let record = |(offset, fields): (u64, &Value)| Record {
        offset: Offset(offset),
        timestamp: Timestamp(fields["timestamp"].as_i64().unwrap()),
        key: content(&fields["key"]),
        value: content(&fields["value"]),
        headers: fields["headers"]
            .as_array()
            .unwrap()
            .iter()
            .map(header)
            .collect(),
    };
    (0..).zip(&records).map(record).collect()
}

fn header(pair: &Value) -> RecordHeader {
    RecordHeader {
        name: content(&pair[0]).unwrap(),
        value: content(&pair[1]),
    }
}

fn batches() -> [(Codec, Bytes); 7] {
    [
        (Codec::None, golden!("none")),
        (Codec::None, golden!("none-idempotent")),
        (Codec::Gzip, golden!("gzip")),
        (Codec::Snappy, golden!("snappy")),
        (Codec::Snappy, golden!("snappy-raw")),
        (Codec::Lz4, golden!("lz4")),
        (Codec::Zstd, golden!("zstd")),
    ]
}

#[test]
fn every_golden_batch_passes_the_broker_and_gives_the_described_records() {
    for (codec, bytes) in batches() {
        let batch = RecordBatch::parse(bytes, DEFAULT_MAX_BATCH_BYTES).unwrap();
        assert_eq!(batch.header().attributes.codec(), Ok(codec));
        let found: Vec<_> = stamped(&batch, 0)
            .records()
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert_eq!(found, described(), "{codec}");
    }
}

#[test]
fn our_batches_equal_the_golden_ones_in_meaning_and_uncompressed_ones_in_bytes() {
    for (codec, golden) in batches() {
        let theirs = RecordBatch::parse(golden, DEFAULT_MAX_BATCH_BYTES).unwrap();
        let built = build(&described(), codec, theirs.header().producer()).unwrap();
        let ours = RecordBatch::parse(built, DEFAULT_MAX_BATCH_BYTES).unwrap();
        if codec == Codec::None {
            assert_eq!(stamped(&ours, 9).bytes(), stamped(&theirs, 9).bytes());
        }
        let alike = BatchHeader {
            leader_epoch: theirs.header().leader_epoch,
            batch_length: theirs.header().batch_length,
            crc: theirs.header().crc,
            ..*ours.header()
        };
        assert_eq!(alike, *theirs.header());
        let found: Vec<_> = stamped(&ours, 0)
            .records()
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert_eq!(found, described(), "{codec}");
    }
}
