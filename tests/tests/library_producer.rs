//! What a program's producer promises, with a real broker inside the test: the bound of its buffer,
//! what becomes of what was sent when it is flushed, shut down or dropped, or its topic deleted, and
//! whose records a call that ends early has sent.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use highwater_broker::testing::Broker;
use highwater_client::{
    Client, Delivery, NewTopic, Outcome, PartitionIndex, Position, Reason, Record, Until,
};
use highwater_tests::api::soon;

const P0: PartitionIndex = PartitionIndex(0);
/// Longer than any test: what waits for it waits for ever.
const NEVER: Duration = Duration::from_secs(3600);

async fn with_topic(partitions: u32) -> (Broker, Client) {
    let broker = Broker::start().await.unwrap();
    let client = Client::connect(broker.address()).await.unwrap();
    let topic = NewTopic::new("t").partitions(partitions);
    client.create_topic(topic).await.unwrap();
    (broker, client)
}

/// The bytes of a record's value.
const VALUE: usize = 100;

/// A record of partition 0 with a value that begins with the number.
fn numbered(number: usize) -> Record<'static> {
    Record::new(format!("{number:<VALUE$}")).partition(P0)
}

/// The number of each record of a partition, in the order of the log.
async fn log(client: &Client, partition: PartitionIndex) -> Vec<usize> {
    let consumer = client.consumer("t").partitions([partition]);
    let mut consumer = consumer.until(Until::Latest).build().await.unwrap();
    let mut numbers = Vec::new();
    while let Some(record) = soon("a record", consumer.next()).await {
        let record = record.unwrap();
        let text = std::str::from_utf8(record.value().unwrap()).unwrap();
        numbers.push(text.trim().parse().unwrap());
    }
    numbers
}

async fn end(client: &Client) -> u64 {
    let found = client.list_offsets("t", P0, Position::Latest);
    found.await.unwrap().high_watermark.0
}

async fn acknowledged(deliveries: impl IntoIterator<Item = Delivery>) -> Vec<u64> {
    let mut offsets = Vec::new();
    for delivery in deliveries {
        let ack = soon("an acknowledgement", delivery).await.unwrap();
        offsets.extend(ack.offset.map(|offset| offset.0));
    }
    offsets
}

#[tokio::test]
async fn a_full_buffer_gives_records_back_and_holds_senders_until_there_is_space() {
    const LIMIT: usize = 2000;
    let (mut broker, client) = with_topic(1).await;
    let producer = client.producer("t").buffer_bytes(LIMIT);
    let producer = producer.build().await.unwrap();
    broker.kill().await;
    let mut deliveries = Vec::new();
    let refused = loop {
        match producer.try_send(numbered(deliveries.len())) {
            Ok(delivery) => deliveries.push(delivery),
            Err(refused) => break refused,
        }
        // What is held, not what the producer counts.
        let held = deliveries.len() * VALUE;
        assert!(held <= LIMIT, "{held} bytes are held");
    };
    assert_eq!(refused.error.reason(), Some(Reason::Overloaded));
    assert!(deliveries.len() > 5, "{} records fit", deliveries.len());
    // The first poll of a send that finds no space; dropped there, it has sent nothing.
    let dropped = tokio::time::timeout(Duration::ZERO, producer.send(numbered(999))).await;
    assert!(dropped.is_err());
    let waiting = tokio::spawn({
        let (producer, record) = (producer.clone(), refused.record);
        async move { producer.send(record).await.unwrap().await.unwrap() }
    });
    broker.restart().await.unwrap();
    let last = soon("space and an acknowledgement", waiting).await.unwrap();
    let count = deliveries.len();
    assert_eq!(last.offset.unwrap().0 as usize, count);
    acknowledged(deliveries).await;
    assert_eq!(log(&client, P0).await, Vec::from_iter(0..=count));
    assert_eq!(producer.buffered_bytes(), 0);
}

