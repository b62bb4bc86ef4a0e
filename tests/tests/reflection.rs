//! A client with nothing but reflection: what grpcurl can do against any broker.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use highwater_tests::reflect::Reflected;
use highwater_tests::{Api, Broker, Cluster, program};
use serde_json::json;
use tonic::Code;

const LOG: &str = "highwater.v1.LogService";
const TOPICS: &str = "highwater.v1.TopicService";

#[tokio::test]
async fn services_are_listed() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&program!(), dir.path(), &[]);
    let services = Reflected::services(broker.listen()).await;
    for service in [
        LOG,
        TOPICS,
        "highwater.v1.ClusterService",
        "grpc.health.v1.Health",
    ] {
        assert!(
            services.iter().any(|name| name == service),
            "{service} in {services:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_broker_creates_takes_and_gives_records() {
    let cluster = Cluster::start(&program!(), 3);
    let [one, two, three] = [0, 1, 2].map(|place: usize| cluster.brokers[place].listen());
    let topics = Reflected::connect(one, TOPICS).await;
    let request = json!({"name": "t", "partition_count": 1, "replication_factor": 3});
    let created = topics
        .call(&format!("{TOPICS}/CreateTopic"), request)
        .await
        .unwrap();
    assert_eq!(created["topic"]["partition_count"], 1);

    for address in [one, two, three] {
        Api::connect(address).await.high_watermark("t", 0).await;
    }
    for (place, address) in [one, two, three].into_iter().enumerate() {
        let log = Reflected::connect(address, LOG).await;
        let request = json!({"topic": "t", "records": [{"value_text": format!("hi {place}")}]});
        let produced = log.call(&format!("{LOG}/Produce"), request).await.unwrap();
        assert_eq!(produced["topic_id"], created["topic"]["id"]);
    }
    for address in [three, two, one] {
        let log = Reflected::connect(address, LOG).await;
        let request = json!({"topic": "t", "offset": 0});
        let fetched = log.call(&format!("{LOG}/Fetch"), request).await.unwrap();
        let values: Vec<_> = fetched["records"].as_array().unwrap().iter().collect();
        let texts: Vec<_> = values
            .iter()
            .map(|record| record["value_text"].clone())
            .collect();
        assert_eq!(texts, ["hi 0", "hi 1", "hi 2"], "at {address}");
        assert_eq!(fetched["high_watermark"], 3);
    }
}

#[tokio::test]
async fn wrong_requests_are_answered_by_a_code_and_write_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&program!(), dir.path(), &[]);
    broker.run(&["topic", "create", "t", "-p", "1"]).ok();
    let log = Reflected::connect(broker.listen(), LOG).await;
    let produce = format!("{LOG}/Produce");
    let record = json!([{"value_text": "x"}]);
    for (request, code) in [
        (json!({"topic": "none", "records": record}), Code::NotFound),
        (
            json!({"topic": "t", "partition": 7, "records": record}),
            Code::NotFound,
        ),
        (
            json!({"topic": "../t", "records": record}),
            Code::InvalidArgument,
        ),
        (json!({"topic": "t"}), Code::InvalidArgument),
        (
            json!({"topic": "t", "partition": 0, "batch": "not a batch"}),
            Code::InvalidArgument,
        ),
    ] {
        let status = log.call(&produce, request.clone()).await.unwrap_err();
        assert_eq!(status.code(), code, "{request}: {status:?}");
    }
    let huge = json!({"topic": "t", "records": [{"value_text": "x".repeat(5 << 20)}]});
    let status = log.call(&produce, huge).await.unwrap_err();
    assert!(
        matches!(status.code(), Code::OutOfRange | Code::ResourceExhausted),
        "{status:?}"
    );
    assert_eq!(
        broker.run(&["consume", "t", "--exit-at-end"]).ok().text(),
        ""
    );
}
