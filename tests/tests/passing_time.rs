//! Days pass at once: what is kept for a time goes after that time, by append time, and not before.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use highwater_broker::testing::Broker;
use highwater_client::{Client, NewTopic, Record};
use highwater_proto::pb::v1;
use highwater_tests::Api;
use highwater_tests::api::soon;
use highwater_tests::batches::{batch, sequenced};
use tonic::Code;

const DAY: Duration = Duration::from_hours(24);

/// Waits until the partition begins here; it must not begin anywhere between.
async fn begins_at(api: &Api, before: i64, wanted: i64) {
    let request = v1::ListOffsetsRequest {
        topic: "t".to_owned(),
        ..v1::ListOffsetsRequest::default()
    };
    let moving = async {
        loop {
            let found = api.list_led(request.clone()).await.unwrap();
            let start = found.log_start_offset;
            if start == wanted {
                return;
            }
            assert_eq!(start, before, "not what is to go");
        }
    };
    soon("the log start moves", moving).await
}

#[tokio::test]
async fn a_producer_is_remembered_for_seven_days_after_its_last_record_and_then_refused() {
    let mut broker = Broker::start().await.unwrap();
    let mut api = Api::connect(&broker.address()).await;
    api.create("t", 1, &[]).await;
    let producer = api.producer_id().await;
    let record = |sequence| sequenced(producer, 0, sequence, ["record"]);
    for sequence in 0..2 {
        let appended = api.append_surely("t", &record(sequence)).await;
        assert_eq!(appended.base_offset, i64::from(sequence));
        broker.advance(6 * DAY);
        let again = api.append_surely("t", &record(sequence)).await;
        let original = (again.base_offset, again.duplicate);
        assert_eq!(original, (i64::from(sequence), true));
    }
    // More than seven days after its last record.
    broker.advance(DAY + Duration::from_secs(1));
    for _ in 0..2 {
        for sequence in 0..3 {
            let refused = api.append("t", 0, record(sequence)).await.unwrap_err();
            refused.is(Code::FailedPrecondition, "UNKNOWN_PRODUCER", &[]);
        }
        assert_eq!(api.high_watermark("t", 0).await, 2, "nothing was written");
        broker.kill().await;
        broker.restart().await.unwrap();
        api = Api::connect(&broker.address()).await;
    }
    let new = api.producer_id().await;
    let appended = api.append_surely("t", &sequenced(new, 0, 0, ["new"])).await;
    assert_eq!(appended.base_offset, 2);
}

#[tokio::test]
async fn the_name_of_a_producer_is_kept_for_twenty_eight_days_after_it_was_used() {
    let broker = Broker::start().await.unwrap();
    let api = Api::connect(&broker.address()).await;
    let id = api.next_epoch("n").await.producer_id;
    for epoch in 1..4 {
        broker.advance(27 * DAY);
        let taken_over = api.next_epoch("n").await;
        let found = (taken_over.producer_id, taken_over.producer_epoch);
        assert_eq!(found, (id, epoch));
    }
    broker.advance(28 * DAY + Duration::from_secs(1));
    let begun = api.next_epoch("n").await;
    assert_ne!(begun.producer_id, id);
    assert_eq!(begun.producer_epoch, 0);
}

#[tokio::test]
async fn records_go_after_retention_ms_and_not_before() {
    let broker = Broker::start().await.unwrap();
    let api = Api::connect(&broker.address()).await;
    let week = (7 * DAY).as_millis().to_string();
    api.create("t", 1, &[("retention.ms", &week)]).await;
    api.append("t", 0, batch(["first"])).await.unwrap();
    broker.advance(6 * DAY);
    api.append("t", 0, batch(["second"])).await.unwrap();
    broker.advance(2 * DAY);
    begins_at(&api, 0, 1).await;
    broker.advance(4 * DAY);
    let read = v1::FetchRequest {
        topic: "t".to_owned(),
        offset: 1,
        ..v1::FetchRequest::default()
    };
    let read = api.fetch_led(read).await.unwrap();
    assert_eq!(read.records.len(), 1, "it is six days old");
    broker.advance(DAY);
    begins_at(&api, 1, 2).await;
}

#[tokio::test]
async fn all_brokers_of_a_cluster_are_in_the_same_time() {
    let mut brokers = vec![Broker::start().await.unwrap()];
    for _ in 0..2 {
        let beside = brokers[0].start_beside().await.unwrap();
        brokers.push(beside);
    }
    let addresses: Vec<String> = brokers.iter().map(Broker::address).collect();
    let client = Client::connect(addresses.join(",")).await.unwrap();
    let week = (7 * DAY).as_millis().to_string();
    let topic = NewTopic::new("t").replication(3);
    client
        .create_topic(topic.config("retention.ms", week))
        .await
        .unwrap();
    let producer = client.producer("t").build().await.unwrap();
    let append = async || {
        let delivery = producer.send(Record::new("record")).await.unwrap();
        soon("an acknowledgement", delivery).await.unwrap()
    };
    let mut last = append().await.append_time.unwrap();
    for (first, gone) in (0..).zip(&mut brokers) {
        gone.advance(8 * DAY);
        gone.kill().await;
        let next = append().await.append_time.unwrap();
        let days = (next.0 - last.0) / DAY.as_millis() as i64;
        assert_eq!(days, 8, "of whichever broker leads");
        last = next;
        gone.restart().await.unwrap();
        let api = Api::connect(&gone.address()).await;
        begins_at(&api, first, first + 1).await;
    }
}
