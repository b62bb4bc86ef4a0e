//! The producer against brokers that drop sessions, move leaders, hold acks and die.
#![allow(clippy::unwrap_used, reason = "tests")]

mod fake;

use std::collections::BTreeSet;
use std::time::Duration;

use fake::{FakeCluster, PATIENCE};
use futures_util::poll;
use highwater_client::{
    Client, Codec, Delivery, Offset, Outcome, PartitionIndex, ProducerBuilder, Reason, Record,
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
    cluster.faults(|faults| faults.swallow_one_in = Some(8));
    send_all(&mut cluster, 4, 20_000, |_, _| {}).await;
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
async fn leaders_may_move_at_any_time_with_and_without_a_hint() {
    let mut cluster = FakeCluster::start(3);
    cluster.create_topic("t", 2);
    let moves = |cluster: &mut FakeCluster, i: u32| {
        if i.is_multiple_of(500) {
            let turn = i / 500;
            cluster.faults(|faults| faults.no_hints = turn.is_multiple_of(2));
            cluster.lead("t", turn % 2, (turn % 3 + 1) as i32);
        }
    };
    send_all(&mut cluster, 2, 20_000, moves).await;
}

#[tokio::test]
async fn a_leader_may_die_and_come_back_at_another_address() {
    let mut cluster = FakeCluster::start(3);
    cluster.create_topic("t", 3);
    let deaths = |cluster: &mut FakeCluster, i: u32| match i {
        3_000 => cluster.kill(2),
        6_000 => cluster.start_broker(2),
        7_000 => cluster.kill(1),
        8_000 => cluster.lead("t", 0, 3),
        _ => {}
    };
    send_all(&mut cluster, 3, 12_000, deaths).await;
}

#[tokio::test]
async fn whatever_may_help_to_try_again_is_tried_again() {
    let mut cluster = FakeCluster::start(1);
    cluster.create_topic("t", 1);
    cluster.faults(|faults| {
        faults.refuse = [
            Reason::Overloaded,
            Reason::DiskFull,
            Reason::QuorumLost,
            Reason::NotReady,
            Reason::NoLeader,
            Reason::NotLeader,
            Reason::OutcomeUnknown,
            Reason::UnknownProducer,
            Reason::TimedOut,
        ]
        .into();
    });
    send_all(&mut cluster, 1, 500, |_, _| {}).await;
}

#[tokio::test]
async fn the_buffer_bounds_what_is_held_while_no_ack_comes() {
    let cluster = FakeCluster::start(1);
    cluster.create_topic("t", 1);
    cluster.faults(|faults| faults.hold_acks = true);
    let client = cluster.client().await;
    let limit = 64 << 10;
    let builder = producer(&client).buffer_bytes(limit).batch_bytes(4096);
    let producer = builder.build().await.unwrap();
    let value = [7; 100];
    let mut sent = Vec::new();
    let refused = loop {
        assert!(producer.buffered_bytes() <= limit);
        match producer.try_send(&value) {
            Ok(delivery) => sent.push(delivery),
            Err(refused) => break refused,
        }
    };
    assert_eq!(refused.error.reason(), Some(Reason::Overloaded));
    assert!(sent.len() > limit / 200, "{} records fit", sent.len());
    let mut waiting = Box::pin(producer.send(refused.record));
    assert!(poll!(&mut waiting).is_pending());
    cluster.faults(|faults| faults.hold_acks = false);
    sent.push(patiently(waiting).await.unwrap());
    patiently(producer.flush()).await.unwrap();
    assert_eq!(producer.buffered_bytes(), 0);
    assert_eq!(cluster.values("t", P0).len(), sent.len());
}

#[tokio::test]
async fn past_its_deadline_a_batch_that_may_be_written_fails_as_unknown() {
    let cluster = FakeCluster::start(1);
    cluster.create_topic("t", 2);
    cluster.faults(|faults| faults.hold_acks = true);
    let client = cluster.client().await;
    let builder = producer(&client).delivery_timeout(Duration::from_secs(10));
    let producer = builder.build().await.unwrap();
    let sent = producer.send(Record::new("a").partition(P0)).await.unwrap();
    let on_its_way = |state: &mut fake::State| state.partition("t", 0).unwrap().next_offset == 1;
    cluster
        .wait_until("the batch is appended", on_its_way)
        .await;
    let gathered = producer.send(Record::new("b").partition(P0)).await.unwrap();
    // By jumps that are shorter than what a connection waits for the answer to a ping.
    for _ in 0..6 {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(2)).await;
        tokio::time::resume();
        patiently(client.brokers()).await.unwrap();
    }

    let error = patiently(sent).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::TimedOut));
    assert_eq!(error.outcome(), Outcome::Unknown);
    let error = patiently(gathered).await.unwrap_err();
    assert_eq!(
        error.outcome(),
        Outcome::Retriable,
        "it was never sent: {error}"
    );
    assert!(error.message().contains("earlier batch"), "{error}");
    assert!(
        producer.flush().await.is_err(),
        "a flush tells of the failure"
    );

    cluster.faults(|faults| faults.hold_acks = false);
    let later = producer.send(Record::new("c").partition(P0)).await.unwrap();
    let ack = patiently(later).await.unwrap();
    assert_eq!(ack.offset, Some(Offset(1)), "under a new producer id");
    assert_eq!(cluster.values("t", P0), ["a", "c"]);
    patiently(producer.flush()).await.unwrap();
}

