//! A consumer that is paused, moved and told when it has caught up, over a cluster of fakes.
#![allow(clippy::unwrap_used, reason = "tests")]

mod fake;

use fake::{FakeCluster, PATIENCE};
use futures_util::FutureExt;
use highwater_client::{
    Client, Consumer, ConsumerRecord, Event, Offset, PartitionIndex, Reason, Record, Start, Until,
};

const P0: PartitionIndex = PartitionIndex(0);
const P1: PartitionIndex = PartitionIndex(1);

async fn patiently<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("in time")
}

async fn write(client: &Client, values: std::ops::Range<u32>) {
    let builder = client.producer("t").batch_bytes(500);
    let producer = builder.build().await.unwrap();
    let partitions = producer.partition_count();
    for value in values {
        let partition = PartitionIndex(value % partitions);
        let record = Record::new(value.to_string()).partition(partition);
        drop(producer.send(record).await.unwrap());
    }
    patiently(producer.flush()).await.unwrap();
}

async fn next(consumer: &mut Consumer) -> ConsumerRecord {
    patiently(consumer.next()).await.expect("more").unwrap()
}

async fn started(partitions: u32, records: u32) -> (FakeCluster, Client, Consumer) {
    let cluster = FakeCluster::start(2);
    cluster.create_topic("t", partitions);
    let client = cluster.client().await;
    write(&client, 0..records).await;
    let consumer = client.consumer("t").build().await.unwrap();
    (cluster, client, consumer)
}

#[tokio::test]
async fn after_a_seek_no_record_of_the_old_position_comes() {
    let (_cluster, _client, mut consumer) = started(1, 5000).await;
    let mut at = 0;
    // Forwards, backwards, to where it is: whatever was sent ahead belongs to the old position.
    for to in [4000, 3, 700, 701, 0, 4999] {
        let read = next(&mut consumer).await.offset();
        assert_eq!(read, Offset(at));
        let found = consumer.seek(P0, Start::Offset(Offset(to))).await.unwrap();
        assert_eq!(found, Offset(to));
        assert_eq!(consumer.progress()[&P0].next_offset, Offset(to));
        at = to;
    }
    assert_eq!(next(&mut consumer).await.offset(), Offset(4999));
    for (to, expected) in [
        (Start::LastN(10), 4990),
        (Start::Earliest, 0),
        (Start::Offsets([(P0, Offset(77))].into()), 77),
    ] {
        consumer.seek(P0, to).await.unwrap();
        assert_eq!(next(&mut consumer).await.offset(), Offset(expected));
    }
    let end = consumer.seek(P0, Start::Latest).await.unwrap();
    assert_eq!(end, Offset(5000));
    assert!(consumer.next().now_or_never().is_none(), "nothing is there");
}

#[tokio::test]
async fn a_seek_that_cannot_be_done_changes_nothing() {
    let (_cluster, _client, mut consumer) = started(1, 100).await;
    assert_eq!(next(&mut consumer).await.offset(), Offset(0));
    let error = consumer.seek(P0, Start::Offset(Offset(101))).await;
    let error = error.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::OffsetOutOfRange));
    assert_eq!(error.offset_range().unwrap().high_watermark, 100);
    let error = consumer.seek(P1, Start::Earliest).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::PartitionNotFound));
    // A seek that is given up before it is answered.
    assert!(consumer.seek(P0, Start::Latest).now_or_never().is_none());
    for i in 1..100 {
        assert_eq!(next(&mut consumer).await.offset(), Offset(i));
    }
}

#[tokio::test]
async fn a_paused_partition_rests_and_goes_on_where_it_was() {
    let (cluster, _client, mut consumer) = started(2, 4000).await;
    let mut read = [0_u64; 2];
    let subscriptions = |cluster: &FakeCluster| cluster.shared.count(|c| &c.subscriptions);
    while subscriptions(&cluster) < 2 || read.iter().sum::<u64>() < 10 {
        let record = next(&mut consumer).await;
        read[record.partition().0 as usize] += 1;
    }
    // On a machine that stood still all of it may have been read before the other one began.
    let again = usize::from(read[0] < 2000);
    consumer.pause(P0).unwrap();
    assert_eq!(consumer.paused(), [P0]);
    while read[1] < 2000 {
        let record = next(&mut consumer).await;
        assert_eq!((record.partition(), record.offset()), (P1, Offset(read[1])));
        read[1] += 1;
    }
    assert!(consumer.next().now_or_never().is_none());
    consumer.pause(P0).unwrap();
    consumer.resume(P0).unwrap();
    consumer.resume(P0).unwrap();
    assert_eq!(consumer.paused(), []);
    for offset in read[0]..2000 {
        let record = next(&mut consumer).await;
        assert_eq!((record.partition(), record.offset()), (P0, Offset(offset)));
    }
    assert_eq!(subscriptions(&cluster), 2 + again);
    let missing = consumer.pause(PartitionIndex(2)).unwrap_err();
    assert_eq!(missing.reason(), Some(Reason::PartitionNotFound));
}

