//! Clients that do harm, or try to, while one that behaves is served as if it were alone.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod messages;

use bytes::Bytes;
use highwater_proto::pb::v1;
use highwater_tests::api::soon;
use highwater_tests::batches::batch;
use highwater_tests::{Api, Broker, Neighbour, Session, program};
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
