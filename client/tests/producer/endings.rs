//! What is held, until when it is tried, and how a producer ends.

use super::*;

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
        // What is held, not what the producer counts.
        assert!(sent.len() * value.len() <= limit, "{} records", sent.len());
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
async fn closing_delivers_what_was_sent_and_takes_no_more() {
    let cluster = FakeCluster::start(1);
    cluster.create_topic("t", 1);
    let client = cluster.client().await;
    let builder = producer(&client).linger(Duration::from_secs(3600));
    let producer = builder.build().await.unwrap();
    let delivery = producer.send("a").await.unwrap();
    patiently(producer.shutdown(PATIENCE)).await.unwrap();
    assert_eq!(delivery.await.unwrap().offset, Some(Offset(0)));
    // A program that sends again whatever may be sent again does not do so for ever.
    let refused = |error: Error| {
        assert_eq!(error.reason(), Some(Reason::NotReady));
        assert_eq!(error.outcome(), Outcome::Refused, "{error}");
        assert!(!error.is_retriable());
    };
    refused(producer.send("b").await.unwrap_err());
    refused(producer.try_send("b").unwrap_err().error);
    let failed = producer.send_all(&[Record::new("b")]).await.unwrap_err();
    refused(failed.error);
}

#[tokio::test]
async fn a_send_that_waits_for_space_when_the_producer_ends_is_refused() {
    let cluster = FakeCluster::start(1);
    cluster.create_topic("t", 1);
    cluster.faults(|faults| faults.hold_acks = true);
    let client = cluster.client().await;
    let builder = producer(&client).buffer_bytes(200);
    let producer = builder.build().await.unwrap();
    let delivery = producer.send(vec![b'x'; 100]).await.unwrap();
    let mut waiting = Box::pin(producer.send(vec![b'y'; 100]));
    assert!(poll!(&mut waiting).is_pending());
    let mut end = Box::pin(producer.shutdown(PATIENCE));
    assert!(poll!(&mut end).is_pending());
    let error = producer.try_send(vec![b'z'; 100]).unwrap_err().error;
    assert_eq!(error.outcome(), Outcome::Refused, "{error}");
    let error = patiently(waiting).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::Refused, "{error}");
    cluster.faults(|faults| faults.hold_acks = false);
    patiently(end).await.unwrap();
    patiently(delivery).await.unwrap();
}

#[tokio::test]
async fn a_producer_whose_runtime_has_ended_refuses_what_it_is_asked_to_send() {
    let cluster = FakeCluster::start(1);
    cluster.create_topic("t", 1);
    let elsewhere = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let bootstrap = cluster.bootstrap();
    let built = elsewhere.spawn(async {
        let client = Client::connect(bootstrap).await.unwrap();
        producer(&client).build().await.unwrap()
    });
    let producer = patiently(built).await.unwrap();
    let end = tokio::task::spawn_blocking(|| elsewhere.shutdown_timeout(PATIENCE));
    patiently(end).await.unwrap();
    let error = producer.send("a").await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::Refused, "{error}");
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
async fn a_buffer_of_small_batches_holds_what_it_does_of_large_ones() {
    let cluster = FakeCluster::start(1);
    cluster.create_topic("t", 1);
    cluster.faults(|faults| faults.hold_acks = true);
    let client = cluster.client().await;
    let limit = 1 << 20;
    let builder = producer(&client).buffer_bytes(limit).batch_bytes(1000);
    let producer = builder.build().await.unwrap();
    let mut sent = 0;
    while producer.try_send(&[7; 100]).is_ok() {
        sent += 1;
    }
    assert!(sent * 150 > limit * 9 / 10, "{sent} records fit");
    cluster.faults(|faults| faults.hold_acks = false);
    patiently(producer.flush()).await.unwrap();
    assert_eq!(producer.buffered_bytes(), 0);
}
