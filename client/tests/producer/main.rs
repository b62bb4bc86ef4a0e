//! The producer against brokers that drop sessions, move leaders, hold acks and die.
#![allow(clippy::unwrap_used, reason = "tests")]

mod endings;
#[path = "../fake/mod.rs"]
mod fake;
mod flushes;
mod leaders;
mod pace;
mod refusals;
mod spread;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use fake::{FakeCluster, PATIENCE};
use futures_util::poll;
use highwater_client::{
    Client, Codec, Delivery, Error, Offset, Outcome, PartitionIndex, Producer, ProducerBuilder,
    Reason, Record,
};

const P0: PartitionIndex = PartitionIndex(0);

async fn patiently<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("in time")
}

fn producer(client: &Client) -> ProducerBuilder {
    client.producer("t")
}

/// Sends `count` numbered records round the partitions, while `trouble` is called with the number
/// of each; then checks that each is in the log once, in order, and where its ack says.
async fn send_all(
    cluster: &mut FakeCluster,
    partitions: u32,
    count: u32,
    mut trouble: impl FnMut(&mut FakeCluster, u32),
) {
    let client = cluster.client().await;
    let producer = producer(&client).batch_bytes(4096).build().await.unwrap();
    let mut deliveries: Vec<Delivery> = Vec::new();
    for i in 0..count {
        trouble(cluster, i);
        let partition = PartitionIndex(i % partitions);
        let record = Record::new(i.to_string()).partition(partition);
        deliveries.push(patiently(producer.send(record)).await.unwrap());
    }
    patiently(producer.flush()).await.unwrap();
    let logs: Vec<Vec<String>> = (0..partitions)
        .map(|p| cluster.values("t", PartitionIndex(p)))
        .collect();
    for (p, log) in (0..partitions).zip(&logs) {
        let expected = (p..count).step_by(partitions as usize);
        let expected = expected.map(|i| i.to_string());
        assert!(log.iter().cloned().eq(expected), "partition {p}");
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
    cluster.faults(|faults| faults.drop_session_one_in = Some(12));
    send_all(&mut cluster, 4, 100_000, |_, _| {}).await;
    let shared = &cluster.shared;
    assert!(shared.count(|c| &c.sessions) > 4, "sessions were dropped");
    assert!(shared.count(|c| &c.duplicates) > 0, "batches came twice");
}

#[tokio::test]
async fn answers_that_never_come_cost_time_and_nothing_else() {
    let mut cluster = FakeCluster::start(2);
    cluster.create_topic("t", 4);
    // Each costs some seconds, maybe one after the other.
    let trouble = |cluster: &mut FakeCluster, i| {
        if i % 10_000 == 0 {
            cluster.faults(|faults| faults.swallow_next += 4);
        }
    };
    send_all(&mut cluster, 4, 20_000, trouble).await;
    assert!(
        cluster.shared.count(|c| &c.duplicates) > 0,
        "batches came twice"
    );
}

/// Sends while everything goes wrong by chance; gives the outcomes of what failed, none of which
/// claims more than the log shows.
async fn outcomes_of_a_run() -> BTreeSet<String> {
    let cluster = FakeCluster::start(2);
    cluster.create_topic("t", 3);
    cluster.faults(|faults| {
        faults.drop_session_one_in = Some(25);
        faults.refuse_one_in = Some(10);
        faults.unknown_one_in = Some(15);
    });
    let client = cluster.client().await;
    let builder = producer(&client)
        .batch_bytes(600)
        .linger(Duration::from_millis(1));
    let producer = builder.build().await.unwrap();
    let mut deliveries = Vec::new();
    for i in 0..10_000 {
        let record = Record::new(format!("{i:05}")).partition(PartitionIndex(i % 3));
        deliveries.push(patiently(producer.send(record)).await.unwrap());
    }
    // Some batch of so many was refused for good, and the flush says so.
    assert!(patiently(producer.flush()).await.is_err());
    let logs: Vec<Vec<String>> = (0..3)
        .map(|p| cluster.values("t", PartitionIndex(p)))
        .collect();
    for log in &logs {
        let once: BTreeSet<&String> = log.iter().collect();
        assert_eq!(once.len(), log.len(), "nothing is there twice");
        assert!(log.is_sorted(), "the order is that of sending");
    }
    let mut outcomes = BTreeSet::new();
    for (i, delivery) in deliveries.into_iter().enumerate() {
        let value = format!("{i:05}");
        let log = &logs[delivery.partition().0 as usize];
        match delivery.await {
            Ok(ack) => match ack.offset {
                Some(offset) => assert_eq!(log[offset.0 as usize], value),
                None => assert!(log.contains(&value)),
            },
            Err(error) => {
                outcomes.insert(format!("{:?}", error.outcome()));
                let unknown = error.outcome() == Outcome::Unknown;
                assert!(
                    unknown || !log.contains(&value),
                    "{value} is there: {error}"
                );
            }
        }
    }
    outcomes
}

#[tokio::test]
async fn no_outcome_claims_more_than_the_log_shows() {
    let mut outcomes = BTreeSet::new();
    // Which of the three there are in one run is chance.
    for _ in 0..50 {
        outcomes.append(&mut outcomes_of_a_run().await);
        if outcomes.len() == 3 {
            return;
        }
    }
    panic!("only {outcomes:?}");
}

#[tokio::test]
async fn batches_gather_while_others_are_on_their_way() {
    let cluster = FakeCluster::start(1);
    cluster.create_topic("t", 1);
    cluster.faults(|faults| faults.hold_acks = true);
    let client = cluster.client().await;
    let producer = producer(&client).codec(Codec::Lz4).build().await.unwrap();
    drop(producer.send("0").await.unwrap());
    let first = |state: &mut fake::State| state.partition("t", 0).unwrap().next_offset == 1;
    cluster
        .wait_until("the first batch is appended", first)
        .await;
    for i in 1..1000 {
        drop(producer.send(i.to_string()).await.unwrap());
    }
    cluster.faults(|faults| faults.hold_acks = false);
    patiently(producer.flush()).await.unwrap();
    assert_eq!(cluster.values("t", P0).len(), 1000);
    // A flush seals what is open, so there are two batches, and never one per record.
    let batches = cluster.shared.count(|c| &c.batches);
    assert!(batches <= 3, "{batches} batches");
}

#[tokio::test]
async fn a_session_never_has_more_on_its_way_than_the_broker_allows() {
    let mut cluster = FakeCluster::start(1);
    cluster.create_topic("t", 4);
    cluster.faults(|faults| faults.credit_bytes = Some(5000));
    send_all(&mut cluster, 4, 20_000, |_, _| {}).await;
    assert_eq!(cluster.shared.count(|c| &c.overruns), 0);
}

#[tokio::test]
async fn keys_choose_their_partition_and_other_records_visit_all() {
    let cluster = FakeCluster::start(1);
    cluster.create_topic("t", 4);
    let client = cluster.client().await;
    let producer = producer(&client).batch_bytes(500).build().await.unwrap();
    for key in ["21", "foobar", "abc"] {
        let mut partitions = BTreeSet::new();
        for _ in 0..3 {
            let record = Record::new("v").key(key);
            partitions.insert(producer.send(record).await.unwrap().partition());
        }
        assert_eq!(partitions.len(), 1, "{key}");
    }
    let mut visited = BTreeSet::new();
    for _ in 0..100 {
        visited.insert(producer.send("v").await.unwrap().partition());
    }
    assert_eq!(visited.len(), 4);
}
