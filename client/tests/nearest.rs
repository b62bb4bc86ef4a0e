//! A consumer that reads from the nearest replica, over a cluster of fakes.
#![allow(clippy::unwrap_used, reason = "tests")]

mod fake;

use std::time::Duration;

use fake::{FakeCluster, PATIENCE};
use highwater_client::{BrokerId, Consumer, PartitionIndex, Producer, ReadFrom};

const P0: PartitionIndex = PartitionIndex(0);
const NEAREST: (BrokerId, bool) = (BrokerId(2), true);
const LEADER: (BrokerId, bool) = (BrokerId(1), false);

async fn patiently<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("in time")
}

/// Writes one record more and reads it; gives who served it, and whether it follows.
async fn pass(producer: &Producer, consumer: &mut Consumer) -> (BrokerId, bool) {
    let next = consumer.progress()[&P0].next_offset;
    let delivery = producer.send("v").await.unwrap();
    assert_eq!(patiently(delivery).await.unwrap().offset, Some(next));
    let record = patiently(consumer.next()).await.unwrap().unwrap();
    assert_eq!(record.offset, next);
    let progress = consumer.progress()[&P0];
    (progress.broker.unwrap(), progress.follower)
}

/// Lets the clock of the client jump by 2 s so many times, which is less than what it waits for
/// the answer to a ping, and passes a record each time; gives who served them.
async fn later(
    producer: &Producer,
    consumer: &mut Consumer,
    jumps: usize,
) -> Vec<(BrokerId, bool)> {
    let mut served = Vec::new();
    for _ in 0..jumps {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(2)).await;
        tokio::time::resume();
        served.push(pass(producer, consumer).await);
    }
    served
}

#[tokio::test]
async fn a_consumer_returns_to_the_nearest_replica_30_s_after_it_was_away() {
    let cluster = FakeCluster::start(2);
    cluster.faults(|faults| faults.followers_serve = true);
    cluster.create_topic("t", 1);
    let client = cluster.client().await;
    let producer = client.producer("t").build().await.unwrap();
    let consumer = client.consumer("t").read_from(ReadFrom::Nearest);
    let mut consumer = consumer.build().await.unwrap();
    assert_eq!(pass(&producer, &mut consumer).await, NEAREST);

    cluster.faults(|faults| faults.away = Some(2));
    assert_eq!(pass(&producer, &mut consumer).await, LEADER);
    cluster.faults(|faults| faults.away = None);
    assert_eq!(later(&producer, &mut consumer, 14).await, [LEADER; 14]);
    let served = later(&producer, &mut consumer, 4).await;
    assert_eq!(served.last(), Some(&NEAREST), "{served:?}");

    // Away for longer: it is tried in vain after 30 s, and again after 30 more.
    cluster.faults(|faults| faults.away = Some(2));
    assert_eq!(later(&producer, &mut consumer, 20).await, [LEADER; 20]);
    cluster.faults(|faults| faults.away = None);
    assert_eq!(later(&producer, &mut consumer, 9).await, [LEADER; 9]);
    let served = later(&producer, &mut consumer, 5).await;
    assert_eq!(served.last(), Some(&NEAREST), "{served:?}");
    assert_eq!(later(&producer, &mut consumer, 20).await, [NEAREST; 20]);
}
