//! Disk space of what nobody can read any more is given back, and replicas that missed it all come
//! back all the same.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod limits;
mod metadata;

use bytes::Bytes;
use highwater_proto::pb::v1;
use highwater_proto::pb::v1::trim_partition_request::To;
use highwater_tests::api::{Refusal, soon};
use highwater_tests::batches::{batch, sequenced};
use highwater_tests::storage::{partition_dir, segments};
use highwater_tests::{Api, Broker, Cluster, program};

const VALUE: usize = 100_000;
/// The smallest segments that a topic can have.
const SMALL: (&str, &str) = ("segment.bytes", "1MiB");

/// Appends records of 100 kB each, of which a segment of 1 MiB holds ten. They are numbered, so that
/// they are there once whoever leads.
async fn fill(api: &Api, topic: &str, from: usize, count: usize) {
    let producer = api.producer_id().await;
    for (sequence, number) in (0..).zip(from..from + count) {
        let value = format!("{number:05}").repeat(VALUE / 5);
        let batch = sequenced(producer, 0, sequence, [value]);
        api.append_surely(topic, &batch).await;
    }
}

/// The batches of a partition as they are stored, from `offset` on.
async fn stored(api: &Api, topic: &str, offset: i64) -> Vec<Bytes> {
    read(api, topic, offset).await.unwrap()
}

async fn read(api: &Api, topic: &str, mut offset: i64) -> Result<Vec<Bytes>, Refusal> {
    let end = api.high_watermark(topic, 0).await;
    let mut batches = Vec::new();
    while offset < end {
        let request = v1::FetchRequest {
            topic: topic.to_owned(),
            offset,
            batches: true,
            ..v1::FetchRequest::default()
        };
        let read = api.fetch_led(request).await?;
        offset = read.next_offset;
        batches.extend(read.batches.into_iter().map(|batch| batch.batch));
    }
    Ok(batches)
}

/// Waits until a broker has given back all segments but the last `left`.
async fn until_few(api: &Api, broker: &Broker, id: &str, left: usize) {
    let dir = partition_dir(broker, id, 0);
    let freed = async {
        while segments(&dir).len() > left {
            api.high_watermark("t", 0).await;
        }
    };
    soon("segments are given back", freed).await;
}

#[tokio::test]
async fn trimmed_segments_are_given_back_and_the_rest_is_there_after_sigkill() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(&program!(), dir.path(), &[]);
    let api = Api::connect(broker.listen()).await;
    let id = api.create("t", 1, &[SMALL]).await;
    fill(&api, "t", 0, 60).await;
    let rest = stored(&api, "t", 55).await;
    let before = segments(&partition_dir(&broker, &id, 0));
    assert!(before.len() > 5, "{before:?}");
    api.trim("t", 0, Some(To::Offset(55)), false).await.unwrap();
    // The one written to, the one before it, and one made ready.
    until_few(&api, &broker, &id, 3).await;
    assert_eq!(stored(&api, "t", 55).await, rest);
    for _ in 0..2 {
        broker.kill();
        broker.restart();
        let api = Api::connect(broker.listen()).await;
        assert_eq!(stored(&api, "t", 55).await, rest);
        assert!(
            api.fetch(v1::FetchRequest {
                topic: "t".into(),
                offset: 54,
                ..Default::default()
            })
            .await
            .is_err()
        );
    }
    let api = Api::connect(broker.listen()).await;
    fill(&api, "t", 60, 30).await;
    api.trim("t", 0, Some(To::End(true)), false).await.unwrap();
    until_few(&api, &broker, &id, 2).await;
    let now = segments(&partition_dir(&broker, &id, 0));
    assert!(!before.contains(&now[0]), "{before:?}, then {now:?}");
}

