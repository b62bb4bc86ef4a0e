//! What other clients do to a topic: what is built after that uses the topic as it is then, and a
//! producer that runs learns of another largest batch.
#![allow(clippy::unwrap_used, reason = "tests")]

mod fake;

use fake::{FakeCluster, PATIENCE};
use highwater_client::{
    Client, Error, NewTopic, Offset, PartitionIndex, Producer, Reason, Record, Start, TopicChanges,
};

const P0: PartitionIndex = PartitionIndex(0);

async fn patiently<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("in time")
}

async fn producer(client: &Client) -> Producer {
    patiently(client.producer("t").build()).await.unwrap()
}

/// Two clients, of which the first has written a record to the topic `t` and knows where it is.
async fn clients(cluster: &FakeCluster) -> (Client, Client) {
    cluster.create_topic("t", 1);
    let client = cluster.client().await;
    write(&producer(&client).await, "old").await;
    (client, cluster.client().await)
}

async fn write(producer: &Producer, value: &'static str) {
    let delivery = patiently(producer.send(value)).await.unwrap();
    patiently(delivery).await.unwrap();
}

async fn re_create(other: &Client, partitions: u32) {
    patiently(other.delete_topic("t")).await.unwrap();
    let topic = NewTopic::new("t").partitions(partitions);
    patiently(other.create_topic(topic)).await.unwrap();
}

async fn set_largest_batch(other: &Client, bytes: u32) {
    let changes = TopicChanges::new().set("max.batch.bytes", bytes.to_string());
    patiently(other.alter_topic("t", changes)).await.unwrap();
}

#[tokio::test]
async fn a_producer_writes_to_the_topic_that_has_the_name_when_it_is_built() {
    let cluster = FakeCluster::start(2);
    let (client, other) = clients(&cluster).await;
    re_create(&other, 3).await;
    assert_eq!(patiently(client.partition_count("t")).await.unwrap(), 3);
    let producer = producer(&client).await;
    assert_eq!(producer.partition_count(), 3);
    let record = Record::new("new").partition(PartitionIndex(2));
    let delivery = patiently(producer.send(record)).await.unwrap();
    patiently(delivery).await.unwrap();
    assert_eq!(cluster.values("t", PartitionIndex(2)), ["new"]);
}

#[tokio::test]
async fn a_consumer_reads_the_topic_that_has_the_name_when_it_is_built() {
    let cluster = FakeCluster::start(2);
    let (client, other) = clients(&cluster).await;
    re_create(&other, 1).await;
    write(&producer(&other).await, "new").await;
    // From a position that is known, and from one that is looked up.
    for start in [Start::Offset(Offset(0)), Start::Earliest] {
        let builder = client.consumer("t").start(start);
        let mut consumer = patiently(builder.build()).await.unwrap();
        let record = patiently(consumer.next()).await.unwrap().unwrap();
        assert_eq!(record.value_bytes().unwrap(), "new");
    }
}

#[tokio::test]
async fn nothing_is_built_for_a_topic_that_is_gone() {
    let cluster = FakeCluster::start(2);
    let (client, other) = clients(&cluster).await;
    patiently(other.delete_topic("t")).await.unwrap();
    let gone = Some(Reason::TopicNotFound);
    for _ in 0..2 {
        let built = patiently(client.producer("t").build()).await;
        assert_eq!(built.unwrap_err().reason(), gone);
        let built = patiently(client.consumer("t").build()).await;
        assert_eq!(built.unwrap_err().reason(), gone);
        let count = patiently(client.partition_count("t")).await;
        assert_eq!(count.unwrap_err().reason(), gone);
    }
}

#[tokio::test]
async fn a_producer_takes_what_the_topic_takes_when_it_is_built() {
    let cluster = FakeCluster::start(1);
    let (client, other) = clients(&cluster).await;
    set_largest_batch(&other, 2 << 20).await;
    let large = Record::new(vec![b'x'; 3 << 19]);
    let delivery = patiently(producer(&client).await.send(large))
        .await
        .unwrap();
    patiently(delivery).await.unwrap();
    set_largest_batch(&other, 1024).await;
    let large = Record::new(vec![b'x'; 2000]);
    let error = patiently(producer(&client).await.send(large))
        .await
        .unwrap_err();
    assert_eq!(error.reason(), Some(Reason::BatchTooLarge));
}

