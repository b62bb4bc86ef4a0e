//! The beginning of a partition is deleted on request, on every replica and for ever, and nothing
//! else is.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use highwater_proto::pb::v1;
use highwater_proto::pb::v1::trim_partition_request::To;
use highwater_tests::batches::{batch, sequenced};
use highwater_tests::{Api, Broker, Cluster, program};
use tonic::Code;

async fn filled(api: &Api, topic: &str, partition: i32, records: i32) {
    let producer = api.producer_id().await;
    for number in 0..records {
        let value = format!("{partition}/{number}");
        let batch = sequenced(producer, 0, number, [value]);
        api.append_surely_to(topic, partition, &batch).await;
    }
}

fn at(topic: &str, offset: i64) -> v1::FetchRequest {
    v1::FetchRequest {
        topic: topic.to_owned(),
        offset,
        ..v1::FetchRequest::default()
    }
}

/// The range that can be read of partition 0, as ListOffsets, Fetch and DescribeTopic tell it.
async fn assert_range(api: &Api, topic: &str, start: i64, end: i64) {
    let earliest = v1::ListOffsetsRequest {
        topic: topic.to_owned(),
        position: Some(v1::list_offsets_request::Position::Earliest(true)),
        ..v1::ListOffsetsRequest::default()
    };
    assert_eq!(api.high_watermark(topic, 0).await, end);
    let listed = api.list_led(earliest).await.unwrap();
    assert_eq!((listed.offset, listed.log_start_offset), (start, start));
    let fetched = api.fetch_led(at(topic, start)).await.unwrap();
    assert_eq!(
        (fetched.log_start_offset, fetched.high_watermark),
        (start, end)
    );
    let described = api.described(topic).await;
    assert_eq!(described.partitions[0].log_start_offset, start);
    if start > 0 {
        let below = api.fetch_led(at(topic, start - 1)).await.unwrap_err();
        let says = [(start - 1).to_string(), start.to_string(), end.to_string()];
        let says: Vec<&str> = says.iter().map(String::as_str).collect();
        below.is(Code::OutOfRange, "OFFSET_OUT_OF_RANGE", &says);
        let range = below.offset_range();
        assert_eq!((range.log_start_offset, range.high_watermark), (start, end));
    }
}

#[tokio::test]
async fn a_trimmed_partition_begins_where_it_was_told_also_after_sigkill() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(&program!(), dir.path(), &[]);
    let api = Api::connect(broker.listen()).await;
    api.create("t", 2, &[]).await;
    filled(&api, "t", 0, 20).await;
    filled(&api, "t", 1, 5).await;

    let dry = api.trim("t", 0, Some(To::Offset(7)), true).await.unwrap();
    assert_eq!(
        (dry.previous_log_start_offset, dry.log_start_offset),
        (0, 7)
    );
    assert_range(&api, "t", 0, 20).await;

    let line = [
        "topic",
        "trim",
        "t",
        "--partition",
        "0",
        "--to",
        "7",
        "-y",
        "-o",
        "json",
    ];
    let trimmed = broker.run(&line).ok().json();
    let row = serde_json::json!([{
        "topic": "t", "partition": 0, "log_start_offset": 7, "previous_log_start_offset": 0,
        "high_watermark": 20, "deleted_records": 7,
    }]);
    assert_eq!(trimmed, row);
    assert_range(&api, "t", 7, 20).await;
    let again = api.trim("t", 0, Some(To::Offset(3)), false).await.unwrap();
    assert_eq!(
        (again.previous_log_start_offset, again.log_start_offset),
        (7, 7)
    );

    broker.kill();
    broker.restart();
    let api = Api::connect(broker.listen()).await;
    assert_range(&api, "t", 7, 20).await;
    let rest = ["consume", "t", "-p", "0", "--exit-at-end"];
    let rest = broker.run(&rest).ok().text().to_owned();
    let expected: Vec<_> = (7..20).map(|number| format!("0/{number}")).collect();
    assert_eq!(rest.lines().collect::<Vec<_>>(), expected);

    broker
        .run(&[
            "topic",
            "trim",
            "t",
            "--partition",
            "all",
            "--to",
            "end",
            "-y",
        ])
        .ok();
    assert_range(&api, "t", 20, 20).await;
    assert_eq!(api.described("t").await.partitions[1].log_start_offset, 5);
    api.append("t", 0, batch(["next"])).await.unwrap();
    assert_range(&api, "t", 20, 21).await;
}

