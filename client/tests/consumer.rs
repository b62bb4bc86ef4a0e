//! The consumer against brokers that end subscriptions, move leaders and die.
#![allow(clippy::unwrap_used, reason = "tests")]

mod fake;

use std::sync::atomic::Ordering;

use fake::{FakeCluster, PATIENCE};
use futures_util::StreamExt;
use highwater_client::{
    Client, Codec, Consumer, ConsumerRecord, Offset, Outcome, PartitionIndex, Reason, Record,
    Start, Until,
};

const P0: PartitionIndex = PartitionIndex(0);

async fn patiently<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("in time")
}

/// Writes `values` to the topic, in small batches, round the partitions.
async fn write(client: &Client, values: std::ops::Range<u32>, codec: Codec) {
    let producer = client
        .producer("t")
        .batch_bytes(500)
        .codec(codec)
        .build()
        .await
        .unwrap();
    let partitions = producer.partition_count();
    for value in values {
        let partition = PartitionIndex(value % partitions);
        let record = Record::new(value.to_string()).partition(partition);
        let record = record.key("k").header("h", "x");
        drop(producer.send(record).await.unwrap());
    }
    patiently(producer.flush()).await.unwrap();
}

async fn next(consumer: &mut Consumer) -> ConsumerRecord {
    patiently(consumer.next()).await.expect("more").unwrap()
}

fn value(record: &ConsumerRecord) -> u32 {
    let value = record.value().unwrap();
    std::str::from_utf8(value).unwrap().parse().unwrap()
}

#[tokio::test]
async fn all_records_come_with_all_they_have_and_the_stream_ends_at_the_end() {
    for codec in [Codec::None, Codec::Zstd] {
        let cluster = FakeCluster::start(2);
        cluster.create_topic("t", 3);
        let client = cluster.client().await;
        write(&client, 0..1000, codec).await;
        let consumer = client
            .consumer("t")
            .until(Until::Latest)
            .build()
            .await
            .unwrap();
        let records: Vec<_> = patiently(consumer.collect::<Vec<_>>()).await;
        let records: Vec<ConsumerRecord> = records.into_iter().map(Result::unwrap).collect();
        assert_eq!(records.len(), 1000);
        for p in 0..3 {
            let of_p = records.iter().filter(|r| r.partition().0 == p);
            for (i, record) in of_p.enumerate() {
                assert_eq!(record.offset(), Offset(i as u64));
                assert_eq!(value(record), i as u32 * 3 + p);
                assert_eq!(record.key(), Some(&b"k"[..]));
                assert!(record.headers().eq([(&b"h"[..], Some(&b"x"[..]))]));
                assert_eq!(record.append_time().0, 1000);
                assert_eq!(&**record.topic(), "t");
            }
        }
    }
}

#[tokio::test]
async fn broken_subscriptions_leave_no_gap_and_no_repetition() {
    let cluster = FakeCluster::start(2);
    cluster.create_topic("t", 1);
    let client = cluster.client().await;
    write(&client, 0..5000, Codec::None).await;
    cluster.faults(|faults| faults.drop_subscription_one_in = Some(3));
    let consumer = client.consumer("t").until(Until::Latest).prefetch_bytes(1);
    let mut consumer = consumer.build().await.unwrap();
    for i in 0..5000 {
        assert_eq!(value(&next(&mut consumer).await), i);
    }
    assert!(patiently(consumer.next()).await.is_none());
    assert!(cluster.shared.count(|c| &c.subscriptions) > 1);
}

#[tokio::test]
async fn the_leader_is_followed_wherever_it_goes() {
    let mut cluster = FakeCluster::start(3);
    cluster.create_topic("t", 1);
    let client = cluster.client().await;
    let mut consumer = client.consumer("t").build().await.unwrap();
    for round in 0..12 {
        let values = round * 100..(round + 1) * 100;
        write(&client, values.clone(), Codec::None).await;
        let (read_before, read_after) = values.clone().split_at_half();
        for i in read_before {
            assert_eq!(value(&next(&mut consumer).await), i);
        }
        match round % 4 {
            0 => cluster.lead("t", 0, 2),
            1 => {
                cluster.faults(|faults| faults.no_hints = true);
                cluster.lead("t", 0, 3);
            }
            2 => {
                cluster.kill(3);
                cluster.lead("t", 0, 1);
                cluster.start_broker(3);
            }
            _ => {
                // The same leader comes back at another address.
                cluster.kill(1);
                cluster.start_broker(1);
            }
        }
        for i in read_after {
            assert_eq!(value(&next(&mut consumer).await), i);
        }
    }
}

trait Halves {
    fn split_at_half(self) -> (std::ops::Range<u32>, std::ops::Range<u32>);
}

impl Halves for std::ops::Range<u32> {
    fn split_at_half(self) -> (Self, Self) {
        let middle = self.start + (self.end - self.start) / 2;
        (self.start..middle, middle..self.end)
    }
}

