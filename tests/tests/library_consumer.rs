//! What a program's consumer promises, with a real broker inside the test: where it begins and ends,
//! what comes while partitions are added, taken away, stopped and moved, what is sent ahead of it,
//! and how it ends when its topic is gone.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use highwater_broker::testing::Broker;
use highwater_client::{
    Client, Consumer, Event, NewTopic, Offset, PartitionIndex, Reason, Record, Start, Until,
};
use highwater_tests::Metrics;
use highwater_tests::api::soon;

const P0: PartitionIndex = PartitionIndex(0);
const P1: PartitionIndex = PartitionIndex(1);

async fn with_topic(partitions: u32) -> (Broker, Client) {
    let broker = Broker::start().await.unwrap();
    let client = Client::connect(broker.address()).await.unwrap();
    let topic = NewTopic::new("t").partitions(partitions);
    client.create_topic(topic).await.unwrap();
    (broker, client)
}

/// Writes numbered records to a partition, some to a batch, until all are acknowledged.
async fn write(client: &Client, partition: PartitionIndex, numbers: Range<u64>) {
    let producer = client.producer("t").batch_bytes(200);
    let producer = producer.build().await.unwrap();
    for number in numbers {
        let record = Record::new(number.to_string()).partition(partition);
        drop(producer.send(record).await.unwrap());
    }
    soon("a flush", producer.flush()).await.unwrap();
}

/// The next record: its partition and offset. Its value is its offset.
async fn next(consumer: &mut Consumer) -> (PartitionIndex, u64) {
    let record = soon("a record", consumer.next()).await.unwrap().unwrap();
    assert_eq!(record.value_bytes().unwrap(), record.offset().0.to_string());
    (record.partition(), record.offset().0)
}

/// The records of a consumer that ends: the offsets of each partition, as they came.
async fn rest(consumer: &mut Consumer) -> BTreeMap<PartitionIndex, Vec<u64>> {
    let mut rest: BTreeMap<PartitionIndex, Vec<u64>> = BTreeMap::new();
    while let Some(record) = soon("a record", consumer.next()).await {
        let record = record.unwrap();
        rest.entry(record.partition())
            .or_default()
            .push(record.offset().0);
    }
    rest
}

