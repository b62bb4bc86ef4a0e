//! What brokers refuse: what fails of it, and what is tried again.

use super::*;

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
async fn a_gap_in_the_sequence_fails_its_batch_as_refused_and_what_is_sent_next_is_written() {
    let cluster = FakeCluster::start(1);
    cluster.create_topic("t", 1);
    let client = cluster.client().await;
    let producer = producer(&client).build().await.unwrap();
    cluster.faults(|faults| faults.refuse = [Reason::SequenceGap].into());
    let error = patiently(producer.send("a").await.unwrap()).await;
    let error = error.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::SequenceGap));
    assert_eq!(error.outcome(), Outcome::Refused, "{error}");
    let told = patiently(producer.flush()).await.unwrap_err();
    assert_eq!(told.reason(), Some(Reason::SequenceGap));

    // Of a batch that may have been written before, that is still not known.
    let twice = [Reason::OutcomeUnknown, Reason::SequenceGap];
    cluster.faults(|faults| faults.refuse = twice.into());
    let error = patiently(producer.send("b").await.unwrap()).await;
    let error = error.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::SequenceGap));
    assert_eq!(error.outcome(), Outcome::Unknown, "{error}");

    let ack = patiently(producer.send("c").await.unwrap()).await.unwrap();
    assert_eq!(ack.offset, Some(Offset(0)), "under a new producer id");
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
async fn a_broker_that_lags_does_not_make_a_topic_another_one() {
    let cluster = FakeCluster::start(2);
    cluster.create_topic("t", 1);
    let client = cluster.client().await;
    let producer = producer(&client).build().await.unwrap();
    cluster.faults(|faults| {
        faults.told_id = Some("the one before");
        faults.no_hints = true;
    });
    // Whoever writes there has to ask where the leader is.
    cluster.lead("t", 0, 2);
    loop {
        let began = Instant::now();
        match patiently(producer.send("a").await.unwrap()).await {
            Ok(_) => break,
            // What is said for so long (the machine stood still) is believed.
            Err(error) => assert!(began.elapsed() >= Duration::from_secs(5), "{error}"),
        }
    }
    let mut values = cluster.values("t", P0);
    values.dedup();
    assert_eq!(values, ["a"]);
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
async fn a_record_of_too_many_headers_is_refused_at_once_and_alone() {
    let cluster = FakeCluster::start(1);
    cluster.create_topic("t", 1);
    let client = cluster.client().await;
    let producer = producer(&client).linger(PATIENCE).build().await.unwrap();
    let with = |headers| (0..headers).fold(Record::new("x"), |record, _| record.header("", ""));
    let good = producer.send("a").await.unwrap();
    let error = producer.send(with(65_537)).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::BadBatch), "{error}");
    assert_eq!(error.outcome(), Outcome::Refused);
    let some = [Record::new("b"), with(65_537), Record::new("c")];
    let error = producer.send_all(&some).await.unwrap_err();
    assert_eq!(error.sent.len(), 1);
    assert_eq!(error.error.reason(), Some(Reason::BadBatch));
    let most = producer.send(with(65_536)).await.unwrap();
    patiently(producer.flush()).await.unwrap();
    patiently(good).await.unwrap();
    patiently(most).await.unwrap();
    assert_eq!(cluster.values("t", P0), ["a", "b", "x"]);
}
