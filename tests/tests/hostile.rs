//! Clients that do harm, or try to, while one that behaves is served as if it were alone.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use bytes::Bytes;
use highwater_proto::pb::v1;
use highwater_proto::pb::v1::record::ValueContent;
use highwater_tests::api::soon;
use highwater_tests::batches::batch;
use highwater_tests::{Api, Broker, Neighbour, Session, program};
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tonic::Code;

/// How much of its own memory a broker may need for a client that does harm.
const HARM: usize = 32 << 20;

/// A broker with the topic `t`, a client of it, and one that must not notice what that does.
struct Street {
    broker: Broker,
    api: Api,
    neighbour: Neighbour,
    _dir: tempfile::TempDir,
}

impl Street {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(&program!(), dir.path(), &[]);
        let api = Api::connect(broker.listen()).await;
        api.create("t", 1, &[]).await;
        let neighbour = Neighbour::begin(broker.listen()).await;
        Self {
            broker,
            api,
            neighbour,
            _dir: dir,
        }
    }

    /// Fails if the neighbour noticed anything, or if `t` does not have these values and takes
    /// more.
    async fn ends_well(self, values: &[&str]) {
        assert_eq!(self.api.values("t", 0).await, values);
        let next = self.api.append("t", 0, batch(["next"])).await.unwrap();
        assert_eq!(next.base_offset, i64::try_from(values.len()).unwrap());
        self.neighbour.leaves().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscribers_that_never_read_cost_little_memory() {
    const BATCHES: u64 = 200;
    let street = Street::new().await;
    let mut silent = Vec::new();
    for batches in [true, false, true, false] {
        let api = Api::connect(street.broker.listen()).await;
        let request = v1::SubscribeRequest {
            topic: "t".to_owned(),
            batches,
            max_bytes: i32::MAX,
            ..v1::SubscribeRequest::default()
        };
        silent.push(api.subscribe(request).await.unwrap());
    }
    let before = street.broker.memory();
    let large = batch([vec![b'x'; 1_000_000]]);
    let mut session = Session::open(&street.api).await;
    for _ in 0..BATCHES {
        let number = session.send("t", 0, large.clone());
        session.answer(number).await.unwrap();
    }
    let grown = street.broker.memory().saturating_sub(before);

    assert!(grown < HARM, "{grown} bytes more");
    drop(silent);
    street.neighbour.leaves().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_never_reads_its_answers_costs_little_memory() {
    const MESSAGES: u64 = 100_000;
    let street = Street::new().await;
    let before = street.broker.memory();
    let mut session = Session::open(&street.api).await;
    for number in 1..=MESSAGES {
        session.send_message(v1::ProduceSessionRequest {
            number,
            topic: "x".repeat(200),
            ..v1::ProduceSessionRequest::default()
        });
    }
    let mut neighbour = street.neighbour;
    for _ in 0..20 {
        neighbour.goes_on().await;
        let grown = street.broker.memory().saturating_sub(before);

        assert!(grown < HARM, "{grown} bytes more");
    }
    drop(session);
    neighbour.leaves().await;
}

/// An address that passes the first `bytes` of one connection on to the broker and then cuts it.
async fn cut_after(bytes: u64, broker: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let broker = broker.to_owned();
    tokio::spawn(async move {
        let (client, _) = listener.accept().await.unwrap();
        let server = TcpStream::connect(broker).await.unwrap();
        let (from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let back = tokio::spawn(async move {
            drop(tokio::io::copy(&mut from_server, &mut to_client).await);
        });
        drop(tokio::io::copy(&mut from_client.take(bytes), &mut to_server).await);
        back.abort();
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_vanishes_within_a_message_writes_nothing() {
    let mut street = Street::new().await;
    let large = batch([vec![b'x'; 900_000]]);
    for bytes in [20, 200, 1_000, 100_000, 890_000] {
        let address = cut_after(bytes, street.broker.listen()).await;
        let request = v1::ProduceRequest {
            topic: "t".to_owned(),
            partition: Some(0),
            batch: large.clone(),
            ..v1::ProduceRequest::default()
        };
        let vanishing = async {
            let api = Api::connect(&address).await;
            api.produce(request).await
        };
        let vanished = vanishing.await;
        assert_eq!(
            vanished.unwrap_err().reason,
            "",
            "an error of the connection"
        );
        street.neighbour.goes_on().await;
    }
    street.ends_well(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_vanishes_within_a_session_leaves_whole_batches() {
    let mut street = Street::new().await;
    let address = cut_after(150_000, street.broker.listen()).await;
    let mut session = Session::open(&Api::connect(&address).await).await;
    let (one, two) = ("a".repeat(60_000), "b".repeat(60_000));
    for value in [one.as_str(), &two, &"c".repeat(60_000)] {
        session.send("t", 0, batch([value]));
    }
    let there = async { while street.api.high_watermark("t", 0).await < 2 {} };
    soon("two batches", there).await;
    let (_, ended) = session.ended().await;
    assert_eq!(ended.unwrap_err().reason, "", "an error of the connection");
    street.neighbour.goes_on().await;
    street.ends_well(&[&one, &two]).await;
}

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn methods_that_are_not_there_are_unimplemented() {
    let street = Street::new().await;
    for method in [
        "highwater.v1.LogService/Format",
        "highwater.v1.NoService/Produce",
        "no.such.Service/Call",
        "highwater.peer.v1.PeerService/Ping",
        "x/y",
    ] {
        let refused = street.api.call(method, Bytes::new()).await.unwrap_err();
        assert_eq!(refused.code, Code::Unimplemented, "{method}: {refused:?}");
    }
    street.ends_well(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_are_not_http2_close_their_connection_and_no_other() {
    let mut street = Street::new().await;
    let noise: Vec<u8> = (0..100_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for address in [
        street.broker.listen(),
        street.broker.peer(),
        street.broker.http(),
    ] {
        for bytes in [
            noise.clone(),
            b"POST /highwater.v1.LogService/Produce HTTP/9.9\r\n\r\n".to_vec(),
            [0x16, 0x03, 0x01, 0x02, 0x00, 0x01].repeat(100),
            [&preface[..], &noise].concat(),
            [&preface[..], &[0xff; 9]].concat(),
        ] {
            let mut connection = TcpStream::connect(address).await.unwrap();
            // The broker may close it while it is still being written to.
            drop(connection.write_all(&bytes).await);
            drop(connection.shutdown().await);
            let mut answer = Vec::new();
            let closed = connection.read_to_end(&mut answer);
            drop(soon("the broker closes it", closed).await);
        }
        street.neighbour.goes_on().await;
    }
    street.ends_well(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_come_and_go_leave_nothing_behind() {
    const CONNECTIONS: usize = 500;
    let mut street = Street::new().await;
    let open = street.broker.process().join("fd");
    let open = || std::fs::read_dir(&open).unwrap().count();
    let before = open();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let mut idle = Vec::new();
    for number in 0..CONNECTIONS {
        let mut connection = TcpStream::connect(street.broker.listen()).await.unwrap();
        if number % 2 == 0 {
            connection.write_all(preface).await.unwrap();
        }
        idle.push(connection);
    }
    street.neighbour.goes_on().await;
    let all_open = async {
        while open() < before + CONNECTIONS {
            street.neighbour.goes_on().await;
        }
    };
    soon("all are accepted", all_open).await;
    drop(idle);
    let all_closed = async {
        while open() > before + 20 {
            street.neighbour.goes_on().await;
        }
    };
    soon("all are closed", all_closed).await;
    street.ends_well(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_miscounts_ends_before_anything_is_written() {
    let street = Street::new().await;
    let message = |number, batch: Bytes| v1::ProduceSessionRequest {
        number,
        topic: "t".to_owned(),
        batch,
        ..v1::ProduceSessionRequest::default()
    };
    let sound = || batch(["x"]);
    let mut written = 0;
    for (numbers, wrong) in [
        (&[2][..], "2, expected 1"),
        (&[1, 1], "1, expected 2"),
        (&[1, 2, 4], "4, expected 3"),
        (&[1, 2, 1], "1, expected 3"),
        (&[u64::MAX], "18446744073709551615, expected 1"),
    ] {
        let mut session = Session::open(&street.api).await;
        let (last, sound_ones) = numbers.split_last().unwrap();
        for number in sound_ones {
            session.send_message(message(*number, sound()));
        }
        session.send_message(message(*last, sound()));
        // What comes after it is not looked at.
        session.send_message(message(*last + u64::from(*last < 9), sound()));
        written += sound_ones.len();
        let (answers, ended) = session.ended().await;
        ended
            .unwrap_err()
            .is(Code::InvalidArgument, "INVALID_REQUEST", &["number", wrong]);
        let acked = answers.values().filter(|answer| answer.is_ok()).count();
        assert_eq!(acked, sound_ones.len());
    }
    // A first message that carries nothing opens the session and has no answer.
    let mut session = Session::open(&street.api).await;
    session.send_message(v1::ProduceSessionRequest::default());
    let number = session.send("t", 0, sound());
    assert_eq!(number, 1);
    session.answer(number).await.unwrap();
    let (rest, ended) = session.end().await;
    ended.unwrap();
    assert!(rest.is_empty(), "{rest:?}");
    street.ends_well(&vec!["x"; written + 1]).await;
}
