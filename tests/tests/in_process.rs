//! Brokers inside the test's own process: fast to start, many at a time, gone when dropped, and as
//! careful with what they acknowledged as any other.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::time::Duration;

use highwater_broker::testing::Broker;
use highwater_client::{Client, NewTopic, Record, Until};
use tokio::task::JoinSet;

const LIMIT: Duration = Duration::from_secs(60);

async fn with_topic(broker: &Broker) -> Client {
    let client = Client::connect(broker.address()).await.unwrap();
    client.create_topic(NewTopic::new("t")).await.unwrap();
    client
}

async fn produce(client: &Client, value: &str) {
    let producer = client.producer("t").build().await.unwrap();
    producer
        .send(Record::new(value))
        .await
        .unwrap()
        .await
        .unwrap();
}

/// The values of the topic, once there are as many.
async fn values(client: &Client, count: usize) -> Vec<String> {
    let mut consumer = client.consumer("t").build().await.unwrap();
    let mut values = Vec::new();
    while values.len() < count {
        let record = consumer.next().await.unwrap().unwrap();
        values.push(String::from_utf8(record.value().unwrap().to_vec()).unwrap());
    }
    values
}

/// The broker that leads the topic's first partition; asks again while nobody does.
async fn leader(client: &Client) -> u32 {
    let leader = async {
        loop {
            let described = client.describe_topic("t").await.unwrap();
            if let Some(leader) = described.partitions[0].leader {
                return leader.0;
            }
        }
    };
    tokio::time::timeout(LIMIT, leader).await.unwrap()
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_run_in_one_process_without_a_thread_of_their_own() {
    const BROKERS: usize = 200;
    // Beside six busy threads on two processors a minute is not enough.
    const ALL: Duration = Duration::from_secs(300);
    let before = threads();
    let mut running = JoinSet::new();
    for number in 0..BROKERS {
        running.spawn(async move {
            let broker = Broker::start().await.unwrap();
            let client = with_topic(&broker).await;
            let value = format!("of {number}");
            produce(&client, &value).await;
            // Nobody sees what another broker holds.
            assert_eq!(values(&client, 1).await, [value]);
            broker
        });
    }
    let brokers = tokio::time::timeout(ALL, running.join_all()).await.unwrap();
    let more = threads().saturating_sub(before);
    // The tests beside this one have some, too.
    assert!(more < BROKERS / 4, "{more} threads more than before");
    let addresses: BTreeSet<String> = brokers
        .iter()
        .flat_map(|broker| [broker.address(), broker.http_address()])
        .collect();
    assert_eq!(addresses.len(), 2 * BROKERS);
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_stop_a_kill_and_a_power_failure() {
    let mut broker = Broker::start().await.unwrap();
    let client = with_topic(&broker).await;
    let address = broker.address();
    produce(&client, "one").await;
    broker.restart().await.unwrap();
    assert_eq!(broker.address(), address);
    produce(&client, "two").await;
    broker.kill().await;
    broker.restart().await.unwrap();
    produce(&client, "three").await;
    for seed in 0..4 {
        broker.cut_power(seed).await;
        broker.restart().await.unwrap();
        assert_eq!(values(&client, 3).await, ["one", "two", "three"]);
    }
}

#[tokio::test]
async fn a_broker_that_is_stopped_or_dropped_takes_no_connection() {
    let mut broker = Broker::start().await.unwrap();
    let address = broker.address();
    broker.stop().await;
    assert!(tokio::net::TcpStream::connect(&address).await.is_err());
    broker.restart().await.unwrap();
    drop(tokio::net::TcpStream::connect(&address).await.unwrap());
    drop(broker);
    let closed = async {
        while tokio::net::TcpStream::connect(&address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, closed).await.unwrap();
}

#[tokio::test]
async fn three_brokers_go_on_when_the_leader_is_killed() {
    let mut brokers = vec![Broker::start().await.unwrap()];
    for _ in 0..2 {
        let beside = brokers[0].start_beside().await.unwrap();
        brokers.push(beside);
    }
    let bootstrap: Vec<String> = brokers.iter().map(Broker::address).collect();
    let client = Client::connect(bootstrap.join(",")).await.unwrap();
    client
        .create_topic(NewTopic::new("t").replication(3))
        .await
        .unwrap();
    produce(&client, "before").await;
    let leader = leader(&client).await;
    let leader = brokers.iter_mut().find(|broker| broker.id() == leader);
    leader.unwrap().kill().await;
    produce(&client, "after").await;
    assert_eq!(values(&client, 2).await, ["before", "after"]);
}

#[tokio::test]
async fn a_topic_can_be_read_to_its_end_at_once() {
    let broker = Broker::start().await.unwrap();
    let client = with_topic(&broker).await;
    let consumer = client.consumer("t").until(Until::Latest);
    assert!(consumer.build().await.unwrap().next().await.is_none());
}
