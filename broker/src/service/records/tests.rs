use std::collections::BTreeMap;

use highwater_proto::Offset;
use highwater_proto::pb::v1;
use proptest::prelude::*;
use prost::Message;
use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};

use super::page::LARGEST;
use super::*;

const NOW: Timestamp = Timestamp(1_700_000_000_000);
const MIB: usize = 1 << 20;

fn text(key: &str, value: &str) -> Record {
    Record {
        key_content: Some(KeyContent::KeyText(key.to_owned())),
        value_content: Some(ValueContent::ValueText(value.to_owned())),
        ..Record::default()
    }
}

fn json(kind: Kind) -> Value {
    Value { kind: Some(kind) }
}

fn json_record(value: Value) -> Record {
    Record {
        value_content: Some(ValueContent::ValueJson(value)),
        ..Record::default()
    }
}

/// The batch as it would come from the log, with its first record at `base`.
fn stored(records: &[Record], base: u64) -> Opened {
    stamped(&to_batch(records, NOW, MIB).unwrap(), base)
}

fn stamped(batch: &RecordBatch, base: u64) -> Opened {
    let prefix = highwater_proto::batch::stamped_prefix(batch.header(), Offset(base), 3);
    let bytes = [&prefix[..], &batch.bytes()[16..]].concat();
    Opened::open(bytes.into()).unwrap()
}

/// A batch of records with values of so many bytes.
fn of_sizes(sizes: &[usize], codec: Codec) -> Opened {
    let mut builder = BatchBuilder::new();
    for size in sizes {
        builder.push(NOW, None, Some(&vec![0xff; *size]), &[]);
    }
    let bytes = builder.build(codec, None).unwrap();
    stamped(&RecordBatch::parse(bytes, 3 * MIB).unwrap(), 0)
}

fn read(mut batch: Opened, from: u64) -> Vec<Record> {
    let mut page = Page::new(Offset(from), MIB);
    page.add(&mut batch).unwrap();
    page.into_records()
}

fn offsets(records: &[Record]) -> Vec<i64> {
    records.iter().map(|record| record.offset).collect()
}

#[test]
fn text_bytes_and_nothing_come_back_as_they_went_in() {
    let raw = Bytes::from_static(&[0xff, 0x00]);
    let header = |name: &str, content| Header {
        name: name.to_owned(),
        content,
    };
    let records = [
        Record {
            timestamp: 17,
            headers: vec![
                header("a", Some(Content::ValueText("x".to_owned()))),
                header("a", Some(Content::Value(raw.clone()))),
                header("none", None),
            ],
            ..text("k", "grüße")
        },
        Record {
            key_content: Some(KeyContent::Key(raw.clone())),
            value_content: Some(ValueContent::Value(raw)),
            ..Record::default()
        },
        Record::default(),
        text("", ""),
    ];
    let came_back = read(stored(&records, 40), 40);
    for (position, (sent, got)) in records.iter().zip(&came_back).enumerate() {
        let expected = Record {
            offset: 40 + position as i64,
            timestamp: if sent.timestamp == 0 { NOW.0 } else { 17 },
            ..sent.clone()
        };
        assert_eq!(*got, expected);
    }
    assert_eq!(came_back.len(), records.len());
}

#[test]
fn bytes_that_are_utf8_come_back_as_text() {
    let record = Record {
        key_content: Some(KeyContent::Key(Bytes::from_static(b"k"))),
        value_content: Some(ValueContent::Value(Bytes::from_static(b"v"))),
        ..Record::default()
    };
    let back = read(stored(&[record], 0), 0);
    let expected = Record {
        timestamp: NOW.0,
        ..text("k", "v")
    };
    assert_eq!(back, [expected]);
}

#[test]
fn json_is_stored_compactly_with_sorted_members() {
    let fields = BTreeMap::from([
        ("z".to_owned(), json(Kind::NullValue(0))),
        ("a \"q\"".to_owned(), json(Kind::NumberValue(3.0))),
        ("m".to_owned(), json(Kind::StringValue("x\ny".to_owned()))),
    ]);
    let list = vec![
        json(Kind::BoolValue(true)),
        json(Kind::NumberValue(-1.5)),
        json(Kind::NumberValue(1e300)),
        json(Kind::NumberValue(9_007_199_254_740_992.0)),
        json(Kind::StructValue(Struct { fields })),
    ];
    let value = json(Kind::ListValue(ListValue { values: list }));
    let back = read(stored(&[json_record(value)], 0), 0);
    let expected = r#"[true,-1.5,1e+300,9007199254740992,{"a \"q\"":3,"m":"x\ny","z":null}]"#;
    let stored = ValueContent::ValueText(expected.to_owned());
    assert_eq!(back[0].value_content, Some(stored));
}