#[tokio::test]
async fn what_lingers_is_not_written_before_its_time_and_is_one_batch_then() {
    let (_broker, client) = with_topic(1).await;
    let producer = client
        .producer("t")
        .linger(NEVER)
        .delivery_timeout(2 * NEVER);
    let producer = producer.build().await.unwrap();
    let mut deliveries = Vec::new();
    for number in 0..20 {
        deliveries.push(producer.send(numbered(number)).await.unwrap());
    }
    assert_eq!(end(&client).await, 0);
    soon("a flush", producer.flush()).await.unwrap();
    assert_eq!(acknowledged(deliveries).await, Vec::from_iter(0..20));
    let mut consumer = client.consumer("t").build().await.unwrap();
    let batch = soon("a batch", consumer.next_batch()).await.unwrap();
    assert_eq!(batch.unwrap().len(), 20);

    let producer = client.producer("t").linger(Duration::from_millis(5));
    let producer = producer.build().await.unwrap();
    let delivery = producer.send(numbered(20)).await.unwrap();
    assert_eq!(acknowledged([delivery]).await, [20]);
}

#[tokio::test]
async fn what_a_dropped_producer_had_taken_is_delivered_also_after_a_restart() {
    let (mut broker, client) = with_topic(1).await;
    let producer = client.producer("t").linger(NEVER).build().await.unwrap();
    broker.kill().await;
    let mut deliveries = Vec::new();
    for number in 0..100 {
        let delivery = producer.send(numbered(number)).await.unwrap();
        // A delivery that nobody keeps changes nothing.
        if number % 2 == 0 {
            deliveries.push(delivery);
        }
    }
    let clone = producer.clone();
    drop(producer);
    deliveries.push(clone.send(numbered(100)).await.unwrap());
    drop(clone);
    broker.restart().await.unwrap();
    assert_eq!(acknowledged(deliveries).await.last(), Some(&100));
    assert_eq!(log(&client, P0).await, Vec::from_iter(0..=100));
}

#[tokio::test]
async fn a_shutdown_delivers_and_after_its_deadline_says_what_is_known_of_the_rest() {
    let (mut broker, client) = with_topic(1).await;
    let producer = client.producer("t").linger(NEVER).build().await.unwrap();
    let first = producer.send(numbered(0)).await.unwrap();
    soon("a shutdown", producer.shutdown(NEVER)).await.unwrap();
    assert_eq!(first.outcome().unwrap().unwrap().offset.unwrap().0, 0);
    assert!(producer.send(numbered(1)).await.is_err());

    let producer = client.producer("t").build().await.unwrap();
    broker.kill().await;
    let mut deliveries = Vec::new();
    for number in 1..50 {
        deliveries.push(producer.send(numbered(number)).await.unwrap());
    }
    let shut_down = producer.shutdown(Duration::from_millis(20));
    let error = soon("a shutdown", shut_down).await.unwrap_err();
    let first = deliveries[0].outcome().unwrap().unwrap_err();
    assert_eq!(first.reason(), error.reason());
    broker.restart().await.unwrap();
    let there = log(&client, P0).await;
    for (delivery, number) in deliveries.iter().zip(1..) {
        let error = delivery.outcome().expect("it is decided").unwrap_err();
        let open = error.outcome() == Outcome::Unknown;
        assert!(open || !there.contains(&number), "{number}: {error}");
    }
}

#[tokio::test]
async fn a_flush_tells_of_a_failure_before_it_and_the_next_one_not_again() {
    let (mut broker, client) = with_topic(1).await;
    let patience = Duration::from_millis(50);
    let producer = client.producer("t").delivery_timeout(patience);
    let producer = producer.build().await.unwrap();
    broker.kill().await;
    drop(producer.send(numbered(0)).await.unwrap());
    let error = soon("a flush", producer.flush()).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::TimedOut), "{error}");
    soon("a flush", producer.flush()).await.unwrap();
}

