//! A broker whose disk fails once while it joins a cluster, at whichever operation.

use std::time::Duration;

use highwater_client::{Client, NewTopic, Record};
use tokio::time::timeout;

use super::*;

const LIMIT: Duration = Duration::from_secs(60);

/// A broker that has not joined yet, with ports that are its own through all tries.
fn beside(first: &Broker) -> Broker {
    Broker {
        disk: MemDir::new(),
        time: first.time.clone(),
        ports: Ports::take().unwrap(),
        join: vec![first.ports.peer.address()],
        running: None,
        runtime: Handle::current(),
    }
}

/// Sends a record and waits until it is acknowledged; gives its offset.
async fn send(client: &Client, value: u64) -> Option<u64> {
    let producer = client.producer("t").build().await.unwrap();
    let sent = producer.send(Record::new(value.to_string())).await;
    let delivered = timeout(LIMIT, sent.unwrap()).await.unwrap().unwrap();
    delivered.offset.map(|offset| offset.0)
}

#[tokio::test]
async fn a_disk_that_fails_once_while_a_broker_joins_keeps_nothing_from_the_next_try() {
    for n in 0.. {
        let first = Broker::start().await.unwrap();
        let client = Client::connect(first.address()).await.unwrap();
        client.create_topic(NewTopic::new("t")).await.unwrap();
        assert_eq!(send(&client, 0).await, Some(0));

        let mut second = beside(&first);
        second.disk.fail_operation(n);
        let Ok(begun) = timeout(LIMIT, second.restart()).await else {
            panic!("operation {n}: it neither joins nor ends");
        };
        let reached = second.disk.operations() > n;
        assert!(reached || begun.is_ok(), "operation {n}: {begun:?}");
        second.cut_power(n).await;
        second.disk.fail_from_operation(None);
        // The sockets of a start that failed are closed by tasks that end a little later.
        let joined = async {
            loop {
                match second.restart().await {
                    Err(StartError::Listen { .. }) => tokio::task::yield_now().await,
                    joined => return joined,
                }
            }
        };
        match timeout(LIMIT, joined).await {
            Ok(joined) => joined.unwrap_or_else(|error| panic!("operation {n}: {error}")),
            Err(_) => panic!("operation {n}: it neither joins nor ends the next time"),
        }
        assert_eq!(second.id(), 2, "operation {n}: it is the same broker");
        assert_eq!(send(&client, 1).await, Some(1), "operation {n}");
        if !reached {
            return;
        }
    }
}
