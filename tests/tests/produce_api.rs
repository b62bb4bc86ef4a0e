//! What is not a batch that a producer may send is refused with the field and the value, nothing
//! is written, and the session and the broker go on.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use bytes::Bytes;
use highwater_broker::testing::Broker;
use highwater_proto::pb::v1;
use highwater_proto::pb::v1::record::ValueContent;
use highwater_tests::batches::{at, batch, changed, damaged};
use highwater_tests::{Api, Session};
use tonic::Code;

/// The largest batch of the topic `t`, in bytes.
const LIMIT: usize = 4096;

async fn broker_with_topic() -> (Broker, Api) {
    let broker = Broker::start().await.unwrap();
    let api = Api::connect(&broker.address()).await;
    let limit = LIMIT.to_string();
    api.create("t", 1, &[("max.batch.bytes", &limit)]).await;
    (broker, api)
}

/// A batch that is refused, and what the refusal says.
struct Bad {
    batch: Bytes,
    reason: &'static str,
    says: Vec<String>,
}

fn bad(batch: Bytes, says: &[&str]) -> Bad {
    Bad {
        batch,
        reason: "BAD_BATCH",
        says: says.iter().map(|part| (*part).to_owned()).collect(),
    }
}

fn bad_lengths(sound: &Bytes) -> Vec<Bad> {
    let len = sound.len();
    let length = |length: usize| i32::try_from(length).unwrap().to_be_bytes();
    let after = |n: usize| format!("ends after {n}");
    let mut long = sound.to_vec();
    long.push(0);
    let twice = [&sound[..], &sound[..]].concat();
    let oversized = batch([vec![b'x'; LIMIT]]);
    let too_large = Bad {
        reason: "BATCH_TOO_LARGE",
        says: vec![oversized.len().to_string(), format!("at most {LIMIT}")],
        batch: oversized,
    };
    vec![
        bad(sound.slice(..len - 1), &[&after(len - 1), &len.to_string()]),
        bad(sound.slice(..60), &[&after(60), "61"]),
        bad(sound.slice(..1), &[&after(1), "61"]),
        bad(long.into(), &[&after(len)]),
        bad(twice.into(), &[&(2 * len).to_string(), &after(len)]),
        bad(
            damaged(sound, at::BATCH_LENGTH, length(48)),
            &["batchLength is 48", "at least 49"],
        ),
        bad(
            damaged(sound, at::BATCH_LENGTH, (-1_i32).to_be_bytes()),
            &["batchLength is -1"],
        ),
        bad(
            damaged(sound, at::BATCH_LENGTH, i32::MAX.to_be_bytes()),
            &["expected 2147483659"],
        ),
        too_large,
    ]
}

fn bad_headers(sound: &Bytes) -> Vec<Bad> {
    let count = |n: i32| changed(sound, at::RECORD_COUNT, n.to_be_bytes());
    let last = |n: i32| changed(sound, at::LAST_OFFSET_DELTA, n.to_be_bytes());
    let producer = |id: i64| changed(sound, at::PRODUCER_ID, id.to_be_bytes());
    let mut bad = vec![
        bad(
            damaged(sound, at::MAGIC, [1]),
            &["magic is 1", "expected 2"],
        ),
        bad(
            damaged(sound, at::MAGIC, [3]),
            &["magic is 3", "expected 2"],
        ),
        bad(damaged(sound, at::CRC, [0; 4]), &["crc is 0x00000000"]),
        bad(
            damaged(sound, sound.len() - 2, [b'?']),
            &["crc is", "expected"],
        ),
        bad(count(0), &["recordsCount is 0", "expected 3"]),
        bad(count(-1), &["recordsCount is -1", "expected 3"]),
        bad(count(4), &["recordsCount is 4", "expected 3"]),
        bad(last(3), &["recordsCount is 3", "expected 4"]),
        bad(last(-1), &["lastOffsetDelta is -1", "at least 0"]),
        bad(
            changed(
                &last(i32::MAX - 1),
                at::RECORD_COUNT,
                i32::MAX.to_be_bytes(),
            ),
            &["recordsCount is 2147483647", "at most"],
        ),
        bad(producer(-2), &["producerId is -2"]),
        bad(producer(7), &["producerEpoch is -1", "at least 0"]),
        bad(
            changed(sound, at::PRODUCER_EPOCH, 0_i16.to_be_bytes()),
            &["producerEpoch is 0", "expected -1"],
        ),
        bad(
            changed(sound, at::BASE_SEQUENCE, 0_i32.to_be_bytes()),
            &["baseSequence is 0", "expected -1"],
        ),
        bad(
            changed(sound, at::MAX_TIMESTAMP, 0_i64.to_be_bytes()),
            &["maxTimestamp is 0"],
        ),
        bad(changed(sound, at::RECORDS, [0x7f]), &["record 0", "length"]),
    ];
    bad.extend(bad_attributes(sound));
    bad
}

/// Log append time, transactional, control, and every bit that means nothing.
fn bad_attributes(sound: &Bytes) -> impl Iterator<Item = Bad> {
    let with = |bits: u16| changed(sound, at::ATTRIBUTES, bits.to_be_bytes());
    let bits = (3..16).map(move |bit| {
        let bits = 1_u16 << bit;
        bad(
            with(bits),
            &[&format!("attributes are {bits:#06x}"), "0x0007"],
        )
    });
    let codecs =
        (5..8_u16).map(move |codec| bad(with(codec), &[&format!("codec is {codec}"), "at most 4"]));
    bits.chain(codecs)
}

