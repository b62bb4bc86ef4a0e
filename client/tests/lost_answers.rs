//! Answers that never come, on a session that goes on: how soon batches are sent again, by the
//! client's clock.
#![allow(clippy::unwrap_used, reason = "tests")]

mod fake;

use std::time::Duration;

use fake::{FakeCluster, PATIENCE};
use highwater_client::{Client, Offset, PartitionIndex, Producer};
use tokio::time::Instant;

const P0: PartitionIndex = PartitionIndex(0);
/// Without any later answer a batch is sent again after 3 s.
const SILENCE: Duration = Duration::from_secs(3);

async fn patiently<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("in time")
}

async fn started() -> (FakeCluster, Client, Producer) {
    let cluster = FakeCluster::start(1);
    cluster.create_topic("t", 1);
    let client = cluster.client().await;
    let builder = client.producer("t").linger(Duration::from_millis(1));
    let producer = builder.delivery_timeout(Duration::from_secs(15));
    let producer = producer.build().await.unwrap();
    patiently(producer.send("first").await.unwrap())
        .await
        .unwrap();
    (cluster, client, producer)
}

#[tokio::test]
async fn a_batch_without_an_answer_is_sent_again_after_3_s_of_silence() {
    let (cluster, client, producer) = started().await;
    cluster.faults(|faults| faults.swallow_next = 1);
    let delivery = producer.send("lost").await.unwrap();
    let swallowed = |state: &mut fake::State| state.faults.swallow_next == 0;
    cluster
        .wait_until("the answer is swallowed", swallowed)
        .await;
    for _ in 0..4 {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(1)).await;
        tokio::time::resume();
        // Meanwhile everything that is under way arrives.
        patiently(client.brokers()).await.unwrap();
    }
    let ack = patiently(delivery).await.unwrap();
    assert_eq!((ack.offset, ack.duplicate), (Some(Offset(1)), true));
    assert_eq!(cluster.values("t", P0), ["first", "lost"]);
}

#[tokio::test]
async fn a_batch_whose_answer_was_overtaken_is_sent_again_before_that() {
    let (cluster, _client, producer) = started().await;
    let mut written = 1;
    // On a machine that is busy some rounds may take longer.
    for _ in 0..5 {
        cluster.faults(|faults| faults.swallow_next = 1);
        let began = Instant::now();
        let lost = producer.send("lost").await.unwrap();
        let swallowed = |state: &mut fake::State| state.faults.swallow_next == 0;
        cluster
            .wait_until("the answer is swallowed", swallowed)
            .await;
        let later = producer.send("later").await.unwrap();
        let ack = patiently(lost).await.unwrap();
        assert_eq!((ack.offset, ack.duplicate), (Some(Offset(written)), true));
        let ack = patiently(later).await.unwrap();
        assert_eq!(ack.offset, Some(Offset(written + 1)));
        written += 2;
        if began.elapsed() < SILENCE {
            return;
        }
    }
    panic!("no round took less than {SILENCE:?}");
}

/// Sends three batches whose acks are held back, loses the one ack that they have, and looks what
/// becomes of them. False if some were sent again before that, as after 3 s.
async fn one_ack_of_three_is_lost() -> bool {
    let cluster = FakeCluster::start(1);
    cluster.create_topic("t", 1);
    let client = cluster.client().await;
    let producer = client.producer("t").linger(Duration::from_millis(1));
    let producer = producer.build().await.unwrap();
    cluster.faults(|faults| faults.hold_acks = true);
    let mut lost = Vec::new();
    for value in ["a", "b", "c"] {
        lost.push(producer.send(value).await.unwrap());
        let shared = &cluster.shared;
        let judged = |_: &mut fake::State| shared.count(|c| &c.judged) >= lost.len();
        cluster.wait_until("the batch is taken", judged).await;
    }
    cluster.faults(|faults| {
        faults.swallow_next = 1;
        faults.hold_acks = false;
    });
    let swallowed = |state: &mut fake::State| state.faults.swallow_next == 0;
    cluster.wait_until("the ack is swallowed", swallowed).await;
    let acks = cluster.shared.count(|c| &c.acks);
    let again = cluster.shared.count(|c| &c.duplicates);
    let undisturbed = cluster.shared.count(|c| &c.batches) == 3 && again == 0;
    if undisturbed {
        assert_eq!(acks, 0, "there was one for all");
    }
    let later = patiently(producer.send("d").await.unwrap()).await.unwrap();
    assert_eq!(later.offset, Some(Offset(3)));
    for (offset, delivery) in (0..).zip(lost) {
        let ack = patiently(delivery).await.unwrap();
        assert_eq!(ack.offset, Some(Offset(offset)));
        assert!(ack.duplicate || !undisturbed, "its first ack was lost");
    }
    assert_eq!(cluster.values("t", P0), ["a", "b", "c", "d"]);
    undisturbed
}

#[tokio::test]
async fn the_ack_of_several_batches_that_is_lost_alone_is_sent_for_again() {
    let undisturbed = async { while !one_ack_of_three_is_lost().await {} };
    patiently(undisturbed).await;
}