/// Reads up to the news that the end is reached: how many records, and the end.
async fn until_caught_up(consumer: &mut Consumer) -> (u64, u64) {
    let mut records = 0;
    loop {
        match soon("an event", consumer.next_event()).await {
            Some(Ok(Event::Batch(batch))) => records += batch.len(),
            Some(Ok(Event::CaughtUp(news))) => return (records, news.high_watermark.0),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_consumer_ends_before_the_offset_it_was_given_also_within_a_batch() {
    let (_broker, client) = with_topic(2).await;
    write(&client, P0, 0..100).await;
    write(&client, P1, 0..50).await;
    for (to, from) in [(100, 0), (37, 3), (1, 0), (20, 20)] {
        let until = Until::Offsets([(P0, Offset(to)), (P1, Offset(50))].into());
        let start = Start::Offsets([(P0, Offset(from)), (P1, Offset(49))].into());
        let consumer = client.consumer("t").start(start).until(until);
        let mut rest = rest(&mut consumer.build().await.unwrap()).await;
        assert_eq!(rest.remove(&P1), Some(vec![49]));
        assert_eq!(
            rest.remove(&P0).unwrap_or_default(),
            Vec::from_iter(from..to)
        );
    }
}

#[tokio::test]
async fn the_end_is_told_once_and_again_after_a_seek_and_a_pause() {
    let (_broker, client) = with_topic(1).await;
    write(&client, P0, 0..30).await;
    let mut consumer = client.consumer("t").build().await.unwrap();
    assert_eq!(until_caught_up(&mut consumer).await, (30, 30));
    let to = consumer.seek(P0, Start::Offset(Offset(12)));
    assert_eq!(soon("a seek", to).await.unwrap(), Offset(12));
    assert_eq!(until_caught_up(&mut consumer).await, (18, 30));
    consumer.pause(P0).unwrap();
    write(&client, P0, 30..40).await;
    consumer.resume(P0).unwrap();
    assert_eq!(until_caught_up(&mut consumer).await, (10, 40));
    // Whatever comes next is a record, not the same end once more.
    write(&client, P0, 40..41).await;
    let event = soon("an event", consumer.next_event()).await;
    assert!(matches!(event, Some(Ok(Event::Batch(_)))), "{event:?}");
}

#[tokio::test]
async fn a_paused_partition_gives_nothing_and_goes_on_where_it_was() {
    let (_broker, client) = with_topic(2).await;
    write(&client, P0, 0..50).await;
    let mut consumer = client.consumer("t").build().await.unwrap();
    for at in 0..10 {
        assert_eq!(next(&mut consumer).await, (P0, at));
    }
    // The rest of its batch and what was sent ahead are given up.
    consumer.pause(P0).unwrap();
    assert_eq!(consumer.paused(), [P0]);
    write(&client, P0, 50..60).await;
    write(&client, P1, 0..300).await;
    for at in 0..300 {
        assert_eq!(next(&mut consumer).await, (P1, at));
    }
    assert_eq!(consumer.progress()[&P0].next_offset, Offset(10));
    consumer.resume(P0).unwrap();
    for at in 10..60 {
        assert_eq!(next(&mut consumer).await, (P0, at));
    }
}

#[tokio::test]
async fn a_partition_that_is_taken_away_gives_nothing_and_one_that_is_added_gives_all() {
    let (_broker, client) = with_topic(2).await;
    write(&client, P0, 0..20).await;
    write(&client, P1, 0..20).await;
    let consumer = client.consumer("t").partitions([P0]);
    let mut consumer = consumer.build().await.unwrap();
    for at in 0..5 {
        assert_eq!(next(&mut consumer).await, (P0, at));
    }
    let at = consumer.assign(P1, Start::LastN(15));
    assert_eq!(soon("a look-up", at).await.unwrap(), Offset(5));
    consumer.unassign(P0).unwrap();
    let none = consumer.unassign(P0).unwrap_err();
    assert_eq!(none.reason(), Some(Reason::PartitionNotFound));
    for at in 5..20 {
        assert_eq!(next(&mut consumer).await, (P1, at));
    }
    assert_eq!(Vec::from_iter(consumer.progress().into_keys()), [P1]);
    let missing = consumer.assign(PartitionIndex(2), Start::Earliest).await;
    let missing = missing.unwrap_err().reason();
    assert_eq!(missing, Some(Reason::PartitionNotFound));
    let at = consumer.assign(P0, Start::Offset(Offset(18)));
    assert_eq!(soon("a look-up", at).await.unwrap(), Offset(18));
    assert_eq!(next(&mut consumer).await, (P0, 18));
    assert_eq!(next(&mut consumer).await, (P0, 19));
}

#[tokio::test]
async fn a_consumer_that_does_not_read_is_sent_no_more_than_it_allows() {
    const VALUE: usize = 100 << 10;
    const COUNT: u64 = 240;
    // What it allows, and what a broker and the sockets between hold for one subscription.
    const AHEAD: u64 = 6 << 20;
    let (broker, client) = with_topic(1).await;
    let producer = client.producer("t").build().await.unwrap();
    for _ in 0..COUNT {
        drop(producer.send(vec![b'x'; VALUE]).await.unwrap());
    }
    soon("a flush", producer.flush()).await.unwrap();
    let little = || client.consumer("t").prefetch_bytes(64 << 10);
    let mut slow = little().until(Until::Latest).build().await.unwrap();
    soon("a batch", slow.next_batch()).await.unwrap().unwrap();
    let mut other = little().until(Until::Latest).build().await.unwrap();
    let mut read = 0;
    while let Some(batch) = soon("a batch", other.next_batch()).await {
        read += batch.unwrap().bytes().len() as u64;
    }
    assert!(read > COUNT * VALUE as u64);
    let address = broker.http_address();
    let metrics = tokio::task::spawn_blocking(move || Metrics::of(&address));
    let metrics = soon("metrics", metrics).await.unwrap();
    let sent = metrics.count("highwater_fetched_bytes_total") - read;
    assert!(sent <= AHEAD, "{sent} bytes were sent ahead");
    let mut records = slow.progress()[&P0].next_offset.0;
    while let Some(batch) = soon("a batch", slow.next_batch()).await {
        let batch = batch.unwrap();
        assert_eq!(batch.first_offset().0, records);
        records += batch.len();
    }
    assert_eq!(records, COUNT);
}

#[tokio::test]
async fn a_topic_that_is_deleted_ends_its_consumer_after_five_seconds() {
    let (_broker, client) = with_topic(2).await;
    write(&client, P0, 0..3).await;
    let mut consumer = client.consumer("t").build().await.unwrap();
    for at in 0..3 {
        assert_eq!(next(&mut consumer).await, (P0, at));
    }
    let deleting = Instant::now();
    client.delete_topic("t").await.unwrap();
    for _ in 0..2 {
        let error = soon("an end", consumer.next()).await.unwrap().unwrap_err();
        assert_eq!(error.reason(), Some(Reason::TopicNotFound), "{error}");
        // A broker that has just started may have yet to learn of a topic that is there.
        assert!(deleting.elapsed() >= Duration::from_secs(5));
    }
    assert!(soon("the end", consumer.next()).await.is_none());
}

/// Compiles only if every future of a consumer may be spawned.
#[tokio::test]
async fn a_consumer_and_what_it_does_may_go_from_thread_to_thread() {
    let (_broker, client) = with_topic(2).await;
    write(&client, P0, 0..3).await;
    let reading = tokio::spawn(async move {
        let consumer = client.consumer("t").partitions([P1]);
        let mut consumer = consumer.build().await.unwrap();
        consumer.assign(P0, Start::Latest).await.unwrap();
        consumer.seek(P0, Start::LastN(1)).await.unwrap();
        let last = next(&mut consumer).await;
        (last, consumer.next_batch().now_or_never().is_some())
    });
    let read = soon("the last record", reading).await.unwrap();
    assert_eq!(read, ((P0, 2), false));
}