#[tokio::test]
async fn past_its_deadline_a_batch_that_was_never_sent_fails_as_not_written() {
    let mut cluster = FakeCluster::start(1);
    cluster.create_topic("t", 1);
    let client = cluster.client().await;
    let builder = producer(&client).delivery_timeout(Duration::from_millis(100));
    let producer = builder.build().await.unwrap();
    cluster.kill(1);
    let delivery = producer.send("a").await.unwrap();
    let error = patiently(delivery).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::TimedOut));
    assert_eq!(error.outcome(), Outcome::Retriable, "{error}");
}

#[tokio::test]
async fn a_refused_batch_fails_all_that_its_partition_holds_and_nothing_else() {
    let cluster = FakeCluster::start(1);
    cluster.create_topic("t", 2);
    cluster.faults(|faults| faults.hold_acks = true);
    let client = cluster.client().await;
    let producer = producer(&client).build().await.unwrap();
    let p1 = PartitionIndex(1);
    let other = producer.send(Record::new("x").partition(p1)).await.unwrap();
    let appended = |state: &mut fake::State| state.partition("t", 1).unwrap().next_offset == 1;
    cluster
        .wait_until("the other batch is appended", appended)
        .await;
    cluster.faults(|faults| faults.refuse = [Reason::BadBatch].into());
    // One goes at once and is refused behind the other's held ack; the next is still gathered.
    let refused = producer.send(Record::new("a").partition(P0)).await.unwrap();
    let judged = |state: &mut fake::State| state.faults.refuse.is_empty();
    cluster.wait_until("the batch is judged", judged).await;
    let behind = producer.send(Record::new("b").partition(P0)).await.unwrap();
    cluster.faults(|faults| faults.hold_acks = false);

    let error = patiently(refused).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::BadBatch));
    assert_eq!(error.outcome(), Outcome::Refused);
    let error = patiently(behind).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::Retriable, "{error}");
    patiently(other).await.unwrap();
    let later = producer.send(Record::new("c").partition(P0)).await.unwrap();
    patiently(later).await.unwrap();
    assert_eq!(cluster.values("t", P0), ["c"]);
}

#[tokio::test]
async fn a_duplicate_too_old_to_place_counts_as_acknowledged() {
    let cluster = FakeCluster::start(1);
    cluster.create_topic("t", 1);
    cluster.faults(|faults| faults.refuse = [Reason::DuplicateSequence].into());
    let client = cluster.client().await;
    let producer = producer(&client).build().await.unwrap();
    let ack = patiently(producer.send("a").await.unwrap()).await.unwrap();
    assert!(ack.duplicate);
    assert_eq!((ack.offset, ack.append_time), (None, None));
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

#[tokio::test]
async fn closing_delivers_what_was_sent_and_takes_no_more() {
    let cluster = FakeCluster::start(1);
    cluster.create_topic("t", 1);
    let client = cluster.client().await;
    let builder = producer(&client).linger(Duration::from_secs(3600));
    let producer = builder.build().await.unwrap();
    let delivery = producer.send("a").await.unwrap();
    patiently(producer.shutdown(PATIENCE)).await.unwrap();
    assert_eq!(delivery.await.unwrap().offset, Some(Offset(0)));
    let error = producer.send("b").await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::NotReady));
}

#[tokio::test]
async fn closing_gives_up_at_its_deadline_and_says_what_is_unknown() {
    let cluster = FakeCluster::start(1);
    cluster.create_topic("t", 1);
    cluster.faults(|faults| faults.hold_acks = true);
    let client = cluster.client().await;
    let producer = producer(&client).build().await.unwrap();
    let delivery = producer.send("a").await.unwrap();
    let appended = |state: &mut fake::State| state.partition("t", 0).unwrap().next_offset == 1;
    cluster.wait_until("the batch is appended", appended).await;
    let error = patiently(producer.shutdown(Duration::from_millis(10))).await;
    assert_eq!(error.unwrap_err().outcome(), Outcome::Unknown);
    assert_eq!(delivery.await.unwrap_err().outcome(), Outcome::Unknown);
}

