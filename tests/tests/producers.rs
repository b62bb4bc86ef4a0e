//! The producer of the client library against real brokers: what is sent is what is read, and what
//! cannot be written is a typed error that says whether anything was.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use highwater_broker::testing::Broker;
use highwater_client::{
    Client, Codec, ConsumerRecord, NewTopic, Outcome, PartitionIndex, Reason, Record, Timestamp,
    Until,
};
use highwater_proto::partitioner::partition_for_key;
use highwater_tests::api::soon;
use highwater_tests::batches::at;
use highwater_tests::{Api, program};

const P0: PartitionIndex = PartitionIndex(0);

async fn broker() -> (Broker, Client) {
    let broker = Broker::start().await.unwrap();
    let client = Client::connect(broker.address()).await.unwrap();
    (broker, client)
}

async fn create(client: &Client, topic: &str, partitions: u32) {
    let topic = NewTopic::new(topic).partitions(partitions);
    client.create_topic(topic).await.unwrap();
}

async fn read(client: &Client, topic: &str) -> Vec<ConsumerRecord> {
    let builder = client.consumer(topic).until(Until::Latest);
    let mut consumer = builder.build().await.unwrap();
    let mut records = Vec::new();
    while let Some(record) = soon("a record", consumer.next()).await {
        records.push(record.unwrap());
    }
    records
}

/// Codec and size of each batch as it is stored.
async fn stored(client: &Client, topic: &str) -> Vec<(Codec, usize)> {
    let builder = client.consumer(topic).until(Until::Latest);
    let mut consumer = builder.build().await.unwrap();
    let mut stored = Vec::new();
    while let Some(batch) = soon("a batch", consumer.next_batch()).await {
        let bytes = batch.unwrap().bytes().clone();
        let attributes = [bytes[at::ATTRIBUTES], bytes[at::ATTRIBUTES + 1]];
        let number = usize::try_from(i16::from_be_bytes(attributes) & 7).unwrap();
        stored.push((Codec::ALL[number], bytes.len()));
    }
    stored
}

#[tokio::test]
async fn keys_values_headers_and_times_come_back_from_every_codec() {
    let (_broker, client) = broker().await;
    for codec in Codec::ALL {
        create(&client, codec.as_str(), 1).await;
        let producer = client.producer(codec.as_str()).codec(codec);
        let producer = producer.build().await.unwrap();
        let long = "v".repeat(10_000);
        for number in 0..100_i64 {
            let record = Record::new(&*long)
                .key(format!("k{number}"))
                .header("a", "1")
                .header("a", number.to_string())
                .timestamp(Timestamp(1_000 + number));
            drop(producer.send(record).await.unwrap());
        }
        drop(producer.send(Record::tombstone("k0")).await.unwrap());
        soon("all is written", producer.flush()).await.unwrap();
        let records = read(&client, codec.as_str()).await;
        assert_eq!(records.len(), 101);
        for (number, record) in (0..100_i64).zip(&records) {
            assert_eq!(record.offset().to_i64(), number);
            assert_eq!(record.value(), Some(long.as_bytes()));
            let key = format!("k{number}");
            assert_eq!(record.key(), Some(key.as_bytes()));
            assert_eq!(record.timestamp(), Timestamp(1_000 + number));
            let second = number.to_string();
            let headers = record.headers().map(|(name, value)| (name, value.unwrap()));
            assert!(headers.eq([(&b"a"[..], &b"1"[..]), (&b"a"[..], second.as_bytes())]));
        }
        let stored = stored(&client, codec.as_str()).await;
        assert!(stored.iter().all(|(as_asked, _)| *as_asked == codec));
        let bytes: usize = stored.iter().map(|(_, bytes)| bytes).sum();
        let is_smaller = bytes < records.len() * long.len() / 4;
        assert_eq!(is_smaller, codec != Codec::None, "{bytes} with {codec:?}");
        assert_eq!(records[100].value(), None);
        assert!(
            records[100].timestamp() > Timestamp(1_600_000_000_000),
            "now"
        );
    }
}

#[tokio::test]
async fn records_go_where_their_key_or_the_caller_says() {
    let (_broker, client) = broker().await;
    create(&client, "t", 5).await;
    let producer = client.producer("t").build().await.unwrap();
    for number in 0..200_u32 {
        let key = format!("key {number}");
        let mut record = Record::new(number.to_string()).key(&*key);
        if number % 2 == 1 {
            record = record.partition(PartitionIndex(number % 5));
        }
        drop(producer.send(record).await.unwrap());
    }
    soon("all is written", producer.flush()).await.unwrap();
    let records = read(&client, "t").await;
    assert_eq!(records.len(), 200);
    for record in records {
        let text = std::str::from_utf8(record.value().unwrap()).unwrap();
        let number: u32 = text.parse().unwrap();
        let expected = match number % 2 {
            1 => PartitionIndex(number % 5),
            _ => partition_for_key(record.key().unwrap(), 5),
        };
        assert_eq!(record.partition(), expected, "record {number}");
    }
}

