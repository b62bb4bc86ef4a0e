//! What a flush waits for and what it tells.

use super::*;

fn to(partition: u32) -> Record<'static> {
    Record::new("x").partition(PartitionIndex(partition))
}

/// A producer of whose partitions 1 and 2 every batch is refused. A flush waits for a record of
/// partition 0, whose acknowledgement is held.
async fn held(cluster: &FakeCluster) -> Producer {
    cluster.create_topic("t", 3);
    cluster.faults(|faults| {
        faults.hold_acks = true;
        faults.refuse_at = [(1, Reason::BadBatch), (2, Reason::Denied)].into();
    });
    let client = cluster.client().await;
    let producer = producer(&client).build().await.unwrap();
    drop(producer.send(to(0)).await.unwrap());
    producer
}

fn reason(flushed: Result<(), Error>) -> Option<Reason> {
    flushed.err().and_then(|error| error.reason())
}

#[tokio::test]
async fn a_flush_tells_what_failed_of_what_was_sent_after_the_one_before_began() {
    let cluster = FakeCluster::start(1);
    let producer = held(&cluster).await;
    drop(producer.send(to(1)).await.unwrap());
    let mut first = Box::pin(producer.flush());
    assert!(poll!(&mut first).is_pending());
    let second = producer.send(to(2)).await.unwrap();
    cluster.faults(|faults| faults.hold_acks = false);
    // Both have failed when the first flush looks.
    assert_eq!(
        reason(patiently(second).await.map(drop)),
        Some(Reason::Denied)
    );
    assert_eq!(reason(patiently(first).await), Some(Reason::BadBatch));
    assert_eq!(
        reason(patiently(producer.flush()).await),
        Some(Reason::Denied)
    );
    assert_eq!(reason(patiently(producer.flush()).await), None);
}

#[tokio::test]
async fn flushes_that_wait_for_the_same_failure_all_tell_it() {
    let cluster = FakeCluster::start(1);
    let producer = held(&cluster).await;
    drop(producer.send(to(1)).await.unwrap());
    let clone = producer.clone();
    let mut flushes = [Box::pin(producer.flush()), Box::pin(clone.flush())];
    for flush in &mut flushes {
        assert!(poll!(flush).is_pending());
    }
    cluster.faults(|faults| faults.hold_acks = false);
    for flush in flushes {
        assert_eq!(reason(patiently(flush).await), Some(Reason::BadBatch));
    }
    assert_eq!(reason(patiently(producer.flush()).await), None);
}

#[tokio::test]
async fn a_flush_that_is_dropped_leaves_the_failure_to_the_shutdown() {
    let cluster = FakeCluster::start(1);
    let producer = held(&cluster).await;
    drop(producer.send(to(1)).await.unwrap());
    let mut dropped = Box::pin(producer.flush());
    assert!(poll!(&mut dropped).is_pending());
    drop(dropped);
    cluster.faults(|faults| faults.hold_acks = false);
    let ended = patiently(producer.shutdown(PATIENCE)).await;
    assert_eq!(reason(ended), Some(Reason::BadBatch));
}

#[tokio::test]
async fn a_batch_that_is_too_large_fails_after_those_before_it() {
    let cluster = FakeCluster::start(1);
    cluster.create_topic("t", 2);
    cluster.faults(|faults| faults.hold_acks = true);
    let client = cluster.client().await;
    let producer = producer(&client).build().await.unwrap();
    let before = producer.send(to(0)).await.unwrap();
    let appended =
        |at| move |state: &mut fake::State| state.partition("t", at).unwrap().next_offset == 1;
    cluster.wait_until("it is appended", appended(0)).await;
    // The topic takes batches of 1 MiB, and the record has that without its batch's header.
    let large = Record::new(vec![0; 1 << 20]).partition(P0);
    let large = producer.send(large).await.unwrap();
    let mut flush = Box::pin(producer.flush());
    assert!(poll!(&mut flush).is_pending());
    // When this is appended, the sender has had the large one in hands.
    drop(producer.send(to(1)).await.unwrap());
    cluster.wait_until("another is appended", appended(1)).await;
    assert!(large.outcome().is_none());
    assert!(poll!(&mut flush).is_pending());
    cluster.faults(|faults| faults.hold_acks = false);
    assert_eq!(reason(patiently(flush).await), Some(Reason::BatchTooLarge));
    assert!(before.outcome().unwrap().is_ok());
    assert!(large.outcome().unwrap().is_err());
}
