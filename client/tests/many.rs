//! Many records with one call: each is sent as if alone.
#![allow(clippy::unwrap_used, reason = "tests")]

mod fake;

use std::ops::Range;
use std::pin::pin;

use fake::{FakeCluster, PATIENCE};
use futures_util::poll;
use highwater_client::{Error, Offset, Outcome, PartitionIndex, Producer, Reason, Record};

const P0: PartitionIndex = PartitionIndex(0);

async fn patiently<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("in time")
}

fn numbered(numbers: Range<u32>) -> Vec<Record<'static>> {
    let records = numbers.map(|i| Record::new(i.to_string()).partition(P0));
    records.collect()
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|i| i.to_string()).collect()
}

/// A producer whose buffer is smaller than what it is to send.
async fn cramped(cluster: &FakeCluster) -> Producer {
    let client = cluster.client().await;
    let builder = client.producer("t").buffer_bytes(300);
    builder.build().await.unwrap()
}

#[tokio::test]
async fn every_record_is_there_once_in_order_and_where_its_delivery_says() {
    let cluster = FakeCluster::start(2);
    cluster.create_topic("t", 3);
    cluster.faults(|faults| faults.drop_session_one_in = Some(10));
    let client = cluster.client().await;
    let producer = client
        .producer("t")
        .batch_bytes(1000)
        .build()
        .await
        .unwrap();
    let partition = |i: u32| PartitionIndex(i / 7 % 3);
    let records = (0..10_000).map(|i| Record::new(i.to_string()).partition(partition(i)));
    let records: Vec<Record<'_>> = records.collect();
    let deliveries = patiently(producer.send_all(&records)).await.unwrap();
    assert_eq!(deliveries.len(), 10_000);
    patiently(deliveries.acknowledged()).await.unwrap();
    let logs = [0, 1, 2].map(|p| cluster.values("t", PartitionIndex(p)));
    for (delivery, i) in deliveries.into_iter().zip(0..) {
        assert_eq!(delivery.partition(), partition(i));
        let ack = patiently(delivery).await.unwrap();
        if let Some(Offset(offset)) = ack.offset {
            assert_eq!(
                logs[partition(i).0 as usize][offset as usize],
                i.to_string()
            );
        }
    }
    for (log, p) in logs.iter().zip(0..) {
        let expected = (0..10_000).filter(|i| partition(*i).0 == p);
        let expected: Vec<String> = expected.map(|i| i.to_string()).collect();
        assert_eq!(*log, expected);
    }
    assert_eq!(producer.buffered_bytes(), 0);
}

#[tokio::test]
async fn a_record_that_is_refused_ends_the_call_and_the_error_has_what_was_sent() {
    let cluster = FakeCluster::start(1);
    cluster.create_topic("t", 1);
    let client = cluster.client().await;
    let producer = client.producer("t").build().await.unwrap();
    let elsewhere = Record::new("x").partition(PartitionIndex(9));
    let large = Record::new(vec![0; 8 << 20]).partition(P0);
    let mut log = 0;
    // Found after some are in their batch, and before any of those it would go with is.
    for (refused, why, before) in [
        (elsewhere.clone(), Reason::PartitionNotFound, 100),
        (large, Reason::BatchTooLarge, 150),
        (elsewhere, Reason::PartitionNotFound, 0),
    ] {
        let next = numbered(log..log + before);
        let records = [next, vec![refused], numbered(0..5)].concat();
        let failed = patiently(producer.send_all(&records)).await.unwrap_err();
        assert_eq!(failed.error.reason(), Some(why));
        assert_eq!(failed.sent.len() as u32, before, "{failed}");
        for delivery in failed.sent {
            let ack = patiently(delivery).await.unwrap();
            assert_eq!(ack.offset, Some(Offset(log.into())));
            log += 1;
        }
    }
    assert_eq!(cluster.values("t", P0), numbers(250));
    assert_eq!(producer.buffered_bytes(), 0);
}

#[tokio::test]
async fn a_call_that_waits_for_space_when_the_producer_ends_has_what_was_sent() {
    let cluster = FakeCluster::start(1);
    cluster.create_topic("t", 1);
    cluster.faults(|faults| faults.hold_acks = true);
    let producer = cramped(&cluster).await;
    let records = numbered(0..500);
    let mut call = pin!(producer.send_all(&records));
    assert!(poll!(&mut call).is_pending(), "the buffer is full");
    let mut end = pin!(producer.shutdown(PATIENCE));
    assert!(poll!(&mut end).is_pending());
    let failed = patiently(call).await.unwrap_err();
    let sent = failed.sent.len();
    assert!(sent > 0 && sent < 500, "{failed}");
    // For those who only pass errors on.
    let error = Error::from(failed);
    assert_eq!(error.outcome(), Outcome::Refused, "{error}");
    cluster.faults(|faults| faults.hold_acks = false);
    patiently(end).await.unwrap();
    assert_eq!(cluster.values("t", P0), numbers(sent));
}

#[tokio::test]
async fn a_buffer_smaller_than_the_records_holds_no_more_than_its_bytes() {
    let cluster = FakeCluster::start(1);
    cluster.create_topic("t", 1);
    let producer = cramped(&cluster).await;
    let deliveries = patiently(producer.send_all(&numbered(0..500)))
        .await
        .unwrap();
    assert!(producer.buffered_bytes() <= 300);
    patiently(deliveries.acknowledged()).await.unwrap();
    assert_eq!(cluster.values("t", P0), numbers(500));
}

#[tokio::test]
async fn a_call_that_is_dropped_has_sent_the_records_up_to_some_one() {
    let cluster = FakeCluster::start(1);
    cluster.create_topic("t", 1);
    cluster.faults(|faults| faults.hold_acks = true);
    let producer = cramped(&cluster).await;
    {
        let records = numbered(0..500);
        let mut call = pin!(producer.send_all(&records));
        assert!(poll!(&mut call).is_pending(), "the buffer is full");
    }
    assert!(producer.buffered_bytes() > 0);
    cluster.faults(|faults| faults.hold_acks = false);
    patiently(producer.flush()).await.unwrap();
    let log = cluster.values("t", P0);
    assert!(!log.is_empty() && log.len() < 500);
    assert_eq!(log, numbers(log.len()));
    assert_eq!(producer.buffered_bytes(), 0);
}

#[tokio::test]
async fn no_records_are_no_deliveries() {
    let cluster = FakeCluster::start(1);
    cluster.create_topic("t", 1);
    let client = cluster.client().await;
    let producer = client.producer("t").build().await.unwrap();
    let deliveries = patiently(producer.send_all(&[])).await.unwrap();
    assert!(deliveries.is_empty());
    patiently(deliveries.acknowledged()).await.unwrap();
    assert_eq!(deliveries.into_iter().count(), 0);
}