#[tokio::test]
async fn many_records_sent_at_once_are_each_where_their_delivery_says() {
    let (_broker, client) = with_topic(3).await;
    let producer = client.producer("t").batch_bytes(2000);
    let producer = producer.build().await.unwrap();
    let partition = |number: usize| PartitionIndex((number / 7 % 3) as u32);
    let records = (0..2000).map(|number| numbered(number).partition(partition(number)));
    let records: Vec<Record<'_>> = records.collect();
    let deliveries = soon("a call", producer.send_all(&records)).await.unwrap();
    let mut logs = Vec::new();
    soon("acknowledgements", deliveries.acknowledged())
        .await
        .unwrap();
    for index in 0..3 {
        let log = log(&client, PartitionIndex(index)).await;
        assert!(log.is_sorted(), "partition {index}: {log:?}");
        logs.push(log);
    }
    for (number, delivery) in deliveries.into_iter().enumerate() {
        let ack = soon("an acknowledgement", delivery).await.unwrap();
        assert_eq!(ack.partition, partition(number));
        let log = &logs[ack.partition.0 as usize];
        assert_eq!(log[ack.offset.unwrap().0 as usize], number);
    }
    assert_eq!(logs.concat().len(), 2000);
}

#[tokio::test]
async fn a_send_of_many_that_is_dropped_has_sent_its_first_records_and_no_others() {
    let (mut broker, client) = with_topic(1).await;
    let producer = client.producer("t").buffer_bytes(5000);
    let producer = producer.build().await.unwrap();
    broker.kill().await;
    let records: Vec<Record<'_>> = (0..500).map(numbered).collect();
    let sending = producer.send_all(&records);
    assert!(tokio::time::timeout(Duration::ZERO, sending).await.is_err());
    broker.restart().await.unwrap();
    soon("a flush", producer.flush()).await.unwrap();
    let there = log(&client, P0).await;
    assert!((1..500).contains(&there.len()), "{} records", there.len());
    assert_eq!(there, Vec::from_iter(0..there.len()));
}

#[tokio::test]
async fn a_topic_that_is_deleted_fails_what_its_running_producer_sends_after_five_seconds() {
    let (_broker, client) = with_topic(2).await;
    let other = client.create_topic(NewTopic::new("other")).await;
    other.unwrap();
    let producer = client.producer("t").build().await.unwrap();
    let running = tokio::spawn({
        let producer = producer.clone();
        async move {
            for number in 0.. {
                if let Err(error) = producer.send(numbered(number)).await.unwrap().await {
                    return (number, error);
                }
            }
            unreachable!()
        }
    });
    let some = async { while end(&client).await < 10 {} };
    soon("some records", some).await;
    let deleting = Instant::now();
    client.delete_topic("t").await.unwrap();
    let (written, error) = soon("an error", running).await.unwrap();
    // The acknowledgement of the tenth may have been on its way.
    assert!(written >= 9, "{written} records");
    assert_eq!(error.reason(), Some(Reason::TopicNotFound), "{error}");
    // The batch that was on its way may be in what was deleted; it is never said to be worth a retry.
    assert_ne!(error.outcome(), Outcome::Retriable, "{error}");
    // A broker that has just started may have yet to learn of a topic that is there.
    assert!(deleting.elapsed() >= Duration::from_secs(5));

    let delivery = producer.send(numbered(0)).await.unwrap();
    let error = soon("an error", delivery).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::TopicNotFound), "{error}");
    assert_eq!(error.outcome(), Outcome::Refused, "{error}");
    let told = soon("a flush", producer.flush()).await.unwrap_err();
    assert_eq!(told.reason(), Some(Reason::TopicNotFound), "{told}");
    soon("a shutdown", producer.shutdown(NEVER)).await.unwrap();
    // The client goes on with other topics.
    let elsewhere = client.producer("other").build().await.unwrap();
    let delivery = elsewhere.send(numbered(0)).await.unwrap();
    assert_eq!(acknowledged([delivery]).await, [0]);
}
