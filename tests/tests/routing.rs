//! Any broker answers a unary call for the leader, unless it is told never to hand it on; streams
//! are told where the leader is.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use highwater_proto::pb::v1;
use highwater_tests::api::soon;
use highwater_tests::batches::{batch, sequenced};
use highwater_tests::{Api, Cluster, Refusal, Session, program};
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

    /// The brokers that do not lead the topic.
    fn others(&self, topic: &str) -> impl Iterator<Item = &Api> {
        let leader = self.cluster.leader_of(topic, 0);
        let others = self.apis.iter().enumerate();
        others.filter_map(move |(place, api)| (place != leader).then_some(api))
    }

    /// Fails unless the refusal names the leader of the topic and its address.
    #[track_caller]
    fn names_leader(&self, topic: &str, refusal: &Refusal) {
        let leader = &self.cluster.brokers[self.cluster.leader_of(topic, 0)];
        let id = leader.id().to_string();
        let says = [&format!("{topic}/0"), &id, leader.listen()];
        refusal.is(Code::FailedPrecondition, "NOT_LEADER", &says);
        assert!(refusal.retriable, "{refusal:?}");
        let detail = refusal.not_leader();
        assert_eq!((detail.topic.as_str(), detail.partition), (topic, 0));
        assert_eq!(detail.leader.to_string(), id);
        assert_eq!(detail.leader_listen, leader.listen());
        assert!(detail.leader_epoch > 0, "{detail:?}");
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

#[tokio::test]
async fn calls_are_answered_by_any_broker_or_told_where_the_leader_is() {
    let fixture = Fixture::new().await;
    for topic in ["t", "alone"] {
        let mut end = 0;
        for api in fixture.others(topic) {
            let told = api.produce_with(produce(topic, "never"), false).await;
            fixture.names_leader(topic, &told.unwrap_err());
            let told = api.fetch_with(fetch(topic, 0), false).await;
            fixture.names_leader(topic, &told.unwrap_err());
            let told = api.list_offsets_with(list(topic), false).await;
            fixture.names_leader(topic, &told.unwrap_err());

            let appended = api.produce(produce(topic, "forwarded")).await.unwrap();
            assert_eq!(appended.base_offset, end);
            end += 1;
            assert_eq!(api.list_offsets(list(topic)).await.unwrap().offset, end);
            let read = api.fetch(fetch(topic, 0)).await.unwrap();
            assert_eq!((read.next_offset, read.high_watermark), (end, end));
        }
        for api in &fixture.apis {
            assert_eq!(api.values(topic, 0).await, ["forwarded", "forwarded"]);
        }
    }
}

#[tokio::test]
async fn streams_are_told_where_the_leader_is_and_a_session_goes_on() {
    let fixture = Fixture::new().await;
    for api in fixture.others("t") {
        let request = v1::SubscribeRequest {
            topic: "t".to_owned(),
            ..v1::SubscribeRequest::default()
        };
        fixture.names_leader("t", &api.subscribe(request).await.unwrap_err());
        let mut session = Session::open(api).await;
        for _ in 0..2 {
            let number = session.send("t", 0, batch(["x"]));
            fixture.names_leader("t", &session.answer(number).await.unwrap_err());
        }
    }
    assert_eq!(fixture.apis[0].high_watermark("t", 0).await, 0);
}

#[tokio::test]
async fn a_refusal_of_the_leader_reaches_whoever_asked_another_broker() {
    let fixture = Fixture::new().await;
    for api in fixture.others("t") {
        let refused = api.fetch(fetch("t", 9)).await.unwrap_err();
        refused.is(Code::OutOfRange, "OFFSET_OUT_OF_RANGE", &["9", "0 to 0"]);
        let range = refused.offset_range();
        assert_eq!((range.offset, range.high_watermark), (9, 0));

        let producer = api.producer_id().await;
        let early = sequenced(producer, 0, 5, ["x"]);
        let refused = api.append("t", 0, early).await.unwrap_err();
        refused.is(Code::FailedPrecondition, "SEQUENCE_GAP", &["5", "0"]);
        assert_eq!(refused.sequence_gap().expected_sequence, 0);

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
            let appended = other.append(&name, 0, batch(["x"])).await.unwrap();
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
    let leader = fixture.cluster.leader_of("t", 0);
    let api = fixture.apis[leader].clone();
    api.append("t", 0, batch(["before"])).await.unwrap();
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

    for place in &others {
        let relaunched = fixture.cluster.brokers[*place].relaunch();
        fixture.cluster.brokers[*place] = relaunched.until_ready();
    }
    fixture.cluster.until_healthy();
    api.append("t", 0, batch(["after"])).await.unwrap();
    let mut values = api.values("t", 0).await;
    assert_eq!(values.remove(0), "before");
    assert_eq!(values.pop().unwrap(), "after");
    assert!(values.len() <= unknown && values.iter().all(|value| value == "lost"));
}
