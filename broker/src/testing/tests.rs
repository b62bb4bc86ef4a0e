//! A broker whose disk fails once while it joins a cluster, at whichever operation, and brokers that
//! come back elsewhere.

use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use highwater_client::{Client, NewTopic, Record, TopicChanges};
use tokio::time::timeout;

use super::*;
use crate::log::small_file::read_file;

/// Longer than a broker looks for its cluster: it says itself why it gives up.
const LIMIT: Duration = Duration::from_secs(90);
/// So many tries of a sweep run beside each other.
const AT_ONCE: u64 = 8;

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

/// Has the broker come back at other addresses the next time.
fn move_elsewhere(broker: &mut Broker) {
    broker.ports = Ports::take().unwrap();
}

/// Sends a record and waits until it is acknowledged; gives its offset.
async fn send(client: &Client, value: u64) -> Option<u64> {
    let producer = client.producer("t").build().await.unwrap();
    let sent = producer.send(Record::new(value.to_string())).await;
    let delivered = timeout(LIMIT, sent.unwrap()).await.unwrap().unwrap();
    delivered.offset.map(|offset| offset.0)
}

/// A cluster of `count` brokers that all hold the metadata, and a topic with one record.
async fn cluster(count: usize) -> (Vec<Broker>, Client) {
    let mut brokers = vec![Broker::start().await.unwrap()];
    while brokers.len() < count {
        let next = brokers[0].start_beside().await.unwrap();
        brokers.push(next);
    }
    let addresses: Vec<_> = brokers.iter().map(Broker::address).collect();
    let client = Client::connect(addresses.join(",")).await.unwrap();
    client.create_topic(NewTopic::new("t")).await.unwrap();
    assert_eq!(send(&client, 0).await, Some(0));
    (brokers, client)
}

/// Starts brokers at once that need each other.
async fn restart_all(brokers: impl IntoIterator<Item = &mut Broker>) {
    let restarted = try_join_all(brokers.into_iter().map(Broker::restart));
    timeout(LIMIT, restarted).await.unwrap().unwrap();
}

/// Starts a broker after a start that failed: its sockets are closed by tasks that end a little later.
async fn start_again(broker: &mut Broker) -> Result<(), StartError> {
    loop {
        match broker.restart().await {
            Err(StartError::Listen { .. }) => tokio::task::yield_now().await,
            started => return started,
        }
    }
}

/// Resolves when the metadata is on this broker, and nothing of that is under way any more.
async fn holds_metadata(broker: &Broker) {
    if let Some(running) = &broker.running {
        running.holds_metadata().await;
    }
}

/// The n-th operation of the disk fails while a broker joins, or comes to hold the metadata; then it
/// joins again, `elsewhere` or where it was. False when there was no such operation.
async fn joins_after_a_failure(n: u64, elsewhere: bool) -> bool {
    let first = Broker::start().await.unwrap();
    let client = Client::connect(first.address()).await.unwrap();
    client.create_topic(NewTopic::new("t")).await.unwrap();
    assert_eq!(send(&client, 0).await, Some(0));

    let mut second = beside(&first);
    second.disk.fail_operation(n);
    let Ok(begun) = timeout(LIMIT, second.restart()).await else {
        panic!("operation {n}: it neither joins nor ends");
    };
    if let Some(running) = &second.running {
        let settled = async {
            tokio::select! {
                () = running.holds_metadata() => {}
                _ = running.failed() => {}
            }
        };
        let settled = timeout(LIMIT, settled).await;
        settled.unwrap_or_else(|_| panic!("operation {n}: it neither votes nor ends"));
    }
    let reached = second.disk.operations() > n;
    assert!(reached || begun.is_ok(), "operation {n}: {begun:?}");
    second.cut_power(n).await;
    second.disk.fail_from_operation(None);
    if elsewhere {
        move_elsewhere(&mut second);
    }
    match timeout(LIMIT, start_again(&mut second)).await {
        Ok(joined) => joined.unwrap_or_else(|error| panic!("operation {n}: {error}")),
        Err(_) => panic!("operation {n}: it neither joins nor ends the next time"),
    }
    assert_eq!(second.id(), 2, "operation {n}: it is the same broker");
    assert_eq!(send(&client, 1).await, Some(1), "operation {n}");
    reached
}

async fn joins_after_any_failure(elsewhere: bool) {
    for from in (0..).step_by(AT_ONCE as usize) {
        let some = (from..from + AT_ONCE).map(|n| joins_after_a_failure(n, elsewhere));
        if join_all(some).await.contains(&false) {
            return;
        }
    }
}

#[tokio::test]
async fn a_disk_that_fails_once_while_a_broker_joins_keeps_nothing_from_the_next_try() {
    joins_after_any_failure(false).await;
}

#[tokio::test]
async fn nor_does_it_keep_anything_from_a_next_try_at_other_addresses() {
    joins_after_any_failure(true).await;
}

/// The n-th operation of the first broker's disk fails while another one joins; then both start again.
/// False when there was no such operation.
async fn grows_after_a_failure(n: u64) -> bool {
    let mut first = Broker::start().await.unwrap();
    let mut second = beside(&first);
    let before = first.disk.operations();
    first.disk.fail_operation(n);
    let joins = async {
        drop(second.restart().await);
        holds_metadata(&second).await;
    };
    let settled = async {
        tokio::select! {
            () = joins => {}
            _ = first.failed() => {}
        }
    };
    let settled = timeout(LIMIT, Box::pin(settled)).await;
    settled.unwrap_or_else(|_| panic!("operation {n}: nobody joins and nobody ends"));
    let reached = first.disk.operations() > before + n;
    first.cut_power(n).await;
    first.disk.fail_from_operation(None);
    second.kill().await;

    let again = async {
        try_join_all([start_again(&mut first), start_again(&mut second)]).await?;
        join_all([holds_metadata(&first), holds_metadata(&second)]).await;
        Ok::<_, StartError>(())
    };
    let again = timeout(LIMIT, Box::pin(again)).await;
    let again = again.unwrap_or_else(|_| panic!("operation {n}: not on both in the end"));
    again.unwrap_or_else(|error| panic!("operation {n}: {error}"));
    reached
}

