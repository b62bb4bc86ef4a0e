//! Deadlines: what asks for several things one after another has one for all of them, and none is too
//! far away.
#![allow(clippy::unwrap_used, reason = "tests")]

mod fake;

use std::time::{Duration, Instant};

use fake::{FakeCluster, PATIENCE, State};
use highwater_client::{Client, Result};

/// Longer than any test may wait.
const TIMEOUT: Duration = Duration::from_secs(300);

async fn client(cluster: &FakeCluster) -> Client {
    let builder = Client::builder().bootstrap(cluster.bootstrap());
    let connecting = builder.request_timeout(TIMEOUT).connect();
    let connected = tokio::time::timeout(PATIENCE, connecting).await;
    connected.expect("in time").unwrap()
}

/// Runs `build`, whose first question is answered late. Then its second one must be answered sooner.
async fn assert_one_deadline<T>(cluster: &FakeCluster, build: impl Future<Output = Result<T>>) {
    let asked = || cluster.shared.count(|c| &c.metadata_requests);
    let before = asked();
    cluster.faults(|faults| faults.hold_metadata = true);
    let hold = async {
        let first = |_: &mut State| asked() > before;
        cluster.wait_until("the first broker is asked", first).await;
        let since = Instant::now();
        // The next one is asked as well when the first has not answered for a while.
        let second = |_: &mut State| asked() > before + 1;
        cluster.wait_until("the next one is asked", second).await;
        let held = since.elapsed();
        cluster.faults(|faults| faults.hold_metadata = false);
        held
    };
    let both = async { tokio::join!(build, hold) };
    let (built, held) = tokio::time::timeout(PATIENCE, both).await.expect("in time");
    assert!(built.is_ok());
    let left = *cluster.shared.state().asked_within.last().unwrap();
    assert!(left <= TIMEOUT - held, "{left:?} are left after {held:?}");
}

#[tokio::test]
async fn a_named_producer_is_built_within_one_deadline() {
    let cluster = FakeCluster::start(2);
    cluster.create_topic("t", 1);
    let client = client(&cluster).await;
    assert_one_deadline(&cluster, client.producer("t").name("writer").build()).await;
}

#[tokio::test]
async fn a_consumer_is_built_within_one_deadline() {
    let cluster = FakeCluster::start(2);
    cluster.create_topic("t", 1);
    let client = client(&cluster).await;
    assert_one_deadline(&cluster, client.consumer("t").build()).await;
}

#[tokio::test]
async fn times_without_end_are_times_as_well() {
    let cluster = FakeCluster::start(1);
    cluster.create_topic("t", 1);
    let builder = Client::builder().bootstrap(cluster.bootstrap());
    let builder = builder.request_timeout(Duration::MAX);
    let client = builder.connect_timeout(Duration::MAX).build().unwrap();
    let passing = async {
        for linger in [Duration::ZERO, Duration::MAX] {
            let builder = client.producer("t").linger(linger);
            let builder = builder.delivery_timeout(Duration::MAX);
            let producer = builder.build().await.unwrap();
            let delivery = producer.send("v").await.unwrap();
            producer.flush().await.unwrap();
            delivery.await.unwrap();
            producer.shutdown(Duration::MAX).await.unwrap();
        }
        let mut consumer = client.consumer("t").build().await.unwrap();
        for offset in 0..2 {
            assert_eq!(consumer.next().await.unwrap().unwrap().offset().0, offset);
        }
    };
    let passed = tokio::time::timeout(PATIENCE, passing).await;
    passed.expect("in time");
}
