//! Any broker answers a unary call for the leader, unless it is told never to hand it on; streams
//! are told where the leader is.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use highwater_proto::pb::v1;
use highwater_tests::api::soon;
use highwater_tests::batches::{batch, sequenced};
use highwater_tests::{Answer, Api, Cluster, Refusal, Session, program};
use rustix::process::Signal;
use tonic::Code;

/// How long a client waits that does not wait for ever.
const PATIENCE: Duration = Duration::from_secs(1);

/// Three brokers, the topic `t` on all and the topic `alone` on one.
struct Fixture {
    cluster: Cluster,
    apis: Vec<Api>,
}

impl Fixture {
    async fn new() -> Self {
        let cluster = Cluster::start(&program!(), 3);
        let mut apis = Vec::new();
        for broker in &cluster.brokers {
            apis.push(Api::connect(broker.listen()).await);
        }
        apis[0].create("t", 1, &[]).await;
        let alone = v1::CreateTopicRequest {
            name: "alone".to_owned(),
            partition_count: Some(1),
            replication_factor: Some(1),
            ..v1::CreateTopicRequest::default()
        };
        apis[1].create_topic(alone).await.unwrap();
        for api in &apis {
            for topic in ["t", "alone"] {
                api.leader(topic, 0, |_| true).await;
                api.high_watermark(topic, 0).await;
            }
        }
        Self { cluster, apis }
    }

    /// Asks each broker that does not lead the topic until it says so and names the leader: on a
    /// busy machine leaderships move.
    async fn each_names_leader<T, F>(&self, topic: &str, ask: impl Fn(Api) -> F)
    where
        F: Future<Output = Answer<T>>,
    {
        for (place, api) in self.apis.iter().enumerate() {
            let asking = async {
                loop {
                    let leader = self.cluster.leader_of(topic, 0);
                    if leader == place {
                        return;
                    }
                    let Err(refusal) = ask(api.clone()).await else {
                        continue;
                    };
                    if refusal.reason == "NOT_LEADER" && self.names(leader, topic, &refusal) {
                        return;
                    }
                }
            };
            soon("a broker names the leader", asking).await;
        }
    }

    /// True when the refusal names this broker; fails unless all of it fits together.
    fn names(&self, leader: usize, topic: &str, refusal: &Refusal) -> bool {
        let leader = &self.cluster.brokers[leader];
        let detail = refusal.not_leader();
        if u64::from(detail.leader.unsigned_abs()) != leader.id() {
            return false;
        }
        let id = leader.id().to_string();
        let says = [&format!("{topic}/0"), &id, leader.listen()];
        refusal.is(Code::FailedPrecondition, "NOT_LEADER", &says);
        assert!(refusal.retriable, "{refusal:?}");
        assert_eq!((detail.topic.as_str(), detail.partition), (topic, 0));
        assert_eq!(detail.leader_listen, leader.listen());
        assert!(detail.leader_epoch > 0, "{detail:?}");
        true
    }
}

fn produce(topic: &str, value: &str) -> v1::ProduceRequest {
    v1::ProduceRequest {
        topic: topic.to_owned(),
        partition: Some(0),
        batch: batch([value]),
        ..v1::ProduceRequest::default()
    }
}

fn fetch(topic: &str, offset: i64) -> v1::FetchRequest {
    v1::FetchRequest {
        topic: topic.to_owned(),
        offset,
        ..v1::FetchRequest::default()
    }
}

fn list(topic: &str) -> v1::ListOffsetsRequest {
    v1::ListOffsetsRequest {
        topic: topic.to_owned(),
        ..v1::ListOffsetsRequest::default()
    }
}

/// A batch that no leader takes, because its producer has sent nothing before it.
fn early(topic: &str, producer: i64) -> v1::ProduceRequest {
    v1::ProduceRequest {
        batch: sequenced(producer, 0, 5, ["x"]),
        ..produce(topic, "")
    }
}

