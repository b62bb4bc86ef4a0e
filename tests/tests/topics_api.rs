//! Topics that cannot be, topics that are not there, and topics that are not the same any more.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;

use highwater_broker::testing::Broker;
use highwater_proto::pb::v1;
use highwater_tests::api::soon;
use highwater_tests::batches::batch;
use highwater_tests::{Api, Refusal, Session};
use prost::Message;
use tonic::Code;

async fn broker() -> (Broker, Api) {
    let broker = Broker::start().await.unwrap();
    let api = Api::connect(&broker.address()).await;
    (broker, api)
}

fn topic(name: &str) -> v1::CreateTopicRequest {
    v1::CreateTopicRequest {
        name: name.to_owned(),
        ..v1::CreateTopicRequest::default()
    }
}

fn settings(settings: &[(&str, &str)]) -> HashMap<String, String> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    settings.iter().map(owned).collect()
}

#[tokio::test]
async fn names_that_are_none_are_refused_everywhere() {
    let (_broker, api) = broker().await;
    let long = "n".repeat(250);
    for (name, says) in [
        ("", "empty"),
        (long.as_str(), "250"),
        ("../x", "'/'"),
        ("/etc/passwd", "'/'"),
        ("a/b", "'/'"),
        ("a\\b", "\\"),
        ("a b", "' '"),
        ("naïve", "'ï'"),
        ("nul\0", "\\0"),
        (".", "'.'"),
        ("..", "'..'"),
        ("__x", "'__'"),
    ] {
        let code = Code::InvalidArgument;
        let reason = "INVALID_TOPIC_NAME";
        let refused = api.create_topic(topic(name)).await.unwrap_err();
        refused.is(code, reason, &[says]);
        let refused = api.append(name, 0, batch(["x"])).await.unwrap_err();
        refused.is(code, reason, &[says]);
        for refused in read(&api, name, "", 0).await {
            refused.is(code, reason, &[says]);
        }
        let refused = api.describe(name).await.unwrap_err();
        refused.is(code, reason, &[says]);
        let refused = api.delete(name, "").await.unwrap_err();
        refused.is(code, reason, &[says]);
    }
    assert!(api.topic_names().await.is_empty());
    api.create(&"n".repeat(249), 1, &[]).await;
}

#[tokio::test]
async fn numbers_that_cannot_be_are_refused_by_field_and_value() {
    let (_broker, api) = broker().await;
    for count in [0, -1, 10_001, i32::MAX, i32::MIN] {
        let request = v1::CreateTopicRequest {
            partition_count: Some(count),
            ..topic("t")
        };
        let refused = api.create_topic(request).await.unwrap_err();
        let says = ["partition_count", &count.to_string(), "1 to 10000"];
        refused.is(Code::InvalidArgument, "INVALID_REQUEST", &says);
    }
    for factor in [0, -1, 2, i32::MAX, i32::MIN] {
        let request = v1::CreateTopicRequest {
            replication_factor: Some(factor),
            ..topic("t")
        };
        let refused = api.create_topic(request).await.unwrap_err();
        let says = ["replication_factor", &factor.to_string(), "1 to 1"];
        refused.is(Code::InvalidArgument, "INVALID_REPLICATION", &says);
    }
    assert!(api.topic_names().await.is_empty());
}

#[tokio::test]
async fn settings_that_are_none_are_refused_with_the_nearest() {
    let (_broker, api) = broker().await;
    api.create("there", 1, &[]).await;
    let before = api.describe("there").await.unwrap().config;
    for (name, value, says) in [
        (
            "retention.sm",
            "1000",
            &["retention.sm", "did you mean retention.ms?"][..],
        ),
        (
            "segment.byte",
            "1MiB",
            &["segment.byte", "did you mean segment.bytes?"],
        ),
        (
            "frobnicate",
            "1",
            &["frobnicate", "retention.ms", "segment.bytes"],
        ),
        ("", "1", &["\"\""]),
        (
            "retention.ms",
            "soon",
            &["retention.ms", "soon", "milliseconds"],
        ),
        ("segment.bytes", "1", &["segment.bytes", "\"1\"", "1048576"]),
        (
            "max.batch.bytes",
            "4MiB",
            &["max.batch.bytes", "4MiB", "3145728"],
        ),
        (
            "durability",
            "leader-memory",
            &["leader-memory", "quorum-fsync"],
        ),
    ] {
        let config = settings(&[(name, value)]);
        let request = v1::CreateTopicRequest {
            config: config.clone(),
            ..topic("t")
        };
        let refused = api.create_topic(request).await.unwrap_err();
        refused.is(Code::InvalidArgument, "INVALID_CONFIG", says);
        let request = v1::AlterTopicRequest {
            name: "there".to_owned(),
            set: config,
            unset: Vec::new(),
        };
        let refused = api.alter(request).await.unwrap_err();
        refused.is(Code::InvalidArgument, "INVALID_CONFIG", says);
    }
    assert_eq!(api.topic_names().await, ["there"]);
    assert_eq!(api.describe("there").await.unwrap().config, before);
}