#[tokio::test]
async fn nothing_is_written_to_a_topic_that_took_the_name_of_the_one_that_was_meant() {
    let (broker, client) = broker().await;
    create(&client, "t", 2).await;
    let plain = client.producer("t").build().await.unwrap();
    let named = client.producer("t").name("writer").build().await.unwrap();
    for producer in [&plain, &named] {
        let delivery = producer
            .send(Record::new("old").partition(P0))
            .await
            .unwrap();
        soon("an ack", delivery).await.unwrap();
    }
    client.delete_topic("t").await.unwrap();
    create(&client, "t", 2).await;
    for producer in [&plain, &named] {
        for partition in [P0, PartitionIndex(1)] {
            let record = Record::new("lost").partition(partition);
            let delivery = producer.send(record).await.unwrap();
            let error = soon("an answer", delivery).await.unwrap_err();
            assert_eq!(error.reason(), Some(Reason::TopicIdMismatch), "{error}");
            assert_eq!(error.outcome(), Outcome::Refused);
            assert!(error.is_retry_safe());
        }
    }
    let api = Api::connect(&broker.address()).await;
    for partition in 0..2 {
        assert_eq!(api.high_watermark("t", partition).await, 0);
    }
    let anew = client.producer("t").build().await.unwrap();
    let delivery = anew.send("new").await.unwrap();
    assert_eq!(soon("an ack", delivery).await.unwrap().offset.unwrap().0, 0);
}

#[tokio::test]
async fn what_no_batch_can_hold_is_refused_alone() {
    let (_broker, client) = broker().await;
    let topic = NewTopic::new("t").config("max.batch.bytes", "4096");
    client.create_topic(topic).await.unwrap();
    let producer = client.producer("t").build().await.unwrap();
    drop(producer.send("before").await.unwrap());
    let large = producer.send(vec![b'x'; 5000]).await.unwrap_err();
    assert_eq!(large.reason(), Some(Reason::BatchTooLarge));
    assert!(large.is_retry_safe() && !large.is_retriable());
    let missing = Record::new("x").partition(PartitionIndex(1));
    let missing = producer.send(missing).await.unwrap_err();
    assert_eq!(missing.reason(), Some(Reason::PartitionNotFound));
    drop(producer.send("after").await.unwrap());
    soon("all is written", producer.flush()).await.unwrap();
    let values = read(&client, "t").await.into_iter();
    let values: Vec<_> = values.map(|record| record.value_bytes().unwrap()).collect();
    assert_eq!(values, ["before", "after"]);
}

#[tokio::test]
async fn of_two_producers_with_one_name_the_later_one_writes() {
    let (_broker, client) = broker().await;
    create(&client, "t", 3).await;
    create(&client, "other", 1).await;
    let old = client.producer("t").name("writer").build().await.unwrap();
    let delivery = old.send(Record::new("old").partition(P0)).await.unwrap();
    soon("an ack", delivery).await.unwrap();
    // The name is one in the whole cluster, whatever the topic.
    let new = client.producer("other").name("writer").build().await;
    let new = new.unwrap();
    for partition in [2, 0] {
        let record = Record::new("zombie").partition(PartitionIndex(partition));
        let error = match old.send(record).await {
            Ok(delivery) => soon("an answer", delivery).await.unwrap_err(),
            Err(error) => error,
        };
        assert_eq!(error.reason(), Some(Reason::ProducerFenced), "{error}");
        assert_eq!(error.outcome(), Outcome::Refused);
    }
    let ended = old.shutdown(Duration::from_secs(5)).await.unwrap_err();
    assert_eq!(ended.reason(), Some(Reason::ProducerFenced));
    soon("an ack", new.send("new").await.unwrap())
        .await
        .unwrap();
    assert_eq!(read(&client, "t").await.len(), 1);
    assert_eq!(read(&client, "other").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_compresses_and_takes_names() {
    let (broker, client) = broker().await;
    create(&client, "t", 1).await;
    let address = broker.address();
    let run = |args: &[&str]| program!().run(args).env("HIGHWATER_BROKERS", &address);
    let mut expected = String::new();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let line = format!("{codec} {}\n", "x".repeat(3000));
        let args = ["produce", "t", "-z", codec, "--producer-name", "writer"];
        run(&args).stdin(&*line).ok();
        expected.push_str(&line);
    }
    let read = run(&["consume", "t", "--from", "start", "--exit-at-end"]);
    assert_eq!(read.ok().text(), expected);
    for ((found, bytes), codec) in stored(&client, "t").await.into_iter().zip(Codec::ALL) {
        assert_eq!((found, bytes < 1000), (codec, codec != Codec::None));
    }
    let bad = run(&["produce", "t", "--producer-name", "a b"])
        .stdin("x\n")
        .end();
    bad.exited(2);
    let bad = run(&["produce", "t", "-z", "brotli"]).stdin("x\n").end();
    bad.exited(2);
}