#[tokio::test]
async fn a_slow_reader_holds_no_more_than_its_prefetch() {
    let cluster = FakeCluster::start(1);
    cluster.create_topic("t", 1);
    let client = cluster.client().await;
    let producer = client
        .producer("t")
        .batch_bytes(64 << 10)
        .build()
        .await
        .unwrap();
    let value = vec![7; 60 << 10];
    let count = 500;
    for _ in 0..count {
        drop(producer.send(&value[..]).await.unwrap());
    }
    patiently(producer.flush()).await.unwrap();
    let prefetch = 1 << 20;
    let consumer = client
        .consumer("t")
        .until(Until::Latest)
        .prefetch_bytes(prefetch);
    let mut consumer = consumer.build().await.unwrap();
    next(&mut consumer).await;
    // While many other calls come and go, the broker has all the time to send more.
    for _ in 0..500 {
        patiently(client.brokers()).await.unwrap();
    }
    let sent = cluster
        .shared
        .counters
        .subscription_bytes
        .load(Ordering::SeqCst);
    // Beside the window there are the broker's own send buffer and a message at either end.
    assert!(
        sent < 4 << 20,
        "{sent} bytes were sent to a reader that does not read"
    );
    for _ in 1..count {
        next(&mut consumer).await;
    }
    assert!(patiently(consumer.next()).await.is_none());
}

#[tokio::test]
async fn an_offset_that_cannot_be_read_ends_its_partition_with_the_range() {
    let cluster = FakeCluster::start(1);
    cluster.create_topic("t", 2);
    let client = cluster.client().await;
    write(&client, 0..10, Codec::None).await;
    let start = Start::Offsets([(P0, Offset(77))].into());
    let consumer = client.consumer("t").start(start).until(Until::Offsets(
        [(P0, Offset(99)), (PartitionIndex(1), Offset(5))].into(),
    ));
    let consumer = consumer.build().await.unwrap();
    let results: Vec<_> = patiently(consumer.collect::<Vec<_>>()).await;
    let (good, bad): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert_eq!(good.len(), 5, "the other partition is read to its end");
    let error = bad.into_iter().next().unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(Reason::OffsetOutOfRange));
    let range = error.offset_range().unwrap();
    assert_eq!((range.offset, range.high_watermark), (77, 5));
}

#[tokio::test]
async fn a_consumer_begins_and_ends_where_it_is_told() {
    let cluster = FakeCluster::start(1);
    cluster.create_topic("t", 1);
    let client = cluster.client().await;
    write(&client, 0..100, Codec::None).await;
    let until_50 = Until::Offsets([(P0, Offset(50))].into());
    for (start, until, expected) in [
        (Start::LastN(3), Until::Latest, 97..100),
        (Start::LastN(1000), Until::Latest, 0..100),
        (Start::Offset(Offset(42)), until_50.clone(), 42..50),
        (Start::Earliest, until_50, 0..50),
        (Start::Latest, Until::Latest, 0..0),
        (Start::Offset(Offset(100)), Until::Latest, 0..0),
    ] {
        let builder = client.consumer("t").start(start.clone()).until(until);
        let consumer = builder.build().await.unwrap();
        let records: Vec<_> = patiently(consumer.collect::<Vec<_>>()).await;
        let values = records.into_iter().map(|record| value(&record.unwrap()));
        assert!(values.eq(expected), "{start:?}");
    }
}

#[tokio::test]
async fn batches_and_records_may_be_taken_in_turn() {
    let cluster = FakeCluster::start(1);
    cluster.create_topic("t", 1);
    let client = cluster.client().await;
    write(&client, 0..100, Codec::None).await;
    let consumer = client
        .consumer("t")
        .start(Start::Offset(Offset(3)))
        .until(Until::Latest);
    let mut consumer = consumer.build().await.unwrap();
    assert_eq!(next(&mut consumer).await.offset(), Offset(3));
    assert_eq!(consumer.progress()[&P0].next_offset, Offset(4));
    let mut at = Offset(4);
    while let Some(batch) = patiently(consumer.next_batch()).await {
        let batch = batch.unwrap();
        assert_eq!(batch.first_offset(), at);
        let offsets = batch
            .records()
            .unwrap()
            .map(|record| record.unwrap().offset().0);
        assert!(offsets.eq(at.0..batch.next_offset().0));
        at = batch.next_offset();
    }
    assert_eq!(at, Offset(100));
    let progress = consumer.progress()[&P0];
    assert_eq!((progress.next_offset, progress.high_watermark), (at, at));
}

#[tokio::test]
async fn damaged_data_is_never_handed_out() {
    let cluster = FakeCluster::start(1);
    cluster.create_topic("t", 1);
    let client = cluster.client().await;
    write(&client, 0..1, Codec::None).await;
    write(&client, 1..2, Codec::None).await;
    {
        let mut state = cluster.shared.state();
        let stored = &mut state.partition("t", 0).unwrap().log[1];
        let mut bytes = stored.bytes.to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        stored.bytes = bytes.into();
    }
    let mut consumer = client.consumer("t").build().await.unwrap();
    assert_eq!(value(&next(&mut consumer).await), 0);
    let error = patiently(consumer.next()).await.unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(Reason::CorruptData));
    let corrupt = error.corrupt_data().unwrap();
    assert_eq!((corrupt.offset, corrupt.next_offset), (1, None));
    assert!(patiently(consumer.next()).await.is_none());
}

