//! Messages that are none, too large, or of too many parts.

use bytes::Bytes;
use highwater_proto::pb::v1;
use highwater_proto::pb::v1::record::ValueContent;
use highwater_tests::batches::batch;
use highwater_tests::{Broker, Session};
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use tonic::Code;

use super::{HARM, Street};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_beyond_the_limit_ends_its_call_and_no_other() {
    let street = Street::new().await;
    let huge = Bytes::from(vec![0; 5 << 20]);
    let refused = street.api.append("t", 0, huge.clone()).await.unwrap_err();
    refused.is(Code::ResourceExhausted, "REQUEST_TOO_LARGE", &["4194304"]);

    let mut session = Session::open(&street.api).await;
    let mut values = Vec::new();
    for number in 0..50 {
        values.push(number.to_string());
        session.send("t", 0, batch([values.last().unwrap()]));
    }
    session.send("t", 0, huge);
    let (answers, ended) = session.ended().await;
    let ended = ended.unwrap_err();
    ended.is(Code::ResourceExhausted, "REQUEST_TOO_LARGE", &["4194304"]);
    let offsets: Vec<i64> = answers
        .values()
        .map(|a| a.as_ref().unwrap().base_offset)
        .collect();
    let expected: Vec<i64> = (0..50).collect();
    assert_eq!(offsets, expected, "what came before it is answered");
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    street.ends_well(&values).await;
}

/// A field of a message that holds bytes.
fn field(tag: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(content.len() + 8);
    encode_key(tag, WireType::LengthDelimited, &mut bytes);
    encode_varint(content.len() as u64, &mut bytes);
    bytes.extend_from_slice(content);
    bytes
}

/// A request to append a JSON value of lists in lists, so many deep.
fn nested(depth: usize) -> Bytes {
    let mut value = Vec::new();
    for _ in 0..depth {
        let list = field(1, &value);
        value = field(6, &list);
    }
    let record = field(7, &value);
    [field(1, b"t"), field(4, &record)].concat().into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_are_none_are_refused() {
    let street = Street::new().await;
    for bytes in [
        // A length beyond the end, an endless number, a text that is none, a wrong wire type.
        Bytes::from_static(&[0x0a, 0xff, 0x01]),
        Bytes::from_static(&[0xff; 64]),
        Bytes::from_static(&[0x0a, 0x01, 0xff]),
        Bytes::from_static(&[0x08, 0x01]),
        nested(10_000),
    ] {
        let methods = ["Produce", "Fetch", "ListOffsets", "Subscribe"];
        for method in methods.map(|name| format!("highwater.v1.LogService/{name}")) {
            let refused = street.api.call(&method, bytes.clone()).await.unwrap_err();
            refused.is(
                Code::InvalidArgument,
                "INVALID_REQUEST",
                &["cannot be taken"],
            );
        }
    }
    let refused = street
        .api
        .call("highwater.v1.LogService/Produce", Bytes::new());
    refused
        .await
        .unwrap_err()
        .is(Code::InvalidArgument, "INVALID_REQUEST", &[]);
    street.ends_well(&[]).await;
}

/// What becomes of `call`, and the most memory that the broker has meanwhile.
async fn while_looked_at<T>(broker: &Broker, call: impl Future<Output = T>) -> (T, usize) {
    let mut call = std::pin::pin!(call);
    let mut most = 0;
    loop {
        most = most.max(broker.memory());
        tokio::select! {
            biased;
            done = &mut call => return (done, most),
            () = tokio::task::yield_now() => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn millions_of_little_things_are_refused_and_cost_little_memory() {
    const MANY: usize = 2_000_000;
    let mut street = Street::new().await;
    let topic = field(1, b"nobody");
    let many = |tag: u8| [tag, 0].repeat(MANY);
    let json = field(7, &field(6, &many(0x0a)));
    let before = street.broker.memory();
    for (method, content) in [
        ("LogService/Produce", many(0x22)),
        ("LogService/Produce", field(4, &many(0x42))),
        ("LogService/Produce", field(4, &json)),
        ("TopicService/CreateTopic", many(0x22)),
        ("TopicService/AlterTopic", many(0x12)),
        ("TopicService/AlterTopic", many(0x1a)),
        ("ClusterService/GetMetadata", many(0x0a)),
        ("ClusterService/WatchMetadata", many(0x0a)),
    ] {
        let method = format!("highwater.v1.{method}");
        let request = Bytes::from([&topic[..], &content].concat());
        let call = street.api.call(&method, request);
        let (answer, most) = while_looked_at(&street.broker, call).await;
        let grown = most.saturating_sub(before);
        assert!(grown < HARM, "{method}: {grown} bytes more");
        let parts = &["values", "33554432"];
        let refused = answer.unwrap_err();
        refused.is(Code::ResourceExhausted, "REQUEST_TOO_LARGE", parts);
        street.neighbour.goes_on().await;
    }
    street.ends_well(&[]).await;
}

/// What fits into a batch of the default size is no attack.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_records_as_a_batch_holds_are_taken() {
    let street = Street::new().await;
    let text = |text: &str| v1::Record {
        value_content: Some(ValueContent::ValueText(text.to_owned())),
        ..v1::Record::default()
    };
    let fields = [("a", Kind::NumberValue(1.0)), ("b", Kind::BoolValue(true))];
    let fields = fields.map(|(name, kind)| (name.to_owned(), Value { kind: Some(kind) }));
    let object = Kind::StructValue(Struct {
        fields: fields.into(),
    });
    let json = v1::Record {
        value_content: Some(ValueContent::ValueJson(Value { kind: Some(object) })),
        ..v1::Record::default()
    };
    let mut end = 0;
    for (record, count) in [(text("x"), 90_000), (json, 30_000)] {
        let request = v1::ProduceRequest {
            topic: "t".to_owned(),
            records: vec![record; count],
            ..v1::ProduceRequest::default()
        };
        let taken = street.api.produce(request).await.unwrap();
        end += i64::try_from(count).unwrap();
        assert_eq!(taken.last_offset, end - 1);
    }
    street.neighbour.leaves().await;
}