#[tokio::test]
async fn a_producer_that_runs_learns_of_a_lower_limit() {
    let cluster = FakeCluster::start(1);
    let (client, other) = clients(&cluster).await;
    let builder = client.producer("t").linger(PATIENCE);
    let producer = patiently(builder.build()).await.unwrap();
    set_largest_batch(&other, 1024).await;
    let large = || Record::new(vec![b'y'; 2000]);
    let refused = |told: Error| assert_eq!(told.reason(), Some(Reason::BatchTooLarge));
    drop(patiently(producer.send(large())).await.unwrap());
    refused(patiently(producer.flush()).await.unwrap_err());
    // It asks for the limit then; until it is there, the broker refuses.
    let learned = async {
        while producer.try_send(large()).is_ok() {
            refused(producer.flush().await.unwrap_err());
        }
    };
    patiently(learned).await;
    let before = cluster.shared.count(|c| &c.batches);
    for _ in 0..50 {
        let small = Record::new(vec![b'x'; 100]);
        drop(patiently(producer.send(small)).await.unwrap());
    }
    patiently(producer.flush()).await.unwrap();
    let batches = cluster.shared.count(|c| &c.batches) - before;
    assert!(batches > 4, "{batches} batches of at most 1024 bytes");
    assert_eq!(cluster.values("t", P0).len(), 51);
}

/// Moves the leader of the first partition, so that whoever writes there asks a broker where it is.
async fn has_to_ask(cluster: &FakeCluster, producer: &Producer, leader: i32) {
    cluster.faults(|faults| faults.no_hints = true);
    cluster.lead("t", 0, leader);
    let record = Record::new("small").partition(P0);
    let delivery = patiently(producer.send(record)).await.unwrap();
    patiently(delivery).await.unwrap();
}

#[tokio::test]
async fn a_broker_that_lags_does_not_lower_the_limit_of_a_producer_that_runs() {
    let cluster = FakeCluster::start(2);
    cluster.create_topic("t", 1);
    let client = cluster.client().await;
    let producer = producer(&client).await;
    cluster.faults(|faults| faults.told_limit = Some(1024));
    // Before a broker is asked again, what the one before has answered is taken note of.
    for leader in [2, 1, 2] {
        has_to_ask(&cluster, &producer, leader).await;
    }
    let large = patiently(producer.send(vec![b'y'; 2000])).await.unwrap();
    patiently(large).await.unwrap();
}

#[tokio::test]
async fn any_broker_may_tell_of_a_higher_limit() {
    let cluster = FakeCluster::start(2);
    cluster.create_topic("t", 1);
    let client = cluster.client().await;
    let producer = producer(&client).await;
    set_largest_batch(&cluster.client().await, 2 << 20).await;
    for leader in [2, 1, 2] {
        has_to_ask(&cluster, &producer, leader).await;
    }
    let large = patiently(producer.send(vec![b'y'; 3 << 19])).await.unwrap();
    patiently(large).await.unwrap();
}

#[tokio::test]
async fn a_leader_that_refuses_a_batch_lowers_the_limit_of_its_partition_alone() {
    let cluster = FakeCluster::start(2);
    cluster.create_topic("t", 2);
    let client = cluster.client().await;
    let producer = producer(&client).await;
    let large = |partition| Record::new(vec![b'y'; 2000]).partition(PartitionIndex(partition));
    let too_large = Some(Reason::BatchTooLarge);
    cluster.faults(|faults| {
        faults.told_limit = Some(1024);
        faults.refuse = [Reason::BatchTooLarge].into();
    });
    let refused = patiently(producer.send(large(0))).await.unwrap();
    assert_eq!(patiently(refused).await.unwrap_err().reason(), too_large);
    // It asks for the limit then; until it is there, the broker takes the batch.
    let learned = async {
        loop {
            match producer.send(large(0)).await.unwrap().await {
                Ok(_) => {}
                Err(told) => return assert_eq!(told.reason(), too_large),
            }
        }
    };
    patiently(learned).await;
    let other = patiently(producer.send(large(1))).await.unwrap();
    patiently(other).await.unwrap();
}
