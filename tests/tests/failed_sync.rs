//! A disk that cannot sync any more: nothing is acknowledged after that, the broker leaves at once,
//! and others lead what it led.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use futures_util::FutureExt;
use highwater_broker::testing::Broker;
use highwater_client::{Client, NewTopic, Record};
use highwater_tests::may_take;

const LIMIT: Duration = Duration::from_secs(60);
/// From the failed sync until the broker is to leave. What else the machine does can only add to it,
/// so the first of some rounds that keeps the limit is enough.
const LEAVES_WITHIN: Duration = may_take(Duration::from_secs(1), Duration::from_secs(5));
const ROUNDS: usize = 4;

/// Fails unless in one of some rounds the broker leaves in time.
async fn assert_leaves_in_time(round: impl AsyncFn() -> Duration) {
    let mut took = Vec::new();
    while took.iter().all(|took| *took >= LEAVES_WITHIN) {
        assert!(took.len() < ROUNDS, "it went on for {took:?}");
        took.push(round().await);
    }
}

async fn values(client: &Client, count: usize) -> Vec<String> {
    let mut consumer = client.consumer("t").build().await.unwrap();
    let mut values = Vec::new();
    while values.len() < count {
        let record = consumer.next().await.unwrap().unwrap();
        values.push(String::from_utf8(record.value().unwrap().to_vec()).unwrap());
    }
    values
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_failed_sync_nothing_is_acknowledged_and_the_broker_leaves() {
    assert_leaves_in_time(fails_alone).await;
}

/// One broker whose sync fails; gives how long it went on.
async fn fails_alone() -> Duration {
    let mut broker = Broker::start().await.unwrap();
    let client = Client::connect(broker.address()).await.unwrap();
    client.create_topic(NewTopic::new("t")).await.unwrap();
    let producer = client.producer("t").build().await.unwrap();
    let send = async |value: &'static str| producer.send(Record::new(value)).await.unwrap();
    send("before").await.await.unwrap();

    broker.fail_syncs(true);
    let began = Instant::now();
    let mut ack = send("after").await;
    let why = tokio::time::timeout(LIMIT, broker.failed()).await.unwrap();
    let took = began.elapsed();
    assert!(why.contains("syncs were made to fail"), "{why}");
    // The program exits now. What was not synced is lost with the page cache.
    broker.kill().await;
    assert!(
        (&mut ack).now_or_never().is_none(),
        "an ack after a failed sync"
    );
    broker.fail_syncs(false);
    broker.cut_power(7).await;
    broker.restart().await.unwrap();
    tokio::time::timeout(LIMIT, ack).await.unwrap().unwrap();
    assert_eq!(values(&client, 2).await, ["before", "after"]);
    took
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_lead_what_a_broker_led_whose_sync_failed() {
    assert_leaves_in_time(fails_among_three).await;
}

/// The broker that leads; asks again while nobody does.
async fn leader(client: &Client) -> u32 {
    loop {
        let described = client.describe_topic("t").await.unwrap();
        if let Some(leader) = described.partitions[0].leader {
            return leader.0;
        }
    }
}

/// Three brokers, of which the sync of the leader's fails; gives how long that went on.
async fn fails_among_three() -> Duration {
    let first = Broker::start().await.unwrap();
    let second = first.start_beside().await.unwrap();
    let third = first.start_beside().await.unwrap();
    let mut brokers = [first, second, third];
    let client = Client::connect(brokers[0].address()).await.unwrap();
    client.create_topic(NewTopic::new("t")).await.unwrap();
    let producer = client.producer("t").build().await.unwrap();
    let send = async |value: &'static str| producer.send(Record::new(value)).await.unwrap();
    send("before").await.await.unwrap();

    let leader = tokio::time::timeout(LIMIT, leader(&client)).await.unwrap();
    let leader = brokers.iter().position(|b| b.id() == leader).unwrap();
    brokers[leader].fail_syncs(true);
    let began = Instant::now();
    let ack = send("after").await;
    tokio::time::timeout(LIMIT, brokers[leader].failed())
        .await
        .unwrap();
    let took = began.elapsed();
    brokers[leader].stop().await;
    tokio::time::timeout(LIMIT, ack).await.unwrap().unwrap();

    brokers[leader].fail_syncs(false);
    brokers[leader].cut_power(3).await;
    brokers[leader].restart().await.unwrap();
    assert_eq!(values(&client, 2).await, ["before", "after"]);
    took
}
