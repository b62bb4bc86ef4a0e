//! The producer against brokers that drop sessions, move leaders, hold acks and die.

mod fake;

use std::time::Duration;

use fake::{FakeCluster, PATIENCE};
use futures_util::poll;
use highwater_client::{
    Ack, Client, Delivery, Error, Offset, Outcome, PartitionIndex, Producer, Reason, Record,
};

const P0: PartitionIndex = PartitionIndex(0);

async fn patiently<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("in time")
}

/// Sends `count` numbered records round the partitions, while `trouble` is called with the number
/// of each; then checks that each is in the log once, in order, and where its ack says.
async fn send_all(
    cluster: &mut FakeCluster,
    client: &Client,
    partitions: u32,
    count: u32,
    mut trouble: impl FnMut(&mut FakeCluster, u32),
) {
    let producer = client
        .producer("t")
        .batch_bytes(4096)
        .build()
        .await
        .unwrap();
    let mut deliveries: Vec<Delivery> = Vec::new();
    for i in 0..count {
        trouble(cluster, i);
        let partition = PartitionIndex(i % partitions);
        let record = Record::new(i.to_string()).partition(partition);
        deliveries.push(patiently(producer.send(record)).await.unwrap());
        if i % 64 == 0 {
            tokio::task::yield_now().await;
        }
    }
    patiently(producer.flush()).await.unwrap();
    let logs: Vec<Vec<String>> = (0..partitions)
        .map(|p| cluster.values("t", PartitionIndex(p)))
        .collect();
    for (p, log) in (0..partitions).zip(&logs) {
        let expected = (p..count).step_by(partitions as usize);
        assert!(
            log.iter().cloned().eq(expected.map(|i| i.to_string())),
            "partition {p}"
        );
    }
    for (i, delivery) in deliveries.into_iter().enumerate() {
        let ack = delivery.await.unwrap();
        let log = &logs[ack.partition.0 as usize];
        if let Some(offset) = ack.offset {
            assert_eq!(log[offset.0 as usize], i.to_string());
        }
    }
}

#[tokio::test]
async fn a_hundred_thousand_records_are_written_once_and_in_order_over_broken_sessions() {
    let mut cluster = FakeCluster::start(2);
    cluster.create_topic("t", 4);
    let client = cluster.client().await;
    cluster.faults(|faults| faults.drop_session_one_in = Some(12));
    send_all(&mut cluster, &client, 4, 100_000, |_, _| {}).await;
    let shared = &cluster.shared;
    assert!(shared.count(|c| &c.sessions) > 4, "sessions were dropped");
    assert!(shared.count(|c| &c.duplicates) > 0, "batches came twice");
}
