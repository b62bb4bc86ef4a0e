//! When batches go: how many of a partition at a time, and how long they gather.

use super::*;

/// Twenty batches to each of two partitions while no ack comes: so many go, and no more at any time
/// until all are there.
async fn never_more_than(most: usize) {
    let cluster = FakeCluster::start(1);
    cluster.create_topic("t", 3);
    cluster.faults(|faults| faults.hold_acks = true);
    let client = cluster.client().await;
    // Every record has a batch of its own.
    let builder = producer(&client).max_in_flight(most).batch_bytes(1);
    let producer = builder.build().await.unwrap();
    for i in 0..20_u32 {
        for partition in [0, 1].map(PartitionIndex) {
            let record = Record::new(i.to_string()).partition(partition);
            drop(patiently(producer.send(record)).await.unwrap());
        }
    }
    // When this one is there, the sender has looked at the others, and what it sent is there, too.
    let last = Record::new("last").partition(PartitionIndex(2));
    drop(patiently(producer.send(last)).await.unwrap());
    let all = |state: &mut fake::State| {
        let batches = [0, 1, 2].map(|p| state.partition("t", p).unwrap().log.len());
        assert!(batches[0] <= most && batches[1] <= most, "{batches:?}");
        batches == [most, most, 1]
    };
    cluster.wait_until("what may go has gone", all).await;
    assert_eq!(cluster.shared.count(|c| &c.most_unanswered), most);

    cluster.faults(|faults| faults.hold_acks = false);
    patiently(producer.flush()).await.unwrap();
    assert_eq!(cluster.shared.count(|c| &c.most_unanswered), most);
    for partition in [0, 1].map(PartitionIndex) {
        let values: Vec<String> = (0..20).map(|i| i.to_string()).collect();
        assert_eq!(cluster.values("t", partition), values);
    }
}

#[tokio::test]
async fn so_many_batches_of_a_partition_are_on_their_way_as_the_builder_says() {
    for most in [1, 2, 5] {
        never_more_than(most).await;
    }
}

#[tokio::test]
async fn a_batch_that_lingers_goes_when_its_time_has_come_and_not_before() {
    let cluster = FakeCluster::start(1);
    cluster.create_topic("t", 1);
    let client = cluster.client().await;
    let linger = Duration::from_millis(200);
    let producer = producer(&client).linger(linger).build().await.unwrap();
    let before = Instant::now();
    let delivery = producer.send("a").await.unwrap();
    let there = |state: &mut fake::State| state.partition("t", 0).unwrap().next_offset == 1;
    cluster.wait_until("the batch is appended", there).await;
    assert!(before.elapsed() >= linger, "{:?}", before.elapsed());
    patiently(delivery).await.unwrap();
}

#[tokio::test]
async fn while_one_partition_lingers_a_full_batch_of_another_goes() {
    let cluster = FakeCluster::start(1);
    cluster.create_topic("t", 2);
    let client = cluster.client().await;
    let builder = producer(&client).linger(Duration::from_secs(3600));
    let producer = builder.batch_bytes(500).build().await.unwrap();
    for value in ["a", "b", "c"] {
        let record = Record::new(value).partition(P0);
        drop(patiently(producer.send(record)).await.unwrap());
    }
    // The second one fills the batch of the first.
    for _ in 0..2 {
        let record = Record::new(vec![b'x'; 400]).partition(PartitionIndex(1));
        drop(patiently(producer.send(record)).await.unwrap());
    }
    let full = |state: &mut fake::State| state.partition("t", 1).unwrap().next_offset == 1;
    cluster.wait_until("the full batch is appended", full).await;
    assert!(cluster.values("t", P0).is_empty());
    // A flush does not wait for the hour.
    patiently(producer.flush()).await.unwrap();
    assert_eq!(cluster.values("t", P0), ["a", "b", "c"]);
    let mut state = cluster.shared.state();
    assert_eq!(state.partition("t", 0).unwrap().log.len(), 1, "one batch");
}

#[tokio::test]
async fn what_lingers_goes_when_a_send_waits_for_its_space() {
    let cluster = FakeCluster::start(1);
    cluster.create_topic("t", 2);
    let client = cluster.client().await;
    let builder = producer(&client).linger(Duration::from_secs(3600));
    let producer = builder.buffer_bytes(1000).build().await.unwrap();
    for partition in [P0, PartitionIndex(1)] {
        let first = Record::new("opens the session").partition(partition);
        drop(patiently(producer.send(first)).await.unwrap());
    }
    patiently(producer.flush()).await.unwrap();
    let record = |partition| Record::new(vec![b'x'; 300]).partition(PartitionIndex(partition));
    for partition in [0, 1, 0, 1, 1, 0] {
        drop(patiently(producer.send(record(partition))).await.unwrap());
        if partition == 1 {
            // Now the sender knows that this lingers.
            patiently(client.brokers()).await.unwrap();
        }
    }
    let many = [0, 0, 1, 1, 0, 1].map(record);
    drop(patiently(producer.send_all(&many)).await.unwrap());
    // What has its space still lingers.
    assert!(producer.buffered_bytes() > 0);
    patiently(producer.flush()).await.unwrap();
    assert_eq!(cluster.values("t", P0).len(), 7);
    assert_eq!(cluster.values("t", PartitionIndex(1)).len(), 7);
}
