//! Topics and the cluster, over brokers that die and lose their answers.
#![allow(clippy::unwrap_used, reason = "tests")]

mod fake;

use std::time::Duration;

use fake::{FakeCluster, PATIENCE};
use highwater_client::{
    BrokerId, Client, NewTopic, Offset, Outcome, PartitionIndex, Position, Reason, Record,
    TopicChanges, TrimTo,
};

/// A limit that is to pass, and enough for a busy machine to ask once.
const SHORT: Duration = Duration::from_secs(2);

async fn patiently<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("in time")
}

#[tokio::test]
async fn a_topic_lives_from_its_creation_to_its_deletion() {
    let cluster = FakeCluster::start(2);
    let client = cluster.client().await;
    let topic = NewTopic::new("t").partitions(3).config("retention.ms", "5");
    let created = client.create_topic(topic.clone()).await.unwrap();
    assert_eq!((&*created.name, created.partition_count), ("t", 3));
    let listed = client.list_topics().await.unwrap();
    assert_eq!(listed.as_slice(), std::slice::from_ref(&created));
    let error = client.create_topic(topic).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::TopicExists));

    let described = client.describe_topic("t").await.unwrap();
    assert_eq!(described.topic, created);
    assert_eq!(described.partitions[1].leader, Some(BrokerId(2)));
    let changes = TopicChanges::new().set("a", "b").unset("retention.ms");
    let config = client.alter_topic("t", changes).await.unwrap();
    assert_eq!(config, [("a".to_owned(), "b".to_owned())].into());

    client.delete_topic("t").await.unwrap();
    let error = client.describe_topic("t").await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::TopicNotFound));
}

#[tokio::test]
async fn a_command_whose_answer_was_lost_succeeds_if_it_took_effect() {
    let cluster = FakeCluster::start(2);
    let client = cluster.client().await;
    cluster.faults(|faults| faults.lose_answers = 1);
    let created = patiently(client.create_topic(NewTopic::new("t").partitions(2)));
    assert_eq!(created.await.unwrap().partition_count, 2);
    cluster.faults(|faults| faults.lose_answers = 1);
    patiently(client.delete_topic("t")).await.unwrap();
    assert!(client.list_topics().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_refusal_after_a_lost_answer_does_not_say_that_nothing_was_done() {
    let cluster = FakeCluster::start(1);
    let client = cluster.client().await;
    cluster.faults(|faults| {
        faults.lose_answers = 1;
        faults.refuse_repeated = Some(Reason::InvalidReplication);
    });
    let created = patiently(client.create_topic(NewTopic::new("t"))).await;
    let error = created.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::InvalidReplication));
    assert_eq!(error.outcome(), Outcome::Unknown);
    assert!(client.describe_topic("t").await.is_ok(), "it is there");
}

#[tokio::test]
async fn a_command_does_not_wait_for_a_broker_that_stands_still() {
    let cluster = FakeCluster::start(3);
    let client = cluster.client().await;
    for (mum, name) in [(1, "a"), (2, "b"), (3, "c")] {
        cluster.faults(|faults| faults.mum = Some(mum));
        let created = patiently(client.create_topic(NewTopic::new(name)));
        assert_eq!(&*created.await.unwrap().name, name);
    }
}

#[tokio::test]
async fn trimming_is_tried_again_when_its_answer_was_lost() {
    let cluster = FakeCluster::start(2);
    let client = cluster.client().await;
    client
        .create_topic(NewTopic::new("t").partitions(2))
        .await
        .unwrap();
    let producer = client.producer("t").build().await.unwrap();
    for partition in [0, 1, 1] {
        let record = Record::new("v").partition(PartitionIndex(partition));
        producer.send(record).await.unwrap().await.unwrap();
    }
    let second = PartitionIndex(1);
    let seen = client.trim("t", second, TrimTo::End, true).await.unwrap();
    assert_eq!(
        (seen.previous_log_start_offset, seen.log_start_offset),
        (Offset(0), Offset(2))
    );
    cluster.faults(|faults| faults.lose_answers = 1);
    let trimmed = patiently(client.trim("t", second, TrimTo::Offset(Offset(1)), false));
    assert_eq!(trimmed.await.unwrap().log_start_offset, Offset(1));
    let missing = client
        .trim("t", PartitionIndex(2), TrimTo::End, false)
        .await;
    assert_eq!(
        missing.unwrap_err().reason(),
        Some(Reason::PartitionNotFound)
    );
}

