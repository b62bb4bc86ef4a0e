//! The log of the metadata stays short, and a broker that missed what was purged comes back.

use std::collections::HashMap;

use highwater_proto::pb::v1;
use highwater_tests::api::soon;
use highwater_tests::{Api, Cluster, program};
use tokio::net::TcpStream;
use tonic::Code;

use super::fill;

/// Changes settings; asks again while nobody leads the metadata, or nobody knows whether it was done.
async fn altered(api: &Api, request: v1::AlterTopicRequest) {
    let altering = async {
        while let Err(refusal) = api.alter(request.clone()).await {
            let again = refusal.retriable || refusal.reason == "OUTCOME_UNKNOWN";
            assert!(again, "{refusal:?}");
        }
    };
    soon("settings are changed", altering).await;
}

/// Changes a setting of the topic `t` until the metadata is saved as a state.
async fn altered_often(api: &Api) {
    for round in 0..13_u64 {
        let alter = |number: u64| {
            let ms = 1000 + round * 100 + number;
            let request = v1::AlterTopicRequest {
                name: "t".to_owned(),
                set: [("segment.ms".to_owned(), ms.to_string())].into(),
                unset: Vec::new(),
            };
            altered(api, request)
        };
        futures_util::future::join_all((0..100).map(alter)).await;
    }
}

/// Waits until a broker knows these settings of a topic.
async fn until_known(api: &Api, topic: &str, config: &HashMap<String, String>) {
    let known = async { while api.describe(topic).await.unwrap().config != *config {} };
    soon("a broker knows the settings", known).await;
}

#[tokio::test]
async fn the_metadata_is_compacted_and_a_broker_that_missed_it_gets_a_snapshot() {
    let mut cluster = Cluster::start(&program!(), 3);
    let api = Api::connect(cluster.brokers[0].listen()).await;
    api.create("t", 1, &[]).await;
    let is_controller = |place: usize| {
        let id = i32::try_from(cluster.brokers[place].id()).unwrap();
        move |controller: i32| controller == id
    };
    let controller = api.controller(|_| true).await;
    let late = (0..3)
        .find(|place| !is_controller(*place)(controller))
        .unwrap();
    let other = (0..3).find(|place| *place != late).unwrap();
    cluster.brokers[late].kill();

    let api = Api::connect(cluster.brokers[other].listen()).await;
    altered_often(&api).await;
    let before = api.describe("t").await.unwrap().config;
    cluster.brokers[other].log_line("the log of the metadata was purged");

    cluster.brokers[late].restart();
    cluster.until_healthy();
    cluster.brokers[late].log_line("taking up a snapshot");
    let api = Api::connect(cluster.brokers[late].listen()).await;
    until_known(&api, "t", &before).await;
    cluster.restart_all();
    let api = Api::connect(cluster.brokers[late].listen()).await;
    until_known(&api, "t", &before).await;
    api.create("after", 1, &[]).await;
    fill(&api, "after", 0, 1).await;
}

#[tokio::test]
async fn what_a_broker_knew_before_it_was_restarted_is_no_answer() {
    let mut cluster = Cluster::start(&program!(), 2);
    let api = Api::connect(cluster.brokers[0].listen()).await;
    api.create("t", 1, &[]).await;
    altered_often(&api).await;
    cluster.brokers[0].log_line("the log of the metadata was purged");
    for broker in &mut cluster.brokers {
        broker.kill();
    }

    let address = cluster.brokers[0].listen();
    let _alone = cluster.brokers[0].relaunch();
    let listens = async { while TcpStream::connect(address).await.is_err() {} };
    soon("it listens", listens).await;
    let api = Api::connect(address).await;
    for topic in ["t", "nobody"] {
        for told in api.tells(topic).await {
            told.unwrap_err().is(Code::Unavailable, "NOT_READY", &[]);
        }
    }
    let method = "highwater.v1.TopicService/ListTopics";
    let refused = api.call(method, Vec::new()).await.unwrap_err();
    refused.is(Code::Unavailable, "NOT_READY", &[]);
}
