//! Futures of the producer that are dropped at any point: nothing half done stays behind.
#![allow(clippy::unwrap_used, reason = "tests")]

mod dropped;
mod fake;

use std::pin::pin;

use dropped::up_to;
use fake::{FakeCluster, PATIENCE};
use futures_util::poll;
use highwater_client::{PartitionIndex, Position, Reason, Record, Start};

const P0: PartitionIndex = PartitionIndex(0);

async fn patiently<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("in time")
}

#[tokio::test]
async fn a_send_that_did_not_return_has_sent_nothing() {
    let cluster = FakeCluster::start(1);
    cluster.create_topic("t", 1);
    cluster.faults(|faults| faults.hold_acks = true);
    let client = cluster.client().await;
    let builder = client.producer("t").buffer_bytes(200);
    let producer = builder.build().await.unwrap();
    let mut sent = 0;
    while producer.try_send(format!("sent {sent}")).is_ok() {
        sent += 1;
    }
    let full = producer.buffered_bytes();
    for polls in 0..5 {
        let mut send = pin!(producer.send(format!("dropped {polls}")));
        for _ in 0..polls {
            assert!(poll!(&mut send).is_pending(), "there is no room");
        }
    }
    assert_eq!(producer.buffered_bytes(), full);
    cluster.faults(|faults| faults.hold_acks = false);
    // One that waits behind those that were dropped is let in.
    drop(patiently(producer.send("last")).await.unwrap());
    patiently(producer.flush()).await.unwrap();
    assert_eq!(producer.buffered_bytes(), 0);
    let mut expected: Vec<String> = (0..sent).map(|i| format!("sent {i}")).collect();
    expected.push("last".to_owned());
    assert_eq!(cluster.values("t", P0), expected);
}

#[tokio::test]
async fn a_send_with_room_is_sent_exactly_if_it_returned() {
    let cluster = FakeCluster::start(1);
    cluster.create_topic("t", 1);
    let client = cluster.client().await;
    let producer = client.producer("t").build().await.unwrap();
    let mut expected = Vec::new();
    for number in 0..1000 {
        let value = number.to_string();
        if up_to(number % 3, producer.send(&*value)).await.is_some() {
            expected.push(value);
        }
    }
    patiently(producer.flush()).await.unwrap();
    assert!(!expected.is_empty() && expected.len() < 1000);
    assert_eq!(cluster.values("t", P0), expected);
}

#[tokio::test]
async fn deliveries_and_flushes_may_be_dropped_at_any_point() {
    let cluster = FakeCluster::start(1);
    cluster.create_topic("t", 1);
    let client = cluster.client().await;
    let producer = client.producer("t").build().await.unwrap();
    let mut expected = Vec::new();
    for polls in 0..20 {
        cluster.faults(|faults| faults.hold_acks = true);
        let delivery = producer.send(format!("{polls} a")).await.unwrap();
        let kept = producer.send(format!("{polls} b")).await.unwrap();
        let many = [Record::new(format!("{polls} c"))];
        let many = producer.send_all(&many).await.unwrap();
        for polls in 0..polls {
            let mut flush = pin!(producer.flush());
            for _ in 0..polls {
                assert!(poll!(&mut flush).is_pending());
            }
        }
        let mut delivery = Box::pin(delivery);
        for _ in 0..polls {
            assert!(poll!(&mut delivery).is_pending());
        }
        drop(delivery);
        {
            let mut acknowledged = pin!(many.acknowledged());
            for _ in 0..polls {
                assert!(poll!(&mut acknowledged).is_pending());
            }
        }
        cluster.faults(|faults| faults.hold_acks = false);
        up_to(polls, producer.flush()).await;
        patiently(kept).await.unwrap();
        patiently(many.acknowledged()).await.unwrap();
        expected.extend(["a", "b", "c"].map(|name| format!("{polls} {name}")));
    }
    patiently(producer.flush()).await.unwrap();
    assert_eq!(cluster.values("t", P0), expected);
}