#[tokio::test]
async fn a_time_trims_what_is_older() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&program!(), dir.path(), &[]);
    let api = Api::connect(broker.listen()).await;
    api.create("t", 1, &[]).await;
    for timestamp in [1_000, 2_000, 1_500, 3_000] {
        let request = v1::ProduceRequest {
            topic: "t".to_owned(),
            partition: Some(0),
            records: vec![v1::Record {
                timestamp,
                ..v1::Record::default()
            }],
            ..v1::ProduceRequest::default()
        };
        api.produce(request).await.unwrap();
    }
    for (time, start) in [(1_000, 0), (1_600, 1), (2_001, 3), (3_001, 4)] {
        let to = Some(To::Timestamp(time));
        let trimmed = api.trim("t", 0, to, false).await.unwrap();
        assert_eq!(trimmed.log_start_offset, start, "at {time}");
        assert_range(&api, "t", start, 4).await;
    }
}

#[tokio::test]
async fn what_cannot_be_trimmed_is_refused_and_nothing_changes() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&program!(), dir.path(), &[]);
    let api = Api::connect(broker.listen()).await;
    api.create("t", 1, &[]).await;
    filled(&api, "t", 0, 3).await;
    let above = api
        .trim("t", 0, Some(To::Offset(4)), false)
        .await
        .unwrap_err();
    above.is(Code::OutOfRange, "OFFSET_OUT_OF_RANGE", &["4", "0", "3"]);
    assert_eq!(above.offset_range().high_watermark, 3);
    let cases = [
        ("t", 0, Some(To::Offset(-1)), "INVALID_REQUEST", "-1"),
        ("t", 0, None, "INVALID_REQUEST", "offset, timestamp or end"),
        ("t", 1, Some(To::End(true)), "PARTITION_NOT_FOUND", "not 1"),
        (
            "t",
            -1,
            Some(To::End(true)),
            "PARTITION_NOT_FOUND",
            "not -1",
        ),
        ("no", 0, Some(To::End(true)), "TOPIC_NOT_FOUND", "no"),
    ];
    for (topic, partition, to, reason, says) in cases {
        let refused = api.trim(topic, partition, to, false).await.unwrap_err();
        assert_eq!(refused.reason, reason, "{refused:?}");
        assert!(refused.message.contains(says), "{refused:?}");
    }
    for (line, says) in [
        (&["--partition", "0", "--to", "-1", "-y"][..], "1500"),
        (&["--partition", "0", "--to", "start", "-y"], "1500"),
        (&["--partition", "x", "--to", "1", "-y"], "all"),
        (&["--partition", "0", "--to", "1"], "-y"),
        (
            &["--partition", "0", "--to", "9", "-y"],
            "OFFSET_OUT_OF_RANGE",
        ),
        (
            &["--partition", "7", "--to", "1", "-y"],
            "PARTITION_NOT_FOUND",
        ),
        (&["--to", "1", "-y"], "--partition"),
    ] {
        let line: Vec<&str> = ["topic", "trim", "t"].iter().chain(line).copied().collect();
        let ended = broker.run(&line).end();
        assert_ne!(ended.code, Some(0), "{ended}");
        assert!(ended.stderr.contains(says), "{ended}");
    }
    assert_range(&api, "t", 0, 3).await;
}

#[tokio::test]
async fn the_log_start_holds_whoever_leads() {
    let mut cluster = Cluster::start(&program!(), 3);
    let api = Api::connect(cluster.brokers[0].listen()).await;
    api.create("t", 1, &[]).await;
    filled(&api, "t", 0, 10).await;
    api.trim("t", 0, Some(To::Offset(6)), false).await.unwrap();
    for _ in 0..2 {
        let leader = cluster.leader_of("t", 0);
        cluster.brokers[leader].kill();
        let other = (leader + 1) % 3;
        let api = Api::connect(cluster.brokers[other].listen()).await;
        let id = i32::try_from(cluster.brokers[leader].id()).unwrap();
        api.leader("t", 0, |leader| leader != id).await;
        assert_range(&api, "t", 6, 10).await;
        cluster.brokers[leader].restart();
        cluster.until_healthy();
    }
    cluster.restart_all();
    let api = Api::connect(cluster.brokers[0].listen()).await;
    assert_range(&api, "t", 6, 10).await;
}