#[tokio::test]
async fn calls_are_answered_by_any_broker_or_told_where_the_leader_is() {
    let fixture = Fixture::new().await;
    let producer = fixture.apis[0].producer_id().await;
    for topic in ["t", "alone"] {
        let never = |api: Api| async move { api.produce_with(early(topic, producer), false).await };
        fixture.each_names_leader(topic, never).await;
        let never = |api: Api| async move { api.fetch_with(fetch(topic, 0), false).await };
        fixture.each_names_leader(topic, never).await;
        let never = |api: Api| async move { api.list_offsets_with(list(topic), false).await };
        fixture.each_names_leader(topic, never).await;

        for (sequence, api) in (0..).zip(&fixture.apis) {
            let batch = sequenced(producer, 0, sequence, ["forwarded"]);
            let appended = api.append_surely(topic, &batch).await;
            assert_eq!(appended.base_offset, i64::from(sequence));
            assert_eq!(api.high_watermark(topic, 0).await, i64::from(sequence) + 1);
        }
        for api in &fixture.apis {
            assert_eq!(api.values(topic, 0).await, ["forwarded"; 3]);
        }
    }
}

#[tokio::test]
async fn streams_are_told_where_the_leader_is_and_a_session_goes_on() {
    let fixture = Fixture::new().await;
    let producer = fixture.apis[0].producer_id().await;
    let subscribe = |api: Api| async move {
        let request = v1::SubscribeRequest {
            topic: "t".to_owned(),
            ..v1::SubscribeRequest::default()
        };
        api.subscribe(request).await
    };
    fixture.each_names_leader("t", subscribe).await;
    let session = |api: Api| async move {
        let mut session = Session::open(&api).await;
        let first = session.send("t", 0, early("t", producer).batch);
        let second = session.send("t", 0, early("t", producer).batch);
        session.answer(first).await.unwrap_err();
        session.answer(second).await
    };
    fixture.each_names_leader("t", session).await;
    assert_eq!(fixture.apis[0].high_watermark("t", 0).await, 0);
}

#[tokio::test]
async fn a_refusal_of_the_leader_reaches_whoever_asked_another_broker() {
    let fixture = Fixture::new().await;
    for api in &fixture.apis {
        let refused = api.fetch_led(fetch("t", 9)).await.unwrap_err();
        refused.is(Code::OutOfRange, "OFFSET_OUT_OF_RANGE", &["9", "0 to 0"]);
        let range = refused.offset_range();
        assert_eq!((range.offset, range.high_watermark), (9, 0));

        let producer = api.producer_id().await;
        let refused = api.append("t", 0, early("t", producer).batch).await;
        let refused = refused.unwrap_err();
        let unknown = "nothing here that sequence 5 could follow";
        refused.is(Code::FailedPrecondition, "UNKNOWN_PRODUCER", &[unknown]);

        let refused = api.append("t", 0, vec![7]).await.unwrap_err();
        refused.is(Code::InvalidArgument, "BAD_BATCH", &["ends after 1"]);
    }
}

#[tokio::test]
async fn what_one_broker_has_changed_the_others_know_at_once() {
    let fixture = Fixture::new().await;
    for (number, api) in fixture.apis.iter().enumerate() {
        let name = format!("fresh-{number}");
        let id = api.create(&name, 1, &[]).await;
        for other in &fixture.apis {
            let producer = other.producer_id().await;
            let once = sequenced(producer, 0, 0, ["x"]);
            let appended = other.append_surely(&name, &once).await;
            assert_eq!(appended.topic_id, id);
        }
        api.delete(&name, &id).await.unwrap();
        let again = api.create(&name, 1, &[]).await;
        for other in &fixture.apis {
            let request = v1::ProduceRequest {
                topic_id: id.clone(),
                ..produce(&name, "late")
            };
            let refused = other.produce(request).await.unwrap_err();
            let says = [id.as_str(), &again];
            refused.is(Code::FailedPrecondition, "TOPIC_ID_MISMATCH", &says);
            assert_eq!(other.high_watermark(&name, 0).await, 0);
        }
    }
}