#[tokio::test]
async fn the_metadata_comes_to_a_new_broker_wherever_the_leader_failed_meanwhile() {
    for from in (0..).step_by(AT_ONCE as usize) {
        let some = (from..from + AT_ONCE).map(grows_after_a_failure);
        if join_all(some).await.contains(&false) {
            return;
        }
    }
}

#[tokio::test]
async fn either_of_two_brokers_may_come_back_elsewhere() {
    for moved in [0, 1] {
        let (mut brokers, client) = cluster(2).await;
        brokers[moved].kill().await;
        move_elsewhere(&mut brokers[moved]);
        restart_all([&mut brokers[moved]]).await;
        assert_eq!(send(&client, 1).await, Some(1), "broker {moved}");
    }
}

#[tokio::test]
async fn of_three_brokers_one_may_be_lost_and_another_one_come_back_elsewhere() {
    let (mut brokers, client) = cluster(3).await;
    brokers[2].kill().await;
    brokers[1].kill().await;
    move_elsewhere(&mut brokers[1]);
    restart_all([&mut brokers[1]]).await;
    assert_eq!(send(&client, 1).await, Some(1));
}

#[tokio::test]
async fn all_brokers_may_come_back_elsewhere_when_they_are_told_where_one_is() {
    for count in [2, 3] {
        let (mut brokers, _) = cluster(count).await;
        join_all(brokers.iter_mut().map(Broker::kill)).await;
        brokers.iter_mut().for_each(move_elsewhere);
        let first = brokers[0].ports.peer.address();
        for broker in &mut brokers[1..] {
            broker.join = vec![first.clone()];
        }
        restart_all(&mut brokers).await;
        let client = Client::connect(brokers[0].address()).await.unwrap();
        assert_eq!(send(&client, 1).await, Some(1), "{count} brokers");
    }
}

#[tokio::test]
async fn a_broker_without_a_vote_on_the_metadata_brings_those_that_have_one_together() {
    let (mut brokers, _) = cluster(4).await;
    join_all(brokers.iter_mut().map(Broker::kill)).await;
    brokers.iter_mut().for_each(move_elsewhere);
    let last = brokers[3].ports.peer.address();
    for broker in &mut brokers[..3] {
        broker.join = vec![last.clone()];
    }
    restart_all(&mut brokers).await;
    let client = Client::connect(brokers[0].address()).await.unwrap();
    assert_eq!(send(&client, 1).await, Some(1));
}

#[tokio::test]
async fn brokers_that_took_each_others_addresses_find_each_other() {
    let (mut brokers, _) = cluster(3).await;
    join_all(brokers.iter_mut().map(Broker::kill)).await;
    let (one, others) = brokers.split_at_mut(1);
    let (two, three) = others.split_at_mut(1);
    std::mem::swap(&mut one[0].ports, &mut two[0].ports);
    std::mem::swap(&mut two[0].ports, &mut three[0].ports);
    restart_all(&mut brokers).await;
    let client = Client::connect(brokers[0].address()).await.unwrap();
    assert_eq!(send(&client, 1).await, Some(1));
}

/// Changes the metadata until its log begins with a saved state at every broker.
async fn compact_metadata(brokers: &[Broker], client: &Client) {
    for round in 0..11_u64 {
        let change = |n: u64| {
            let ms = (1000 + round * 100 + n).to_string();
            client.alter_topic("t", TopicChanges::new().set("segment.ms", &ms))
        };
        let changed = try_join_all((0..100).map(change));
        timeout(LIMIT, changed).await.unwrap().unwrap();
    }
    let short = |broker: &Broker| {
        let running = broker.running.as_ref().unwrap();
        running.metadata_entries() < 1_000
    };
    let compacted = async {
        while !brokers.iter().all(short) {
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, compacted).await.unwrap();
}

/// Waits until each broker has noted where all of them are.
async fn addresses_are_noted(brokers: &[Broker]) {
    let noted = |broker: &Broker| {
        let file = read_file(&broker.disk, "addresses").unwrap().unwrap();
        let text = String::from_utf8_lossy(&file);
        let mut peers = brokers.iter().map(|other| other.ports.peer.address());
        peers.all(|address| text.contains(&address))
    };
    let all = async {
        while !brokers.iter().all(noted) {
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, all).await.unwrap();
}

#[tokio::test]
async fn addresses_from_before_a_move_do_not_come_back_with_a_saved_state() {
    let (mut brokers, client) = cluster(2).await;
    compact_metadata(&brokers, &client).await;
    join_all(brokers.iter_mut().map(Broker::kill)).await;
    brokers.iter_mut().for_each(move_elsewhere);
    brokers[1].join = vec![brokers[0].ports.peer.address()];
    restart_all(&mut brokers).await;
    addresses_are_noted(&brokers).await;

    join_all(brokers.iter_mut().map(Broker::kill)).await;
    restart_all(&mut brokers).await;
    let client = Client::connect(brokers[0].address()).await.unwrap();
    assert_eq!(send(&client, 1).await, Some(1));
}
