//! Who a producer is: names that are taken over, identities that are forgotten or spent.
#![allow(clippy::unwrap_used, reason = "tests")]

mod fake;

use std::time::{Duration, Instant};

use fake::{FakeCluster, PATIENCE};
use highwater_client::{Client, Outcome, PartitionIndex, Producer, Reason, Record};

const P0: PartitionIndex = PartitionIndex(0);
const P1: PartitionIndex = PartitionIndex(1);

async fn patiently<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("in time")
}

async fn named(client: &Client) -> Producer {
    let builder = client.producer("t").name("writer");
    patiently(builder.build()).await.unwrap()
}

async fn write(producer: &Producer, partition: PartitionIndex, value: &str) {
    let record = Record::new(value).partition(partition);
    let delivery = producer.send(record).await.unwrap();
    patiently(delivery).await.unwrap();
}

/// Has the next batch refused: what comes behind it needs the next epoch.
async fn fail_a_batch(cluster: &FakeCluster, producer: &Producer, partition: PartitionIndex) {
    cluster.faults(|faults| faults.refuse = [Reason::BadBatch].into());
    let record = Record::new("x").partition(partition);
    let failed = producer.send(record).await.unwrap();
    let error = patiently(failed).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::BadBatch));
}

fn forget_producers(cluster: &FakeCluster, partition: u32) {
    let mut state = cluster.shared.state();
    state.partition("t", partition).unwrap().forget_producers();
}

#[tokio::test]
async fn a_named_producer_ends_the_one_before_it_for_good() {
    let cluster = FakeCluster::start(2);
    cluster.create_topic("t", 2);
    let client = cluster.client().await;
    let old = named(&client).await;
    write(&old, P0, "a").await;
    let new = named(&client).await;
    // Its successor has written nowhere yet.
    let record = Record::new("zombie").partition(P1);
    let error = patiently(old.send(record).await.unwrap())
        .await
        .unwrap_err();
    assert_eq!(error.reason(), Some(Reason::ProducerFenced));
    assert_eq!(error.outcome(), Outcome::Refused);
    assert!(error.is_retry_safe() && !error.is_retriable());
    for partition in [P0, P1] {
        let record = Record::new("later").partition(partition);
        let error = old.send(record).await.unwrap_err();
        assert_eq!(error.reason(), Some(Reason::ProducerFenced));
    }
    assert_eq!(old.buffered_bytes(), 0);
    write(&new, P0, "b").await;
    write(&new, P1, "c").await;
    assert_eq!(cluster.values("t", P0), ["a", "b"]);
    assert_eq!(cluster.values("t", P1), ["c"]);
}

#[tokio::test]
async fn what_is_forgotten_between_two_records_is_not_lost() {
    let cluster = FakeCluster::start(1);
    cluster.create_topic("t", 2);
    let client = cluster.client().await;
    let plain = client.producer("t").build().await.unwrap();
    for producer in [plain, named(&client).await] {
        write(&producer, P0, "a").await;
        write(&producer, P1, "a").await;
        forget_producers(&cluster, 0);
        write(&producer, P1, "b").await;
        write(&producer, P0, "b").await;
        write(&producer, P0, "c").await;
    }
    assert_eq!(cluster.values("t", P0), ["a", "b", "c", "a", "b", "c"]);
    assert_eq!(cluster.values("t", P1), ["a", "b", "a", "b"]);
}

#[tokio::test]
async fn an_identity_that_is_used_late_where_others_were_forgotten_is_replaced() {
    let cluster = FakeCluster::start(1);
    cluster.create_topic("t", 2);
    let client = cluster.client().await;
    let plain = client.producer("t").build().await.unwrap();
    for producer in [plain, named(&client).await] {
        write(&producer, P1, "a").await;
        cluster.shared.state().distrust("t", 0);
        loop {
            let began = Instant::now();
            let delivery = producer.send(Record::new("b").partition(P0)).await.unwrap();
            match patiently(delivery).await {
                Ok(_) => break,
                // After 3 s without an answer (the machine stood still) it would be sent again, and
                // then it is not known whether the first copy was written.
                Err(error) => assert!(began.elapsed() >= Duration::from_secs(3), "{error}"),
            }
        }
        write(&producer, P0, "c").await;
        write(&producer, P1, "d").await;
    }
    let mut values = cluster.values("t", P0);
    values.dedup();
    assert_eq!(values, ["b", "c", "b", "c"]);
    assert_eq!(cluster.values("t", P1), ["a", "d", "a", "d"]);
}

