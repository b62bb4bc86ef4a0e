//! The client library against real brokers that are killed under it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use highwater_client::{Client, NewTopic, PartitionIndex, Record};
use highwater_tests::{Cluster, program};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::time::timeout;

const PARTITIONS: u32 = 4;
const RECORDS: u32 = 40_000;
const PATIENCE: Duration = Duration::from_secs(120);

/// Sends numbered records round the partitions and counts those that are acknowledged.
async fn produce(client: Client, acknowledged: watch::Sender<u32>) {
    let producer = client
        .producer("t")
        .buffer_bytes(64 << 10)
        .build()
        .await
        .unwrap();
    let (to_await, mut deliveries) = tokio::sync::mpsc::unbounded_channel();
    let counting = tokio::spawn(async move {
        while let Some(delivery) = deliveries.recv().await {
            let delivery: highwater_client::Delivery = delivery;
            delivery.await.unwrap();
            acknowledged.send_modify(|count| *count += 1);
        }
    });
    for i in 0..RECORDS {
        let record = Record::new(i.to_string()).partition(PartitionIndex(i % PARTITIONS));
        to_await.send(producer.send(record).await.unwrap()).unwrap();
    }
    drop(to_await);
    counting.await.unwrap();
}

/// Reads all records as they come: each partition's numbers follow one another.
async fn consume(client: Client) {
    let mut consumer = client.consumer("t").build().await.unwrap();
    let mut next: Vec<u32> = (0..PARTITIONS).collect();
    for _ in 0..RECORDS {
        let record = consumer.next().await.unwrap().unwrap();
        let expected = &mut next[record.partition().0 as usize];
        assert_eq!(
            record.value_bytes().unwrap(),
            expected.to_string(),
            "{}",
            record.partition()
        );
        assert_eq!(record.offset().0, u64::from(*expected / PARTITIONS));
        *expected += PARTITIONS;
    }
}

#[test]
fn records_are_written_and_read_once_and_in_order_while_each_broker_is_killed_in_turn() {
    let mut cluster = Cluster::start(&program!(), 3);
    let runtime = Runtime::new().unwrap();
    let client = runtime.block_on(async {
        let client = Client::connect(cluster.addresses()).await.unwrap();
        let topic = NewTopic::new("t").partitions(PARTITIONS).replication(3);
        client.create_topic(topic).await.unwrap();
        client
    });
    let (acknowledged, mut progress) = watch::channel(0);
    let producing = runtime.spawn(produce(client.clone(), acknowledged));
    let consuming = runtime.spawn(consume(client));
    for broker in 0..3 {
        let share = RECORDS / 8 * (2 * broker as u32 + 1);
        let wait = progress.wait_for(|count| *count >= share);
        runtime.block_on(async { drop(timeout(PATIENCE, wait).await.unwrap().unwrap()) });
        cluster.brokers[broker].kill();
        // Records go on while it is down, and then it comes back.
        let wait = progress.wait_for(|count| *count >= share + RECORDS / 8);
        runtime.block_on(async { drop(timeout(PATIENCE, wait).await.unwrap().unwrap()) });
        cluster.brokers[broker].restart();
        cluster.until_healthy();
    }
    runtime.block_on(async {
        timeout(PATIENCE, producing).await.unwrap().unwrap();
        timeout(PATIENCE, consuming).await.unwrap().unwrap();
    });
}