#[tokio::test]
async fn without_a_majority_nothing_is_taken_and_nobody_waits_for_ever() {
    let mut fixture = Fixture::new().await;
    let producer = fixture.apis[0].producer_id().await;
    let before = sequenced(producer, 0, 0, ["before"]);
    fixture.apis[0].append_surely("t", &before).await;
    let leader = fixture.cluster.leader_of("t", 0);
    let api = fixture.apis[leader].clone();
    let others: Vec<usize> = (0..3).filter(|place| *place != leader).collect();
    for place in &others {
        fixture.cluster.brokers[*place].kill();
    }
    // What is sent before the leader knows may be in the log or not, and may have no answer.
    let mut unknown = 0;
    let refused = async {
        loop {
            let asked = api.produce_with(produce("t", "lost"), false);
            match tokio::time::timeout(PATIENCE, asked).await {
                Ok(Ok(appended)) => panic!("one of three is no majority: {appended:?}"),
                Ok(Err(refused)) if refused.reason == "NOT_LEADER" => {}
                Ok(Err(refused)) if refused.reason != "OUTCOME_UNKNOWN" => return refused,
                Ok(Err(_)) | Err(_) => unknown += 1,
            }
        }
    };
    let refused = soon("a refusal", refused).await;
    assert_eq!(refused.code, Code::Unavailable, "{refused:?}");
    assert!(
        ["QUORUM_LOST", "NO_LEADER"].contains(&&*refused.reason),
        "{refused:?}"
    );
    assert!(refused.retriable, "{refused:?}");
    let listed = api.list_offsets_with(list("t"), false).await.unwrap_err();
    assert_eq!(listed.code, Code::Unavailable, "{listed:?}");
    assert!(listed.retriable, "{listed:?}");

    let launch = |place: &usize| (*place, fixture.cluster.brokers[*place].relaunch());
    let launched: Vec<_> = others.iter().map(launch).collect();
    for (place, broker) in launched {
        fixture.cluster.brokers[place] = broker.until_ready();
    }
    fixture.cluster.until_healthy();
    let after = sequenced(producer, 0, 1, ["after"]);
    api.append_surely("t", &after).await;
    let mut values = api.values("t", 0).await;
    assert_eq!(values.remove(0), "before");
    assert_eq!(values.pop().unwrap(), "after");
    assert!(values.len() <= unknown && values.iter().all(|value| value == "lost"));
}

#[tokio::test]
async fn a_topic_is_created_once_while_the_controller_changes() {
    let fixture = Fixture::new().await;
    let old = fixture.apis[0].controller(|_| true).await;
    let is_old =
        |place: &usize| fixture.cluster.brokers[*place].id() == u64::from(old.unsigned_abs());
    let place = (0..3).find(is_old).unwrap();
    let api = &fixture.apis[(place + 1) % 3];
    fixture.cluster.brokers[place].signal(Signal::STOP);
    let request = v1::CreateTopicRequest {
        name: "fresh".to_owned(),
        partition_count: Some(1),
        ..v1::CreateTopicRequest::default()
    };
    let creating = tokio::spawn({
        let api = api.clone();
        async move { api.create_topic(request).await }
    });
    api.controller(|id| id != old).await;
    fixture.cluster.brokers[place].signal(Signal::CONT);
    let created = creating.await.unwrap().unwrap();
    for api in &fixture.apis {
        let producer = api.producer_id().await;
        let once = sequenced(producer, 0, 0, ["x"]);
        let appended = api.append_surely("fresh", &once).await;
        assert_eq!(appended.topic_id, created.id);
    }
}

#[tokio::test]
async fn a_broker_alone_tells_what_it_knows_and_not_what_is_not_there() {
    let mut fixture = Fixture::new().await;
    for place in [1, 2] {
        fixture.cluster.brokers[place].kill();
    }
    let api = &fixture.apis[0];
    assert_eq!(api.topic_names().await, ["alone", "t"]);
    assert!(api.tells("t").await.iter().all(Result::is_ok));
    for told in api.tells("nobody").await {
        told.unwrap_err().is(Code::Unavailable, "NOT_READY", &[]);
    }
}