#[tokio::test]
async fn a_setting_that_is_altered_holds_for_the_next_batch() {
    let (_broker, api) = broker().await;
    api.create("t", 1, &[]).await;
    let large = batch([vec![b'x'; 5000]]);
    api.append("t", 0, large.clone()).await.unwrap();
    let alter = |set: &[(&str, &str)], unset: &[&str]| v1::AlterTopicRequest {
        name: "t".to_owned(),
        set: settings(set),
        unset: unset.iter().map(|name| (*name).to_owned()).collect(),
    };
    let altered = api.alter(alter(&[("max.batch.bytes", "4KiB")], &[])).await;
    assert_eq!(altered.unwrap().config["max.batch.bytes"], "4096");
    let refused = api.append("t", 0, large.clone()).await.unwrap_err();
    refused.is(Code::InvalidArgument, "BATCH_TOO_LARGE", &["4096"]);
    let altered = api.alter(alter(&[], &["max.batch.bytes"])).await;
    assert_eq!(altered.unwrap().config["max.batch.bytes"], "1048576");
    api.append("t", 0, large).await.unwrap();
}

/// What each way of reading says; each must refuse.
async fn read(api: &Api, topic: &str, id: &str, partition: i32) -> [Refusal; 3] {
    let (topic, topic_id) = (topic.to_owned(), id.to_owned());
    let fetch = v1::FetchRequest {
        topic: topic.clone(),
        topic_id: topic_id.clone(),
        partition,
        max_wait_ms: 10_000,
        ..v1::FetchRequest::default()
    };
    let list = v1::ListOffsetsRequest {
        topic: topic.clone(),
        topic_id: topic_id.clone(),
        partition,
        position: None,
    };
    let subscribe = v1::SubscribeRequest {
        topic,
        topic_id,
        partition,
        ..v1::SubscribeRequest::default()
    };
    [
        api.fetch(fetch).await.unwrap_err(),
        api.list_offsets(list).await.unwrap_err(),
        api.subscribe(subscribe).await.unwrap_err(),
    ]
}

#[tokio::test]
async fn topics_and_partitions_that_are_not_there_are_named() {
    let (_broker, api) = broker().await;
    api.create("t", 2, &[]).await;
    for refused in read(&api, "none", "", 0).await {
        refused.is(Code::NotFound, "TOPIC_NOT_FOUND", &["\"none\""]);
    }
    let refused = api.append("none", 0, batch(["x"])).await.unwrap_err();
    refused.is(Code::NotFound, "TOPIC_NOT_FOUND", &["\"none\""]);
    let refused = api.delete("none", "").await.unwrap_err();
    refused.is(Code::NotFound, "TOPIC_NOT_FOUND", &["\"none\""]);
    for partition in [2, -1, i32::MAX, i32::MIN] {
        let number = partition.to_string();
        let says = ["\"t\"", "0 to 1", &number];
        for refused in read(&api, "t", "", partition).await {
            refused.is(Code::NotFound, "PARTITION_NOT_FOUND", &says);
        }
        let refused = api.append("t", partition, batch(["x"])).await.unwrap_err();
        refused.is(Code::NotFound, "PARTITION_NOT_FOUND", &says);
    }
}

#[tokio::test]
async fn offsets_that_cannot_be_read_are_answered_with_the_range() {
    let (_broker, api) = broker().await;
    api.create("t", 1, &[]).await;
    api.append("t", 0, batch(["a", "b", "c"])).await.unwrap();
    for offset in [4, 5, 1 << 40, i64::MAX] {
        for refused in read_from(&api, offset).await {
            let says = [&*offset.to_string(), "0 to 3"];
            refused.is(Code::OutOfRange, "OFFSET_OUT_OF_RANGE", &says);
            let range = refused.offset_range();
            let found = (range.offset, range.log_start_offset, range.high_watermark);
            assert_eq!(found, (offset, 0, 3));
        }
    }
    for offset in [-1, i64::MIN] {
        for refused in read_from(&api, offset).await {
            let says = ["offset", &offset.to_string()];
            refused.is(Code::InvalidArgument, "INVALID_REQUEST", &says);
        }
    }
}

/// What Fetch and Subscribe say of partition 0 of `t`; each must refuse.
async fn read_from(api: &Api, offset: i64) -> [Refusal; 2] {
    let fetch = v1::FetchRequest {
        topic: "t".to_owned(),
        offset,
        max_wait_ms: 10_000,
        ..v1::FetchRequest::default()
    };
    let subscribe = v1::SubscribeRequest {
        topic: "t".to_owned(),
        offset,
        ..v1::SubscribeRequest::default()
    };
    [
        api.fetch(fetch).await.unwrap_err(),
        api.subscribe(subscribe).await.unwrap_err(),
    ]
}