#[tokio::test]
async fn a_replica_that_missed_what_was_deleted_catches_up_and_can_lead() {
    let mut cluster = Cluster::start(&program!(), 3);
    let api = Api::connect(cluster.brokers[0].listen()).await;
    let id = api.create("t", 1, &[SMALL]).await;
    fill(&api, "t", 0, 5).await;
    cluster.until_healthy();
    let leader = cluster.leader_of("t", 0);
    let late = (leader + 1) % 3;
    cluster.brokers[late].kill();
    let api = Api::connect(cluster.brokers[leader].listen()).await;
    fill(&api, "t", 5, 50).await;
    api.trim("t", 0, Some(To::Offset(50)), false).await.unwrap();
    for place in [leader, (leader + 2) % 3] {
        until_few(&api, &cluster.brokers[place], &id, 3).await;
    }
    let rest = stored(&api, "t", 50).await;
    assert_eq!(rest.len(), 5);

    cluster.brokers[late].restart();
    cluster.until_healthy();
    cluster.brokers[late].log_line("taking up a snapshot");
    // The others leave leading to it.
    let late_id = i32::try_from(cluster.brokers[late].id()).unwrap();
    for place in (0..3).filter(|place| *place != late) {
        let id = cluster.brokers[place].id().to_string();
        cluster.run(&["cluster", "drain", &id]).ok();
    }
    let api = Api::connect(cluster.brokers[late].listen()).await;
    api.leader("t", 0, |leader| leader == late_id).await;
    let api = Api::connect(cluster.brokers[late].listen()).await;
    assert_eq!(stored(&api, "t", 50).await, rest);
    fill(&api, "t", 55, 1).await;
    let below = v1::FetchRequest {
        topic: "t".into(),
        offset: 49,
        ..Default::default()
    };
    let below = api.fetch_led(below).await.unwrap_err();
    assert_eq!(below.offset_range().log_start_offset, 50);
}

/// Waits until the partition begins at `wanted` or later; gives where it begins.
async fn until_begins(api: &Api, topic: &str, wanted: i64) -> i64 {
    let begins = async {
        loop {
            let start = api.described(topic).await.partitions[0].log_start_offset;
            if start >= wanted {
                return start;
            }
        }
    };
    soon("old records are deleted", begins).await
}

#[tokio::test]
async fn records_go_when_their_time_has_passed_also_when_nobody_writes() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&program!(), dir.path(), &[]);
    let api = Api::connect(broker.listen()).await;
    let id = api.create("t", 1, &[("retention.ms", "1h")]).await;
    fill(&api, "t", 0, 3).await;
    let alter = v1::AlterTopicRequest {
        name: "t".to_owned(),
        set: [("retention.ms".to_owned(), "1500".to_owned())].into(),
        unset: Vec::new(),
    };
    let before = std::time::Instant::now();
    api.alter(alter).await.unwrap();
    assert_eq!(until_begins(&api, "t", 3).await, 3);
    assert!(
        before.elapsed().as_millis() >= 1000,
        "a segment must be closed first"
    );
    until_few(&api, &broker, &id, 2).await;
    let appended = std::time::Instant::now();
    fill(&api, "t", 3, 1).await;
    until_begins(&api, "t", 4).await;
    assert!(
        appended.elapsed().as_millis() >= 1500,
        "not before its time"
    );
    assert_eq!(stored(&api, "t", 4).await, Vec::<Bytes>::new());
}

#[tokio::test]
async fn records_written_after_an_idle_time_expire_like_any_others() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&program!(), dir.path(), &[]);
    let api = Api::connect(broker.listen()).await;
    for topic in ["t", "u"] {
        api.create(topic, 1, &[("retention.ms", "1s")]).await;
    }
    for (topic, end) in [("u", 1), ("t", 1), ("u", 2), ("t", 2)] {
        // Nobody writes to one while the records of the other live and die.
        api.append(topic, 0, batch(["v"])).await.unwrap();
        assert_eq!(until_begins(&api, topic, end).await, end);
    }
}

#[tokio::test]
async fn a_segment_is_closed_by_its_age_and_not_without_records() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(&program!(), dir.path(), &[]);
    let api = Api::connect(broker.listen()).await;
    let aging = api.create("t", 1, &[("segment.ms", "1s")]).await;
    let ageless = api.create("u", 1, &[]).await;
    let home = |id: &str| partition_dir(&broker, id, 0);
    let (aging, ageless) = (home(&aging), home(&ageless));
    // None of the files is near to being full, so that none is made in advance.
    for count in 1..=3 {
        let closed = async {
            while segments(&aging).len() == count {
                api.high_watermark("t", 0).await;
            }
        };
        for topic in ["u", "t"] {
            let value = format!("{count}");
            api.append(topic, 0, batch([value])).await.unwrap();
        }
        // Nobody writes: it is closed all the same, once.
        soon("its segment is closed", closed).await;
        assert_eq!(segments(&aging).len(), count + 1);
    }
    assert_eq!(segments(&ageless).len(), 1);
    for restarted in [false, true] {
        if restarted {
            broker.kill();
            broker.restart();
        }
        let api = Api::connect(broker.listen()).await;
        for topic in ["t", "u"] {
            assert_eq!(api.values(topic, 0).await, ["1", "2", "3"]);
        }
    }
}