#[tokio::test]
async fn a_codec_that_this_version_does_not_know_is_an_error_that_says_where_to_go_on() {
    let cluster = FakeCluster::start(1);
    cluster.create_topic("t", 1);
    let client = cluster.client().await;
    for values in [0..1, 1..4, 4..5] {
        write(&client, values, Codec::None).await;
    }
    {
        // What a later version may have let in: the second batch has a codec of number 5.
        const CRC: usize = 17;
        const ATTRIBUTES: usize = 21;
        let mut state = cluster.shared.state();
        let stored = &mut state.partition("t", 0).unwrap().log[1];
        let mut bytes = stored.bytes.to_vec();
        bytes[ATTRIBUTES + 1] = 5;
        let crc = crc_fast::crc32_iscsi(&bytes[ATTRIBUTES..]);
        bytes[CRC..ATTRIBUTES].copy_from_slice(&crc.to_be_bytes());
        stored.bytes = bytes.into();
    }
    let mut consumer = client.consumer("t").build().await.unwrap();
    assert_eq!(value(&next(&mut consumer).await), 0);
    let error = patiently(consumer.next()).await.unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(Reason::CorruptData));
    assert_eq!(error.outcome(), Outcome::Refused);
    assert!(error.message().contains("the codec is 5"), "{error}");
    let goes_on = "the next one begins at 4";
    assert!(error.message().contains(goes_on), "{error}");
    let corrupt = error.corrupt_data().unwrap().clone();
    assert_eq!((corrupt.offset, corrupt.next_offset), (1, Some(4)));
    assert!(patiently(consumer.next()).await.is_none());
    assert_eq!(consumer.progress()[&P0].next_offset, Offset(1));
    let on = Start::Offset(Offset(4));
    assert_eq!(consumer.seek(P0, on).await.unwrap(), Offset(4));
    assert_eq!(value(&next(&mut consumer).await), 4);

    // Whoever only passes batches on gets its bytes.
    let back = Start::Offset(Offset(1));
    consumer.seek(P0, back).await.unwrap();
    let batch = patiently(consumer.next_batch()).await.unwrap().unwrap();
    assert_eq!(
        (batch.first_offset(), batch.next_offset()),
        (Offset(1), Offset(4))
    );
    let error = batch.records().unwrap_err();
    assert_eq!(error.corrupt_data(), Some(&corrupt));
    assert_eq!(value(&next(&mut consumer).await), 4);
}

#[tokio::test]
async fn a_topic_that_was_created_anew_is_not_taken_for_the_old_one() {
    let cluster = FakeCluster::start(1);
    cluster.create_topic("t", 1);
    let client = cluster.client().await;
    let mut consumer = client.consumer("t").build().await.unwrap();
    cluster.create_topic("t", 1);
    let error = patiently(consumer.next()).await.unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(Reason::TopicIdMismatch));
}

#[tokio::test]
async fn a_leader_that_has_yet_to_learn_of_the_topic_is_asked_again() {
    let cluster = FakeCluster::start(1);
    cluster.create_topic("t", 1);
    let client = cluster.client().await;
    write(&client, 0..10, Codec::None).await;
    let consumer = client.consumer("t").until(Until::Latest);
    cluster.faults(|faults| faults.ignorance = 3);
    let mut consumer = consumer.build().await.unwrap();
    cluster.faults(|faults| faults.ignorance = 3);
    for i in 0..10 {
        assert_eq!(value(&next(&mut consumer).await), i);
    }
}

#[tokio::test]
async fn partitions_that_do_not_exist_are_refused() {
    let cluster = FakeCluster::start(1);
    cluster.create_topic("t", 2);
    let client = cluster.client().await;
    let builder = client.consumer("t").partitions([P0, PartitionIndex(2)]);
    let error = builder.build().await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::PartitionNotFound));
    let error = client.consumer("nope").build().await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::TopicNotFound));
}

#[tokio::test]
async fn one_broker_serves_more_partitions_than_it_takes_streams_of_a_connection() {
    const PARTITIONS: u32 = 1100;
    let cluster = FakeCluster::start(1);
    cluster.create_topic("t", PARTITIONS);
    let client = cluster.client().await;
    write(&client, 0..PARTITIONS, Codec::None).await;
    let mut consumer = client.consumer("t").build().await.unwrap();
    let mut values = Vec::new();
    for _ in 0..PARTITIONS {
        values.push(value(&next(&mut consumer).await));
    }
    values.sort_unstable();
    assert!(values.into_iter().eq(0..PARTITIONS));
}