fn bad_batches() -> Vec<Bad> {
    let sound = batch(["a", "b", "c"]);
    let mut all = bad_lengths(&sound);
    all.extend(bad_headers(&sound));
    all
}

#[tokio::test]
async fn a_bad_batch_is_refused_by_field_and_value_and_nothing_is_written() {
    let (_broker, api) = broker_with_topic().await;
    for bad in bad_batches() {
        let refused = api.append("t", 0, bad.batch).await.unwrap_err();
        let says: Vec<&str> = bad.says.iter().map(String::as_str).collect();
        refused.is(Code::InvalidArgument, bad.reason, &says);
    }
    assert_eq!(api.high_watermark("t", 0).await, 0);
    let appended = api.append("t", 0, batch(["a", "b", "c"])).await.unwrap();
    assert_eq!((appended.base_offset, appended.last_offset), (0, 2));
}

#[tokio::test]
async fn a_session_goes_on_after_each_bad_batch() {
    let (_broker, api) = broker_with_topic().await;
    let mut session = Session::open(&api).await;
    let mut bad = bad_batches();
    bad.push(self::bad(Bytes::new(), &["ends after 0", "61"]));
    let mut sent = Vec::new();
    for bad in bad {
        let number = session.send("t", 0, bad.batch);
        let next = session.send("t", 0, batch([format!("after {number}")]));
        sent.push((number, next, bad.reason, bad.says));
    }
    let mut expected = Vec::new();
    for (offset, (number, next, reason, says)) in (0..).zip(sent) {
        let refused = session.answer(number).await.unwrap_err();
        let says: Vec<&str> = says.iter().map(String::as_str).collect();
        refused.is(Code::InvalidArgument, reason, &says);
        let ack = session.answer(next).await.unwrap();
        assert_eq!((ack.base_offset, ack.duplicate), (offset, false));
        expected.push(format!("after {number}"));
    }
    assert_eq!(api.values("t", 0).await, expected);
    let (rest, ended) = session.end().await;
    ended.unwrap();
    assert!(rest.is_empty(), "{rest:?}");
}

#[tokio::test]
async fn batches_for_nobody_are_refused_and_the_session_goes_on() {
    let (_broker, api) = broker_with_topic().await;
    let id = api.describe("t").await.unwrap().topic.unwrap().id;
    let mut session = Session::open(&api).await;
    let long = "n".repeat(250);
    let other = id.replace(|c: char| c.is_ascii_digit(), "a");
    for (number, (topic, topic_id, partition, reason, says)) in (1..).zip([
        ("none", "", 0, "TOPIC_NOT_FOUND", "none"),
        ("t", "", 1, "PARTITION_NOT_FOUND", "1"),
        ("t", "", -1, "PARTITION_NOT_FOUND", "-1"),
        ("", "", 0, "INVALID_TOPIC_NAME", "empty"),
        (&long, "", 0, "INVALID_TOPIC_NAME", "250"),
        ("t", "what", 0, "INVALID_REQUEST", "what"),
        ("t", &other, 0, "TOPIC_ID_MISMATCH", &id),
    ]) {
        session.send_message(v1::ProduceSessionRequest {
            number,
            topic: topic.to_owned(),
            topic_id: topic_id.to_owned(),
            partition,
            batch: batch(["x"]),
            ..v1::ProduceSessionRequest::default()
        });
        let refused = session.answer(number).await.unwrap_err();
        assert_eq!(refused.reason, reason, "{refused:?}");
        assert!(refused.message.contains(says), "{says:?} in {refused:?}");
    }
    let sound = session.send("t", 0, batch(["x"]));
    assert_eq!(session.answer(sound).await.unwrap().base_offset, 0);
}

fn record(value: ValueContent) -> v1::Record {
    v1::Record {
        value_content: Some(value),
        ..v1::Record::default()
    }
}

#[tokio::test]
async fn records_or_a_batch_with_its_partition_and_nothing_else() {
    let (_broker, api) = broker_with_topic().await;
    let records = vec![record(ValueContent::ValueText("x".to_owned()))];
    let request = |records: &[v1::Record], batch: Bytes, partition| v1::ProduceRequest {
        topic: "t".to_owned(),
        records: records.to_vec(),
        batch,
        partition,
        ..v1::ProduceRequest::default()
    };
    let sound = batch(["x"]);
    let invalid = "INVALID_REQUEST";
    let large = vec![record(ValueContent::Value(vec![0; LIMIT].into()))];
    let nan = prost_types::value::Kind::NumberValue(f64::NAN);
    let nan = vec![record(ValueContent::ValueJson(prost_types::Value {
        kind: Some(nan),
    }))];
    for (request, reason, says) in [
        (
            request(&records, sound.clone(), Some(0)),
            invalid,
            "not both",
        ),
        (request(&[], Bytes::new(), Some(0)), invalid, "no `records`"),
        (request(&[], Bytes::new(), None), invalid, "no `records`"),
        (request(&[], sound, None), invalid, "`partition`"),
        (
            request(&large, Bytes::new(), Some(0)),
            "BATCH_TOO_LARGE",
            "4096",
        ),
        (request(&nan, Bytes::new(), Some(0)), invalid, "record 0"),
    ] {
        let refused = api.produce(request).await.unwrap_err();
        refused.is(Code::InvalidArgument, reason, &[says]);
    }
    assert_eq!(api.high_watermark("t", 0).await, 0);
    let appended = api.produce(request(&records, Bytes::new(), None)).await;
    assert_eq!(appended.unwrap().base_offset, 0);
}
