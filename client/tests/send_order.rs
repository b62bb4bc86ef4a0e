//! Sends of one task that are under way at the same time: their records are in the order of the calls.
#![allow(clippy::unwrap_used, reason = "tests")]

mod fake;

use std::pin::pin;

use fake::{FakeCluster, PATIENCE};
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt, poll, stream};
use highwater_client::{PartitionIndex, Producer, Record};
use tokio::task::consume_budget;
use tokio::task::coop::has_budget_remaining;

const P0: PartitionIndex = PartitionIndex(0);

async fn patiently<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("in time")
}

async fn producer(cluster: &FakeCluster, buffer_bytes: usize) -> Producer {
    cluster.create_topic("t", 1);
    let client = cluster.client().await;
    let builder = client.producer("t").buffer_bytes(buffer_bytes);
    builder.build().await.unwrap()
}

/// Every third record is larger than what is taken from the buffer at once.
fn numbered(number: u32) -> String {
    let len = if number.is_multiple_of(3) { 20_000 } else { 6 };
    format!("{number:0len$}")
}

fn assert_in_order(cluster: &FakeCluster, count: u32) {
    let values = cluster.values("t", P0);
    let found: Vec<u32> = values.iter().map(|value| value.parse().unwrap()).collect();
    assert_eq!(found, (0..count).collect::<Vec<_>>());
}

/// The task may do nothing more before others run.
async fn use_up() {
    while has_budget_remaining() {
        consume_budget().await;
    }
}

#[tokio::test]
async fn those_that_are_polled_when_the_task_is_to_let_others_run_keep_their_order() {
    let cluster = FakeCluster::start(1);
    let producer = producer(&cluster, 4 << 20).await;
    // A small one first: what is left of its step is there for the next small ones.
    let first = producer.send(format!("{:06}", 0));
    drop(patiently(first).await.unwrap());
    let sends = (1..20).map(|n| producer.send(numbered(n + 2)));
    use_up().await;
    let sent = patiently(join_all(sends)).await;
    assert!(sent.iter().all(Result::is_ok));
    patiently(producer.flush()).await.unwrap();
    let values = cluster.values("t", P0);
    let found: Vec<u32> = values.iter().map(|value| value.parse().unwrap()).collect();
    let expected: Vec<u32> = std::iter::once(0).chain(3..22).collect();
    assert_eq!(found, expected);
}

/// Sends so many as a stream of which a hundred are under way at once.
async fn send_buffered(buffer_bytes: usize, count: u32) {
    let cluster = FakeCluster::start(1);
    let producer = producer(&cluster, buffer_bytes).await;
    let sends = stream::iter(0..count).map(|n| producer.send(numbered(n)));
    let mut sends = pin!(sends.buffered(100));
    while let Some(sent) = patiently(sends.next()).await {
        drop(sent.unwrap());
    }
    patiently(producer.flush()).await.unwrap();
    assert_in_order(&cluster, count);
}

#[tokio::test]
async fn those_of_a_stream_that_is_buffered_keep_their_order() {
    send_buffered(4 << 20, 5_000).await;
}

#[tokio::test]
async fn those_that_wait_for_space_keep_their_order() {
    send_buffered(50_000, 1_000).await;
}

#[tokio::test]
async fn very_many_that_wait_for_space_keep_their_order() {
    const COUNT: u32 = 20_000;
    let cluster = FakeCluster::start(1);
    let producer = producer(&cluster, 20_000).await;
    let sends: FuturesUnordered<_> = (0..COUNT).map(|n| producer.send(n.to_string())).collect();
    let sent = sends.map(|sent| drop(sent.unwrap())).count();
    assert_eq!(patiently(sent).await, COUNT as usize);
    patiently(producer.flush()).await.unwrap();
    assert_in_order(&cluster, COUNT);
}

#[tokio::test]
async fn those_that_a_task_joins_keep_their_order() {
    let cluster = FakeCluster::start(1);
    let producer = producer(&cluster, 4 << 20).await;
    drop(patiently(producer.send("0")).await.unwrap());
    use_up().await;
    // Each time it is polled, this begins with another one.
    let [one, two, three] = [3, 4, 5].map(|n| producer.send(numbered(n)));
    let joined = async { tokio::try_join!(one, two, three) };
    drop(patiently(joined).await.unwrap());
    patiently(producer.flush()).await.unwrap();
    let values = cluster.values("t", P0);
    let found: Vec<u32> = values.iter().map(|value| value.parse().unwrap()).collect();
    assert_eq!(found, [0, 3, 4, 5]);
}

#[tokio::test]
async fn one_that_is_not_polled_any_more_holds_up_no_other() {
    let cluster = FakeCluster::start(1);
    let producer = producer(&cluster, 4 << 20).await;
    use_up().await;
    let mut left = pin!(producer.send("left"));
    assert!(poll!(&mut left).is_pending(), "others are to run first");
    drop(patiently(producer.send("0")).await.unwrap());
    patiently(producer.flush()).await.unwrap();
    assert_in_order(&cluster, 1);
    let other = producer.clone();
    let sent = tokio::spawn(async move { drop(other.send("1").await.unwrap()) });
    patiently(sent).await.unwrap();
    drop(patiently(left).await.unwrap());
}

#[tokio::test]
async fn many_with_one_call_are_not_overtaken_by_one_that_is_sent_after() {
    let cluster = FakeCluster::start(1);
    let producer = producer(&cluster, 4 << 20).await;
    drop(patiently(producer.send("0")).await.unwrap());
    let many = [Record::new("1"), Record::new("2")];
    use_up().await;
    let under_way = FuturesUnordered::new();
    under_way.push(async { drop(producer.send_all(&many).await.unwrap()) }.left_future());
    under_way.push(async { drop(producer.send("3").await.unwrap()) }.right_future());
    patiently(under_way.count()).await;
    patiently(producer.flush()).await.unwrap();
    assert_in_order(&cluster, 4);
}