#[tokio::test]
async fn a_topic_made_again_is_not_the_one_that_was_deleted() {
    let (_broker, api) = broker().await;
    let old = api.create("t", 1, &[]).await;
    api.append("t", 0, batch(["old"])).await.unwrap();
    assert_eq!(api.delete("t", &old).await.unwrap(), old);
    let new = api.create("t", 1, &[]).await;
    assert_ne!(new, old);

    let code = Code::FailedPrecondition;
    for refused in read(&api, "t", &old, 0).await {
        refused.is(code, "TOPIC_ID_MISMATCH", &[&old, &new]);
    }
    // What is no id at all is not repeated in full.
    for refused in read(&api, "t", &"x".repeat(1 << 20), 0).await {
        refused.is(Code::InvalidArgument, "INVALID_REQUEST", &["topic_id"]);
    }
    let request = v1::ProduceRequest {
        topic: "t".to_owned(),
        topic_id: old.clone(),
        partition: Some(0),
        batch: batch(["late"]),
        ..v1::ProduceRequest::default()
    };
    let refused = api.produce(request).await.unwrap_err();
    refused.is(code, "TOPIC_ID_MISMATCH", &[&old, &new]);
    let refused = api.delete("t", &old).await.unwrap_err();
    refused.is(code, "TOPIC_ID_MISMATCH", &[&old, &new]);
    assert_eq!(api.high_watermark("t", 0).await, 0, "nothing is inherited");
    let there = api.create_topic(topic("t")).await.unwrap_err();
    there.is(Code::AlreadyExists, "TOPIC_EXISTS", &["topic t", &new]);
}

#[tokio::test]
async fn who_reads_or_appends_is_told_when_the_topic_is_deleted() {
    let (_broker, api) = broker().await;
    api.create("t", 1, &[]).await;
    let mut session = Session::open(&api).await;
    let first = session.send("t", 0, batch(["a"]));
    session.answer(first).await.unwrap();
    let request = v1::SubscribeRequest {
        topic: "t".to_owned(),
        offset: 1,
        ..v1::SubscribeRequest::default()
    };
    let mut subscription = api.subscribe(request).await.unwrap();
    let first = soon("progress", subscription.message()).await;
    assert_eq!(first.unwrap().unwrap().next_offset, 1);
    let waiting = api.clone();
    let waiting = tokio::spawn(async move {
        let request = v1::FetchRequest {
            topic: "t".to_owned(),
            offset: 1,
            max_wait_ms: 30_000,
            ..v1::FetchRequest::default()
        };
        waiting.fetch_with(request, false).await
    });

    api.delete("t", "").await.unwrap();
    let ended = async {
        loop {
            match subscription.message().await {
                Ok(Some(message)) => assert_eq!(message.next_offset, 1),
                Ok(None) => panic!("a subscription does not end without a reason"),
                Err(status) => return Refusal::from(status),
            }
        }
    };
    let ended = soon("the end of a subscription", ended).await;
    ended.is(Code::NotFound, "TOPIC_NOT_FOUND", &["\"t\""]);
    let late = session.send("t", 0, batch(["b"]));
    let late = session.answer(late).await.unwrap_err();
    late.is(Code::NotFound, "TOPIC_NOT_FOUND", &["\"t\""]);
    let waited = waiting.await.unwrap().unwrap_err();
    waited.is(Code::NotFound, "TOPIC_NOT_FOUND", &["\"t\""]);
}

#[tokio::test]
async fn metadata_is_asked_for_ten_thousand_topics_at_most() {
    const MOST: usize = 10_000;
    let (_broker, api) = broker().await;
    api.create("t", 1, &[]).await;
    let mut topics = vec!["t".to_owned(); MOST];
    let ask = async |topics: &[String]| {
        let topics = topics.to_vec();
        let request = v1::GetMetadataRequest { topics }.encode_to_vec();
        let method = "highwater.v1.ClusterService/GetMetadata";
        api.call(method, request.clone()).await
    };
    let found = ask(&topics).await.unwrap();
    let found = v1::GetMetadataResponse::decode(found).unwrap();
    let names = found.metadata.unwrap().topics.into_iter();
    assert_eq!(names.map(|topic| topic.name).collect::<Vec<_>>(), ["t"]);

    topics.push("u".to_owned());
    let says = ["10001", "10000"];
    let refused = ask(&topics).await.unwrap_err();
    refused.is(Code::InvalidArgument, "INVALID_REQUEST", &says);
    let request = v1::WatchMetadataRequest { topics }.encode_to_vec();
    let method = "highwater.v1.ClusterService/WatchMetadata";
    let refused = api.call(method, request).await.unwrap_err();
    refused.is(Code::InvalidArgument, "INVALID_REQUEST", &says);
}