#[tokio::test]
async fn dropping_the_producer_still_delivers() {
    let cluster = FakeCluster::start(1);
    cluster.create_topic("t", 1);
    let client = cluster.client().await;
    let producer = producer(&client).build().await.unwrap();
    for i in 0..100 {
        drop(producer.send(i.to_string()).await.unwrap());
    }
    drop((producer, client));
    let all = |state: &mut fake::State| state.partition("t", 0).unwrap().next_offset == 100;
    cluster.wait_until("all records are appended", all).await;
}

#[tokio::test]
async fn a_record_that_no_batch_can_hold_is_refused_at_once() {
    let cluster = FakeCluster::start(1);
    cluster.create_topic("t", 1);
    let client = cluster.client().await;
    let producer = producer(&client).build().await.unwrap();
    let error = producer.send(vec![0; 2 << 20]).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::BatchTooLarge));
    // The topic takes batches of 1 MiB: what is just below is a batch of its own.
    let large = producer.send(vec![b'x'; (1 << 20) - 100]).await.unwrap();
    patiently(large).await.unwrap();
}

#[tokio::test]
async fn a_topic_that_was_created_anew_is_not_written_to() {
    let cluster = FakeCluster::start(1);
    cluster.create_topic("t", 1);
    let client = cluster.client().await;
    let producer = producer(&client).build().await.unwrap();
    cluster.create_topic("t", 1);
    let error = patiently(producer.send("a").await.unwrap())
        .await
        .unwrap_err();
    assert_eq!(error.reason(), Some(Reason::TopicIdMismatch));
    assert!(cluster.values("t", P0).is_empty());
}

#[tokio::test]
async fn one_bootstrap_broker_that_lives_is_enough() {
    let mut cluster = FakeCluster::start(3);
    cluster.create_topic("t", 1);
    cluster.lead("t", 0, 3);
    let bootstrap = cluster.bootstrap();
    cluster.kill(1);
    let client = patiently(Client::connect(&bootstrap)).await.unwrap();
    let producer = producer(&client).build().await.unwrap();
    cluster.kill(2);
    patiently(producer.send("a").await.unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_leader_that_falls_silent_is_left_for_the_one_that_took_over() {
    let cluster = FakeCluster::start(2);
    cluster.create_topic("t", 1);
    cluster.faults(|faults| faults.mute = Some(1));
    let client = cluster.client().await;
    let producer = producer(&client).build().await.unwrap();
    let delivery = producer.send("a").await.unwrap();
    let appended = |state: &mut fake::State| state.partition("t", 0).unwrap().next_offset == 1;
    cluster.wait_until("the batch is appended", appended).await;
    cluster.lead("t", 0, 2);
    let ack = patiently(delivery).await.unwrap();
    assert!(ack.duplicate, "it is found where the silent leader put it");
    assert_eq!(ack.offset, Some(Offset(0)));
}

#[tokio::test]
async fn a_leader_that_does_not_open_a_session_is_not_waited_for_once_another_leads() {
    let mut cluster = FakeCluster::start(2);
    cluster.create_topic("t", 1);
    cluster.hang(1);
    let client = cluster.client().await;
    let producer = producer(&client).build().await.unwrap();
    let delivery = producer.send("a").await.unwrap();
    cluster.lead("t", 0, 2);
    // The session that never opens would be given up much later.
    let soon = Duration::from_secs(8);
    let ack = tokio::time::timeout(soon, delivery).await.expect("soon");
    assert_eq!(ack.unwrap().offset, Some(Offset(0)));
}

#[tokio::test]
async fn a_leader_that_has_yet_to_learn_of_the_topic_is_asked_again() {
    let mut cluster = FakeCluster::start(1);
    cluster.create_topic("t", 1);
    cluster.faults(|faults| faults.ignorance = 5);
    send_all(&mut cluster, 1, 100, |_, _| {}).await;
}

#[tokio::test]
async fn a_topic_that_was_deleted_fails_what_was_sent_to_it() {
    let cluster = FakeCluster::start(1);
    cluster.create_topic("t", 1);
    let client = cluster.client().await;
    let producer = producer(&client).build().await.unwrap();
    client.delete_topic("t").await.unwrap();
    let error = patiently(producer.send("a").await.unwrap())
        .await
        .unwrap_err();
    assert_eq!(error.reason(), Some(Reason::TopicNotFound));
    assert_eq!(error.outcome(), Outcome::Refused);
}