#[test]
fn a_value_that_json_has_not_is_refused_with_its_record() {
    let nan = json(Kind::NumberValue(f64::NAN));
    let nothing = json(Kind::ListValue(ListValue {
        values: vec![Value { kind: None }],
    }));
    for (value, part) in [(nan, "NaN"), (nothing, "no kind")] {
        let error = to_batch(&[text("a", "b"), json_record(value)], NOW, MIB).unwrap_err();
        assert_eq!(error.reason(), Reason::InvalidRequest);
        let message = error.to_string();
        assert!(message.starts_with("record 1: its value_json"), "{message}");
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn no_records_and_too_many_bytes_are_refused() {
    assert_eq!(
        to_batch(&[], NOW, MIB).unwrap_err().reason(),
        Reason::InvalidRequest
    );
    let large = text("k", &"v".repeat(MIB));
    let error = to_batch(&[large], NOW, MIB).unwrap_err();
    assert_eq!(error.reason(), Reason::BatchTooLarge);
}

#[test]
fn a_page_begins_exactly_at_its_offset_and_goes_on_over_batches() {
    let three = [text("a", "1"), text("b", "2"), text("c", "3")];
    let mut page = Page::new(Offset(11), MIB);
    assert!(page.add(&mut stored(&three, 10)).unwrap());
    assert!(page.add(&mut stored(&three, 13)).unwrap());
    assert_eq!(page.next_offset(), Offset(16));
    assert_eq!(offsets(&page.into_records()), [11, 12, 13, 14, 15]);
}

#[test]
fn a_full_page_ends_within_a_batch_and_the_next_one_begins_there() {
    let many: Vec<_> = (0..1000).map(|n| text("k", &n.to_string())).collect();
    let mut batch = stored(&many, 0);
    let mut from = Offset(0);
    let mut seen = Vec::new();
    while from < Offset(1000) {
        let mut page = Page::new(from, 10_000);
        page.add(&mut batch).unwrap();
        assert!(page.next_offset() > from);
        from = page.next_offset();
        let records = page.into_records();
        let encoded: usize = records.iter().map(|record| record.encoded_len() + 5).sum();
        assert!(encoded <= 10_000);
        seen.extend(offsets(&records));
    }
    assert_eq!(seen, (0..1000).collect::<Vec<_>>());
}

#[test]
fn a_record_larger_than_the_page_still_comes_alone() {
    let mut batch = stored(&[text("a", &"v".repeat(5000)), text("b", "2")], 0);
    let mut page = Page::new(Offset(0), 100);
    assert!(!page.add(&mut batch).unwrap());
    assert_eq!(page.next_offset(), Offset(1));
    assert_eq!(page.into_records().len(), 1);
}

#[test]
fn a_batch_goes_on_where_the_page_before_ended() {
    let many: Vec<_> = (0..1000).map(|n| text("k", &n.to_string())).collect();
    let mut batch = stored(&many, 0);
    let mut page = Page::new(Offset(0), 10_000);
    assert!(!page.add(&mut batch).unwrap());
    let next = page.next_offset();
    // A page that begins before does not get what was read.
    let mut page = Page::new(Offset(0), MIB);
    page.add(&mut batch).unwrap();
    assert_eq!(page.into_records()[0].offset, next.to_i64());
}

#[test]
fn a_record_beyond_what_an_answer_carries_is_an_error_and_the_others_are_read() {
    for (size, fits) in [(LARGEST - 1000, true), (LARGEST, false), (31 * MIB, false)] {
        let mut batch = of_sizes(&[1, size, 2], Codec::Zstd);
        let mut page = Page::new(Offset(0), MIB);
        assert!(!page.add(&mut batch).unwrap());
        assert_eq!(offsets(&page.into_records()), [0]);
        let mut page = Page::new(Offset(1), MIB);
        match page.add(&mut batch) {
            Ok(more) => {
                assert!(fits && !more);
                let records = page.into_records();
                assert_eq!(offsets(&records), [1]);
                assert!(records[0].encoded_len() < LARGEST);
            }
            Err(Unreadable::Record { offset, bytes }) => {
                assert!(!fits && bytes > LARGEST);
                assert_eq!(offset, Offset(1));
            }
            Err(other) => panic!("{other}"),
        }
        let mut page = Page::new(Offset(2), MIB);
        page.add(&mut of_sizes(&[1, size, 2], Codec::Zstd)).unwrap();
        assert_eq!(offsets(&page.into_records()), [2]);
    }
}

#[test]
fn the_record_of_a_largest_batch_comes_alone_in_less_than_a_message() {
    let mut batch = of_sizes(&[3 * MIB - 200], Codec::None);
    assert_eq!(batch.memory(), 0);
    let mut page = Page::new(Offset(0), 1);
    page.add(&mut batch).unwrap();
    let answer = v1::FetchResponse {
        records: page.into_records(),
        ..v1::FetchResponse::default()
    };
    assert_eq!(answer.records.len(), 1);
    assert!(answer.encoded_len() < 4 * MIB - 1000);
}

fn any_record() -> impl Strategy<Value = Record> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from);
    let key = prop::option::of(prop_oneof![
        bytes().prop_map(KeyContent::Key),
        ".{0,8}".prop_map(KeyContent::KeyText),
    ]);
    let value = prop::option::of(prop_oneof![
        bytes().prop_map(ValueContent::Value),
        ".{0,8}".prop_map(ValueContent::ValueText),
    ]);
    (0_i64..1 << 40, key, value).prop_map(|(timestamp, key_content, value_content)| Record {
        timestamp,
        key_content,
        value_content,
        ..Record::default()
    })
}

proptest! {
    #[test]
    fn keys_values_and_times_survive_the_batch(
        records in prop::collection::vec(any_record(), 1..30), base in 0_u64..1 << 40,
    ) {
        let back = read(stored(&records, base), base);
        prop_assert_eq!(back.len(), records.len());
        for (position, (sent, got)) in records.iter().zip(&back).enumerate() {
            prop_assert_eq!(got.offset, (base + position as u64) as i64);
            prop_assert_eq!(key_bytes(sent), key_bytes(got));
            prop_assert_eq!(value_bytes(sent), value_bytes(got));
            let expected = if sent.timestamp == 0 { NOW.0 } else { sent.timestamp };
            prop_assert_eq!(got.timestamp, expected);
        }
    }
}