#[tokio::test]
async fn a_shutdown_that_is_dropped_delivers_all_the_same() {
    let cluster = FakeCluster::start(1);
    let client = cluster.client().await;
    for polls in 0..6 {
        let topic = format!("t{polls}");
        cluster.create_topic(&topic, 1);
        cluster.faults(|faults| faults.hold_acks = true);
        let producer = client.producer(&*topic).build().await.unwrap();
        let delivery = producer.send("a").await.unwrap();
        {
            let mut shutdown = pin!(producer.shutdown(PATIENCE));
            for _ in 0..polls {
                assert!(poll!(&mut shutdown).is_pending());
            }
        }
        cluster.faults(|faults| faults.hold_acks = false);
        patiently(delivery).await.unwrap();
        // One that was never polled has not begun.
        let later = producer.send("b").await.map_err(|error| error.reason());
        match polls {
            0 => drop(patiently(later.unwrap()).await.unwrap()),
            _ => assert_eq!(later.unwrap_err(), Some(Reason::NotReady)),
        }
        let expected = if polls == 0 {
            vec!["a", "b"]
        } else {
            vec!["a"]
        };
        assert_eq!(cluster.values(&topic, P0), expected);
    }
}

#[tokio::test]
async fn a_build_that_is_dropped_leaves_nothing_but_a_name_taken_over() {
    let cluster = FakeCluster::start(1);
    cluster.create_topic("t", 1);
    for name in [None, Some("writer")] {
        let mut expected = cluster.values("t", P0);
        let mut polls = 0;
        let producer = loop {
            // A client that knows nothing yet has the most to wait for.
            let client = cluster.client().await;
            let mut builder = client.producer("t");
            if let Some(name) = name {
                builder = builder.name(name);
            }
            if let Some(built) = up_to(polls, builder.build()).await {
                break built.unwrap();
            }
            polls += 1;
        };
        assert!(polls > 1, "it had to wait");
        assert_eq!(cluster.values("t", P0), expected);
        patiently(producer.send("a").await.unwrap()).await.unwrap();
        expected.push("a".to_owned());
        assert_eq!(cluster.values("t", P0), expected);
    }
}

#[tokio::test]
async fn a_question_that_is_not_polled_any_more_holds_up_nothing_else_of_its_client() {
    let cluster = FakeCluster::start(2);
    cluster.create_topic("t", 1);
    cluster.faults(|faults| faults.no_hints = true);
    let client = cluster.client().await;
    let ask = || client.list_offsets("t", P0, Position::Latest);
    let mut leaders = [2, 1].into_iter().cycle();
    for polls in 0.. {
        patiently(ask()).await.unwrap();
        cluster.lead("t", 0, leaders.next().unwrap());
        // Wherever it is in finding the new leader, it stays there.
        let mut left = pin!(ask());
        let answered = up_to(polls, &mut left).await;
        patiently(ask()).await.unwrap();
        if answered.is_some() {
            assert!(polls > 2, "it had to look for the leader");
            return;
        }
    }
}

#[tokio::test]
async fn a_consumer_that_is_not_read_any_more_holds_up_nothing_else_of_its_client() {
    let cluster = FakeCluster::start(2);
    cluster.create_topic("t", 1);
    cluster.faults(|faults| faults.no_hints = true);
    let (client, other) = (cluster.client().await, cluster.client().await);
    let producer = other.producer("t").build().await.unwrap();
    let mut leaders = [2, 1].into_iter().cycle();
    let mut change = || cluster.lead("t", 0, leaders.next().unwrap());
    for polls in 0.. {
        let consumer = client.consumer("t").start(Start::Latest);
        let mut consumer = consumer.build().await.unwrap();
        // Wherever it is in finding the new leader, it stays there.
        change();
        patiently(producer.send("v").await.unwrap()).await.unwrap();
        let read = up_to(polls, consumer.next()).await;
        let found = patiently(client.list_offsets("t", P0, Position::Latest)).await;
        assert_eq!(found.unwrap().high_watermark.0, polls as u64 + 1);
        if read.is_some() {
            assert!(polls > 2, "it had to look for the leader");
            return;
        }
    }
}