#[tokio::test]
async fn every_known_broker_is_tried() {
    let mut cluster = FakeCluster::start(3);
    let client = cluster.client().await;
    cluster.kill(1);
    cluster.kill(3);
    patiently(client.create_topic(NewTopic::new("t")))
        .await
        .unwrap();
    assert_eq!(
        patiently(client.cluster()).await.unwrap().broker,
        Some(BrokerId(2))
    );
    assert_eq!(patiently(client.brokers()).await.unwrap().len(), 3);
    let metadata = patiently(client.metadata(&["t"])).await.unwrap();
    assert_eq!(metadata.topics.len(), 1);
}

#[tokio::test]
async fn without_any_broker_connecting_fails_at_once_and_calls_at_their_timeout() {
    let mut cluster = FakeCluster::start(1);
    let bootstrap = cluster.bootstrap();
    let builder = Client::builder().bootstrap(&bootstrap);
    let builder = builder.request_timeout(SHORT);
    let client = builder.connect().await.unwrap();
    cluster.kill(1);
    for error in [
        patiently(Client::connect(&bootstrap)).await.err(),
        patiently(client.list_topics()).await.err(),
        patiently(client.create_topic(NewTopic::new("t")))
            .await
            .err(),
    ] {
        let error = error.unwrap();
        assert_eq!(error.reason(), Some(Reason::Unreachable), "{error}");
        assert!(error.message().contains(&bootstrap), "{error}");
    }
}

#[tokio::test]
async fn a_broker_that_starts_is_waited_for_until_the_request_timeout() {
    let cluster = FakeCluster::start(1);
    cluster.faults(|faults| faults.starting = 4);
    let client = patiently(Client::connect(cluster.bootstrap()))
        .await
        .unwrap();
    assert!(client.list_topics().await.unwrap().is_empty());
    cluster.faults(|faults| faults.starting = u32::MAX);
    let builder = Client::builder().bootstrap(cluster.bootstrap());
    let builder = builder.request_timeout(SHORT);
    let error = patiently(builder.connect()).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::NotReady), "{error}");
}

#[tokio::test]
async fn offsets_come_from_the_leader_even_after_it_moved() {
    let cluster = FakeCluster::start(2);
    cluster.create_topic("t", 1);
    let client = cluster.client().await;
    let p0 = PartitionIndex(0);
    let offsets = client
        .list_offsets("t", p0, Position::Latest)
        .await
        .unwrap();
    assert_eq!(offsets.high_watermark, Offset(0));
    let producer = client.producer("t").build().await.unwrap();
    producer.send("a").await.unwrap().await.unwrap();
    for no_hints in [true, false] {
        cluster.faults(|faults| faults.no_hints = no_hints);
        cluster.lead("t", 0, if no_hints { 2 } else { 1 });
        let offsets = patiently(client.list_offsets("t", p0, Position::Latest));
        assert_eq!(offsets.await.unwrap().offset, Offset(1));
    }
    let missing = client
        .list_offsets("t", PartitionIndex(1), Position::Latest)
        .await;
    assert_eq!(
        missing.unwrap_err().reason(),
        Some(Reason::PartitionNotFound)
    );
}

/// Every future of the API can be spawned; this compiles or it does not.
#[tokio::test]
async fn all_futures_can_move_between_threads() {
    fn check<T: Send>(_: T) {}
    let client = Client::builder().bootstrap("h:9").build().unwrap();
    check(Client::connect("h:9"));
    check(client.create_topic(NewTopic::new("t")));
    check(client.list_topics());
    check(client.describe_topic("t"));
    check(client.alter_topic("t", TopicChanges::new()));
    check(client.delete_topic("t"));
    check(client.cluster());
    check(client.brokers());
    check(client.metadata(&["t"]));
    check(client.list_offsets("t", PartitionIndex(0), Position::Earliest));
    check(client.producer("t").build());
    check(client.consumer("t").build());
    check(async move {
        let producer = client.producer("t").build().await?;
        let delivery = producer.send("v").await?;
        producer.flush().await?;
        producer.shutdown(PATIENCE).await?;
        delivery.await?;
        let mut consumer = client.consumer("t").build().await?;
        consumer.next_batch().await;
        consumer.next().await.transpose()
    });
}
