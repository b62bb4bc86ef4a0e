//! Clients that vanish, never read, or say too much: the broker goes on for everybody else.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use highwater_proto::pb::v1::log_service_client::LogServiceClient;
use highwater_proto::pb::v1::{ProduceRequest, SubscribeRequest};
use highwater_tests::api::soon;
use highwater_tests::batches::batch;
use highwater_tests::{Api, Broker, program};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;

fn broker_with_topic(dir: &tempfile::TempDir) -> Broker {
    let broker = Broker::start(&program!(), dir.path(), &[]);
    broker.run(&["topic", "create", "t", "-p", "1"]).ok();
    broker
}

#[test]
fn a_producer_that_is_killed_leaves_a_prefix_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let broker = broker_with_topic(&dir);
    let mut producing = broker.run(&["produce", "t", "-o", "jsonl"]).converse();
    let lines: Vec<String> = (0..50_000).map(|number| format!("line {number}")).collect();
    producing.write(&lines[..40_000].join("\n"));
    let acknowledged = producing.read(10_000).len();
    producing.signal(Signal::KILL);
    producing.end();
    let there = broker.run(&["consume", "t", "--exit-at-end"]).ok();
    let there = there.lines();
    assert!(
        there.len() >= acknowledged,
        "{} of {acknowledged} acknowledged",
        there.len()
    );
    assert!(
        there.iter().zip(&lines).all(|(is, sent)| is == sent),
        "what is there is a prefix"
    );
    broker.run(&["produce", "t"]).stdin("after\n").ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_never_reads_holds_up_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let broker = broker_with_topic(&dir);
    broker.run(&["produce", "t"]).stdin("first\n").ok();
    let mut client = LogServiceClient::connect(format!("http://{}", broker.listen()))
        .await
        .unwrap();
    let request = SubscribeRequest {
        topic: "t".to_owned(),
        batches: true,
        ..Default::default()
    };
    let never_read = client.subscribe(request).await.unwrap();
    let text =
        "a line that is a hundred bytes long or nearly so, as in the figures of the others\n";
    let text = text.repeat(400_000);
    broker.run(&["produce", "t"]).stdin(text).ok();
    let read = broker
        .run(&["consume", "t", "--exit-at-end", "-f", r"\n"])
        .ok();
    assert_eq!(read.stdout.len(), 400_001);
    drop(never_read);
}

#[tokio::test]
async fn batches_that_are_none_are_refused_with_the_reason_and_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let broker = broker_with_topic(&dir);
    let mut client = LogServiceClient::connect(format!("http://{}", broker.listen()))
        .await
        .unwrap();
    let mut header = [0_u8; 61];
    header[16] = 2;
    for batch in [vec![7], header.to_vec(), vec![0xff; 61], vec![0; 2 << 20]] {
        let length = batch.len();
        let request = ProduceRequest {
            topic: "t".to_owned(),
            partition: Some(0),
            batch: batch.into(),
            ..Default::default()
        };
        let status = client.produce(request).await.unwrap_err();
        assert_eq!(
            status.code(),
            Code::InvalidArgument,
            "{length} bytes: {status:?}"
        );
    }
    let described = broker
        .run(&["topic", "describe", "t", "-o", "json"])
        .ok()
        .json();
    assert_eq!(described["partitions"][0]["high_watermark"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_open_connections_leave_descriptors_for_storage() {
    let dir = tempfile::tempdir().unwrap();
    let few_files = ["sh", "-c", "ulimit -n 200; exec \"$0\" \"$@\""];
    let broker = Broker::start(&program!().through(&few_files), dir.path(), &[]);
    let api = Api::connect(broker.listen()).await;
    let mut half_open = Vec::new();
    for (address, bytes) in [
        (broker.listen(), "PRI *"),
        (broker.peer(), "PRI *"),
        (broker.http(), "GET /he"),
    ] {
        for _ in 0..100 {
            let mut connection = TcpStream::connect(address).await.unwrap();
            drop(connection.write_all(bytes.as_bytes()).await);
            half_open.push(connection);
        }
        // They are taken in turn, and there is no room for the last.
        let last = half_open.last_mut().unwrap();
        let closed = last.read_u8();
        drop(soon("the surplus is closed", closed).await.unwrap_err());
    }
    api.create("many", 8, &[]).await;
    let appended = api.append("many", 7, batch(["x"])).await.unwrap();
    assert_eq!(appended.base_offset, 0);
    broker.log_line("connections of clients are refused");
    let log = broker.log();
    assert!(!log.contains("Too many open files"), "{log}");
}