#[tokio::test]
async fn a_first_batch_whose_producer_was_forgotten_meanwhile_is_unknown_and_there_once() {
    let cluster = FakeCluster::start(1);
    cluster.create_topic("t", 1);
    let client = cluster.client().await;
    let plain = client.producer("t").build().await.unwrap();
    for producer in [plain, named(&client).await] {
        cluster.faults(|faults| faults.forget_next = 1);
        let first = producer.send(Record::new("a").partition(P0)).await.unwrap();
        let error = patiently(first).await.unwrap_err();
        assert_eq!(error.reason(), Some(Reason::UnknownProducer), "{error}");
        assert_eq!(error.outcome(), Outcome::Unknown);
        write(&producer, P0, "b").await;
    }
    assert_eq!(cluster.values("t", P0), ["a", "b", "a", "b"]);
}

#[tokio::test]
async fn a_named_producer_goes_on_after_a_failed_batch_in_its_next_epoch() {
    let cluster = FakeCluster::start(1);
    cluster.create_topic("t", 2);
    let client = cluster.client().await;
    let producer = named(&client).await;
    write(&producer, P0, "a").await;
    write(&producer, P1, "a").await;
    fail_a_batch(&cluster, &producer, P0).await;
    for value in ["b", "c"] {
        write(&producer, P0, value).await;
        write(&producer, P1, value).await;
    }
    assert_eq!(cluster.values("t", P0), ["a", "b", "c"]);
    assert_eq!(cluster.values("t", P1), ["a", "b", "c"]);
    let mut state = cluster.shared.state();
    assert_eq!(state.partition("t", 1).unwrap().epochs(), [0, 1, 1]);
}

#[tokio::test]
async fn the_next_epoch_waits_for_what_is_on_its_way_in_the_one_before() {
    let cluster = FakeCluster::start(1);
    cluster.create_topic("t", 2);
    let client = cluster.client().await;
    let producer = named(&client).await;
    cluster.faults(|faults| faults.hold_acks = true);
    let held = producer.send(Record::new("a").partition(P1)).await.unwrap();
    let appended = |state: &mut fake::State| state.partition("t", 1).unwrap().next_offset == 1;
    cluster.wait_until("the batch is appended", appended).await;
    cluster.faults(|faults| faults.refuse = [Reason::BadBatch].into());
    let failed = producer.send(Record::new("x").partition(P0)).await.unwrap();
    let judged = |state: &mut fake::State| state.faults.refuse.is_empty();
    cluster.wait_until("the batch is judged", judged).await;
    cluster.faults(|faults| faults.hold_acks = false);
    let next = producer.send(Record::new("b").partition(P0)).await.unwrap();
    assert!(patiently(failed).await.is_err());
    patiently(held).await.unwrap();
    drop(patiently(next).await);
    write(&producer, P1, "c").await;
    assert_eq!(cluster.values("t", P1), ["a", "c"]);
}

