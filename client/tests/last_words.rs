//! When time runs out, the error tells why each attempt failed, not only that time ran out.
#![allow(clippy::unwrap_used, reason = "tests")]

mod fake;

use std::time::Duration;

use fake::{FakeCluster, PATIENCE};
use highwater_client::{Client, Error, NewTopic, Outcome, Reason};

/// How long a request is tried again.
const REQUEST: Duration = Duration::from_millis(500);

/// Fails again if no broker had the time to say anything.
async fn failed<T, F>(mut attempt: impl FnMut() -> F) -> Error
where
    F: Future<Output = Result<T, Error>>,
{
    let telling = async {
        loop {
            let error = attempt().await.err().unwrap();
            let silent = error.message().contains("no broker answered");
            if !silent {
                return error;
            }
        }
    };
    tokio::time::timeout(PATIENCE, telling).await.unwrap()
}

async fn hurried(cluster: &FakeCluster) -> Client {
    let builder = Client::builder().bootstrap(cluster.bootstrap());
    builder.request_timeout(REQUEST).connect().await.unwrap()
}

#[tokio::test]
async fn a_command_tells_what_a_broker_said_although_another_is_away() {
    let mut cluster = FakeCluster::start(2);
    let client = hurried(&cluster).await;
    cluster.kill(2);
    cluster.faults(|faults| faults.leaderless = true);
    let error = failed(|| client.create_topic(NewTopic::new("t"))).await;
    assert_eq!(error.reason(), Some(Reason::NotReady), "{error}");
    assert_eq!(error.outcome(), Outcome::Retriable);
    let told = error.message().contains("nobody leads the metadata");
    assert!(told, "{error}");
}

#[tokio::test]
async fn a_producer_that_gets_no_identity_tells_why() {
    let cluster = FakeCluster::start(1);
    cluster.create_topic("t", 1);
    let client = hurried(&cluster).await;
    cluster.faults(|faults| faults.leaderless = true);
    let mut told = None;
    let send = async || {
        let producer = client.producer("t").delivery_timeout(2 * REQUEST);
        let delivery = producer.build().await?.send("v").await?;
        delivery.await
    };
    while told.is_none() {
        let error = failed(send).await;
        assert_eq!(error.reason(), Some(Reason::TimedOut), "{error}");
        assert!(error.message().contains("it was not written"), "{error}");
        // Without one nothing was heard in all the time.
        told = error.last_error().cloned();
    }
    let told = told.unwrap();
    assert_eq!(told.reason(), Some(Reason::NotReady), "{told}");
    assert!(told.message().contains("nobody leads"), "{told}");
}
