//! A consumer that reads from the nearest replica, over a cluster of fakes.
#![allow(clippy::unwrap_used, reason = "tests")]

mod fake;

use std::time::Duration;

use fake::{FakeCluster, PATIENCE};
use highwater_client::{BrokerId, Consumer, Freshness, PartitionIndex, Producer, ReadFrom, Record};
use tokio::time::Instant;

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
    assert_eq!(record.offset(), next);
    let progress = consumer.progress()[&P0];
    (progress.broker.unwrap(), progress.follower)
}

/// How far the clock of the client jumps: it waits 3 s for the answer to a ping, so that a dozen records
/// pass before one that is late on a busy machine counts as lost.
const JUMP: Duration = Duration::from_millis(250);

/// Lets that clock jump.
async fn jump() {
    tokio::time::pause();
    tokio::time::advance(JUMP).await;
    tokio::time::resume();
}

/// Passes records until the nearest replica serves one, with a jump before each until `at_last` after
/// `since`; gives how long after `since` that was.
async fn until_nearest(
    producer: &Producer,
    consumer: &mut Consumer,
    since: Instant,
    at_last: Duration,
) -> Duration {
    patiently(async {
        loop {
            if since.elapsed() < at_last {
                jump().await;
            }
            match pass(producer, consumer).await {
                NEAREST => return since.elapsed(),
                other => assert_eq!(other, LEADER),
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_consumer_returns_to_the_nearest_replica_30_s_after_it_was_away() {
    const AWAY: Duration = Duration::from_secs(30);
    /// What a look, an attempt and a jump may add.
    const MORE: Duration = Duration::from_secs(6);
    let cluster = FakeCluster::start(2);
    cluster.faults(|faults| faults.followers_serve = true);
    cluster.create_topic("t", 1);
    let client = cluster.client().await;
    let producer = client.producer("t").build().await.unwrap();
    let consumer = client.consumer("t").read_from(ReadFrom::Nearest);
    let mut consumer = consumer.build().await.unwrap();
    assert_eq!(pass(&producer, &mut consumer).await, NEAREST);

    let since = Instant::now();
    cluster.faults(|faults| faults.away = Some(2));
    assert_eq!(pass(&producer, &mut consumer).await, LEADER);
    cluster.faults(|faults| faults.away = None);
    let back = until_nearest(&producer, &mut consumer, since, AWAY + MORE).await;
    assert!(back >= AWAY, "{back:?}");

    // Away for longer: it is tried in vain after 30 s, and again after 30 more.
    let since = Instant::now();
    cluster.faults(|faults| faults.away = Some(2));
    while since.elapsed() < AWAY + MORE {
        jump().await;
        assert_eq!(pass(&producer, &mut consumer).await, LEADER);
    }
    let tried = since.elapsed();
    cluster.faults(|faults| faults.away = None);
    let back = until_nearest(&producer, &mut consumer, since, tried + AWAY + MORE).await;
    assert!(back >= 2 * AWAY, "{back:?}");
    let since = Instant::now();
    while since.elapsed() < AWAY + MORE {
        jump().await;
        assert_eq!(pass(&producer, &mut consumer).await, NEAREST);
    }
}

#[tokio::test]
async fn a_replica_that_cannot_make_sure_how_fresh_it_is_is_left_for_another_one() {
    let cluster = FakeCluster::start(2);
    cluster.faults(|faults| faults.followers_serve = true);
    cluster.create_topic("t", 1);
    let client = cluster.client().await;
    let producer = client.producer("t").build().await.unwrap();
    let consumer = client.consumer("t").read_from(ReadFrom::Nearest);
    let bounded = Freshness::Bounded(Duration::from_millis(500));
    let builder = consumer.freshness(bounded);
    let mut consumer = builder.clone().build().await.unwrap();
    assert_eq!(pass(&producer, &mut consumer).await, NEAREST);

    // In the middle of a subscription, and at the beginning of one.
    cluster.faults(|faults| faults.stale = Some(2));
    assert_eq!(pass(&producer, &mut consumer).await, LEADER);
    let mut other = builder.build().await.unwrap();
    for offset in 0..2 {
        let record = patiently(other.next()).await.unwrap().unwrap();
        assert_eq!(record.offset().0, offset);
    }
    assert_eq!(other.progress()[&P0].broker, Some(LEADER.0));

    // Where nobody can, it waits, and nothing that may be too old is handed out.
    let alone = FakeCluster::start(1);
    alone.create_topic("t", 1);
    alone.faults(|faults| faults.stale = Some(1));
    let client = alone.client().await;
    let producer = client.producer("t").build().await.unwrap();
    patiently(producer.send("v").await.unwrap()).await.unwrap();
    let mut consumer = client
        .consumer("t")
        .freshness(bounded)
        .build()
        .await
        .unwrap();
    let mut next = Box::pin(consumer.next());
    let waits = tokio::time::timeout(Duration::from_millis(100), &mut next).await;
    assert!(waits.is_err(), "{waits:?}");
    alone.faults(|faults| faults.stale = None);
    assert!(patiently(next).await.unwrap().is_ok());
}

#[tokio::test]
async fn a_replica_that_never_answers_a_subscription_is_left_for_another_one() {
    const P2: PartitionIndex = PartitionIndex(2);
    let cluster = FakeCluster::start(2);
    cluster.faults(|faults| {
        faults.followers_serve = true;
        faults.unanswered = Some((2, 0));
    });
    // The first broker leads both partitions that are read, so the other one is the nearest of both.
    cluster.create_topic("t", 3);
    let client = cluster.client().await;
    let producer = client.producer("t").build().await.unwrap();
    let write = async |partition| {
        let record = Record::new("v").partition(partition);
        patiently(producer.send(record).await.unwrap())
            .await
            .unwrap();
    };
    let builder = client.consumer("t").read_from(ReadFrom::Nearest);
    let mut consumer = builder.partitions([P0, P2]).build().await.unwrap();
    write(P0).await;
    // What comes over the same connection shows that it lives, however far the clock jumps.
    let reading = async {
        loop {
            write(P2).await;
            let record = consumer.next().await.unwrap().unwrap();
            if record.partition() == P0 {
                break;
            }
            jump().await;
        }
    };
    // The jumps count, too.
    let read = tokio::time::timeout(4 * PATIENCE, reading).await;
    read.expect("another replica answers");
}