#[tokio::test]
async fn a_next_epoch_that_is_refused_holds_up_no_other_partition() {
    let cluster = FakeCluster::start(1);
    cluster.create_topic("t", 2);
    let client = cluster.client().await;
    let producer = named(&client).await;
    write(&producer, P0, "a").await;
    write(&producer, P1, "a").await;
    fail_a_batch(&cluster, &producer, P1).await;
    let before = cluster.shared.state().asked;
    cluster.faults(|faults| {
        faults.hold_identities = true;
        faults.refuse_identities = Some(Reason::Denied);
    });
    let refused = producer.send(Record::new("y").partition(P1)).await.unwrap();
    let asked = |state: &mut fake::State| state.asked > before;
    cluster
        .wait_until("the next epoch is asked for", asked)
        .await;
    // Nothing new goes out before it is known whether there is a next epoch.
    let waiting = producer.send(Record::new("b").partition(P0)).await.unwrap();
    cluster.faults(|faults| faults.hold_identities = false);
    let error = patiently(refused).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::Denied));
    patiently(waiting).await.unwrap();
    cluster.faults(|faults| faults.refuse_identities = None);
    write(&producer, P1, "c").await;
    write(&producer, P0, "c").await;
    assert_eq!(cluster.values("t", P0), ["a", "b", "c"]);
    assert_eq!(cluster.values("t", P1), ["a", "c"]);
    let mut state = cluster.shared.state();
    assert_eq!(state.partition("t", 0).unwrap().epochs(), [0, 0, 1]);
}

#[tokio::test]
async fn a_named_producer_whose_next_epoch_is_not_answered_for_long_goes_on() {
    let cluster = FakeCluster::start(1);
    cluster.create_topic("t", 2);
    let builder = Client::builder().bootstrap(cluster.bootstrap());
    let hurried = builder.request_timeout(Duration::from_millis(200));
    let client = hurried.build().unwrap();
    let producer = patiently(async {
        loop {
            // On a machine that stands still the topic itself may not be found in time.
            if let Ok(producer) = client.producer("t").name("writer").build().await {
                return producer;
            }
        }
    });
    let producer = producer.await;
    write(&producer, P0, "a").await;
    let before = cluster.shared.state().asked;
    cluster.faults(|faults| {
        faults.hold_identities = true;
        faults.refuse = [Reason::BadBatch].into();
    });
    let failed = producer.send(Record::new("x").partition(P1)).await.unwrap();
    assert!(patiently(failed).await.is_err());
    // The first needs the next epoch, the second must not go out in the one that may be over.
    let later = producer.send(Record::new("c").partition(P1)).await.unwrap();
    let waiting = producer.send(Record::new("b").partition(P0)).await.unwrap();
    // The only broker is asked once or twice until the client gives up and begins again.
    let asked = |state: &mut fake::State| state.asked >= before + 5;
    cluster.wait_until("it is asked again", asked).await;
    cluster.faults(|faults| faults.hold_identities = false);
    patiently(waiting).await.unwrap();
    patiently(later).await.unwrap();
    assert_eq!(cluster.values("t", P0), ["a", "b"]);
    assert_eq!(cluster.values("t", P1), ["c"]);
    let mut state = cluster.shared.state();
    let epochs = state.partition("t", 0).unwrap().epochs();
    assert_eq!(epochs[1], epochs[0] + 1, "however often it was asked");
}

#[tokio::test]
async fn an_identity_of_another_cluster_is_not_taken() {
    let cluster = FakeCluster::start(2);
    cluster.create_topic("t", 1);
    let client = cluster.client().await;
    // Brokers are asked by their numbers.
    cluster.faults(|faults| faults.foreign = [1].into());
    let plain = client.producer("t").build().await.unwrap();
    for producer in [plain, named(&client).await] {
        write(&producer, P0, "a").await;
    }
    let epochs = cluster.shared.state().partition("t", 0).unwrap().epochs();
    assert_eq!(epochs, [0, 0]);

    cluster.faults(|faults| faults.foreign = [1, 2].into());
    let builder = client.producer("t").name("writer");
    let error = patiently(builder.build()).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::WrongCluster), "{error}");
    let plain = client.producer("t").build().await.unwrap();
    let delivery = plain.send(Record::new("b").partition(P0)).await.unwrap();
    let error = patiently(delivery).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::WrongCluster), "{error}");
    assert_eq!(error.outcome(), Outcome::Refused);
}

#[tokio::test]
async fn a_name_that_cannot_be_is_refused_before_anything_is_asked() {
    let cluster = FakeCluster::start(1);
    cluster.create_topic("t", 1);
    let client = cluster.client().await;
    let error = client.producer("t").name("").build().await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::InvalidRequest));
}