#[tokio::test]
async fn a_paused_partition_that_is_sought_stays_paused_and_does_not_end_the_stream() {
    let (_cluster, client, _) = started(1, 10).await;
    let builder = client.consumer("t").until(Until::Latest);
    let mut consumer = builder.build().await.unwrap();
    consumer.pause(P0).unwrap();
    consumer.seek(P0, Start::Offset(Offset(8))).await.unwrap();
    assert!(consumer.next().now_or_never().is_none(), "it waits");
    consumer.resume(P0).unwrap();
    assert_eq!(next(&mut consumer).await.offset(), Offset(8));
    assert_eq!(next(&mut consumer).await.offset(), Offset(9));
    assert!(patiently(consumer.next()).await.is_none());
    // What has ended goes on after a seek.
    consumer.seek(P0, Start::Offset(Offset(9))).await.unwrap();
    assert_eq!(next(&mut consumer).await.offset(), Offset(9));
    assert!(patiently(consumer.next()).await.is_none());
}

#[tokio::test]
async fn a_failed_partition_goes_on_after_a_seek() {
    let (_cluster, client, _) = started(1, 10).await;
    let builder = client.consumer("t").start(Start::Offset(Offset(50)));
    let mut consumer = builder.build().await.unwrap();
    let error = patiently(consumer.next()).await.unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(Reason::OffsetOutOfRange));
    assert!(patiently(consumer.next()).await.is_none());
    consumer.seek(P0, Start::LastN(1)).await.unwrap();
    assert_eq!(next(&mut consumer).await.offset(), Offset(9));
}

#[tokio::test]
async fn partitions_come_and_go() {
    let (_cluster, client, _) = started(2, 10).await;
    let builder = client.consumer("t").partitions([P0]);
    let mut consumer = builder.build().await.unwrap();
    for i in 0..5 {
        assert_eq!(next(&mut consumer).await.offset(), Offset(i));
    }
    let from = consumer.assign(P1, Start::Offset(Offset(3))).await.unwrap();
    assert_eq!(from, Offset(3));
    consumer.unassign(P0).unwrap();
    for i in 3..5 {
        let record = next(&mut consumer).await;
        assert_eq!((record.partition(), record.offset()), (P1, Offset(i)));
    }
    consumer.unassign(P1).unwrap();
    assert!(consumer.progress().is_empty());
    assert!(patiently(consumer.next()).await.is_none());
    let missing = consumer.assign(PartitionIndex(9), Start::Latest).await;
    let missing = missing.unwrap_err();
    assert_eq!(missing.reason(), Some(Reason::PartitionNotFound));
}

/// Reads up to the news that the end is reached: how many records came, and what the end is.
async fn caught_up(consumer: &mut Consumer) -> (u64, u64) {
    let mut records = 0;
    loop {
        match patiently(consumer.next_event()).await.unwrap().unwrap() {
            Event::Batch(batch) => records += batch.len(),
            Event::CaughtUp(caught_up) => {
                assert_eq!(caught_up.partition, P0);
                return (records, caught_up.high_watermark.0);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn reaching_the_end_is_told_once_and_again_after_being_behind() {
    let (cluster, client, mut consumer) = started(1, 1000).await;
    assert_eq!(caught_up(&mut consumer).await, (1000, 1000));
    // What comes one at a time leaves the consumer at the end: there is nothing to tell.
    for value in 1000..1003 {
        write(&client, value..value + 1).await;
        match patiently(consumer.next_event()).await.unwrap().unwrap() {
            Event::Batch(batch) => assert_eq!(batch.first_offset(), Offset(value.into())),
            other => panic!("{other:?}"),
        }
    }
    assert!(consumer.next_event().now_or_never().is_none());
    // A leader that changes is no transition, a seek is one.
    cluster.lead("t", 0, 2);
    write(&client, 1003..1004).await;
    let after = patiently(consumer.next_event()).await.unwrap().unwrap();
    assert!(matches!(after, Event::Batch(_)), "{after:?}");
    consumer.seek(P0, Start::LastN(4)).await.unwrap();
    assert_eq!(caught_up(&mut consumer).await, (4, 1004));
    // An empty rest is an end as well.
    consumer.seek(P0, Start::Latest).await.unwrap();
    assert_eq!(caught_up(&mut consumer).await, (0, 1004));
}
