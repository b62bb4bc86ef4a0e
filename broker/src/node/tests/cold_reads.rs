//! What is not in memory is read from the disk on an I/O thread, whoever asks for it.

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;

use futures_util::poll;
use highwater_proto::pb::v1::{self, list_offsets_request::Position, trim_partition_request::To};
use highwater_proto::{BrokerId, LogIndex, Reason};
use tokio::task::yield_now;
use tokio::time::timeout;

use super::asking::{batch, create, send_batch, start_on, topic};
use super::*;
use crate::log::{HeldDisk, long_after};
use crate::raft::{GroupId, Replica};

const TOPIC: &str = "orders";

/// Drives a call, which has to wait for a job of the disk, and does the job then.
async fn waits<T: std::fmt::Debug>(
    disk: &mut HeldDisk,
    what: &str,
    call: impl Future<Output = T>,
) -> T {
    let mut call = pin!(call);
    disk.hold();
    let first = timeout(LIMIT, async {
        tokio::select! {
            job = disk.next() => job,
            answer = &mut call => panic!("{what}: answered before the disk: {answer:.200?}"),
        }
    });
    let first = first.await.expect("it asks the disk");
    assert!(poll!(&mut call).is_pending(), "{what}");
    first();
    disk.release();
    timeout(LIMIT, call).await.expect("the disk answers")
}

fn list(position: Position) -> v1::ListOffsetsRequest {
    list_of(0, position)
}

fn list_of(partition: i32, position: Position) -> v1::ListOffsetsRequest {
    v1::ListOffsetsRequest {
        topic: TOPIC.to_owned(),
        partition,
        position: Some(position),
        ..Default::default()
    }
}

/// Waits until the partition is led and applied.
pub(super) async fn until_ready(broker: &Broker, partition: i32) {
    let ready = async {
        let latest = || list_of(partition, Position::Latest(true));
        while broker
            .services
            .list_offsets(&context(), latest())
            .await
            .is_err()
        {
            yield_now().await;
        }
    };
    timeout(LIMIT, ready).await.unwrap();
}

/// A broker with files of 1 MiB and a record in each, opened anew: nobody has read them since.
async fn cold(disk: &MemDir, records: i64) -> Broker {
    let broker = start_on(disk).await;
    let config = [("segment.bytes", "1048576"), ("max.batch.bytes", "1000000")];
    let config = config.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let with_files = v1::CreateTopicRequest {
        config: HashMap::from(config),
        ..topic(TOPIC)
    };
    create(&broker, with_files).await;
    until_ready(&broker, 0).await;
    for time in 0..records {
        assert!(send_batch(&broker, TOPIC, batch(time, &[7; 900_000], None)).await);
    }
    broker.shutdown().await;
    let broker = start_on(disk).await;
    until_ready(&broker, 0).await;
    broker
}

/// The replica of the only partition.
fn replica(broker: &Broker) -> Replica {
    let groups = broker.replicas.all();
    let is_partition = |group: &&GroupId| matches!(group, GroupId::Partition(..));
    groups[groups.keys().find(is_partition).unwrap()].clone()
}

#[tokio::test]
async fn whoever_asks_for_what_is_not_in_memory_waits_for_an_io_thread() {
    let (mut disk, memory) = HeldDisk::new();
    let broker = cold(&memory, 12).await;
    let (services, context) = (&broker.services, context());
    // Not the first or last one: starting has read these.
    let request = v1::FetchRequest {
        topic: TOPIC.to_owned(),
        offset: 6,
        max_bytes: 1,
        batches: true,
        ..Default::default()
    };
    let fetched = waits(&mut disk, "fetch", services.fetch(&context, request)).await;
    assert_eq!(fetched.unwrap().batches.len(), 1);

    let listed = services.list_offsets(&context, list(Position::Timestamp(3)));
    let listed = waits(&mut disk, "offsets by time", listed).await;
    assert_eq!(listed.unwrap().offset, 3);

    let request = v1::TrimPartitionRequest {
        topic: TOPIC.to_owned(),
        to: Some(To::Timestamp(6)),
        dry_run: true,
        ..Default::default()
    };
    let trimmed = services.trim_partition(&context, request);
    let trimmed = waits(&mut disk, "trim by time", trimmed).await;
    assert_eq!(trimmed.unwrap().log_start_offset, 6);

    let replica = replica(&broker);
    let supply = replica.supply(LogIndex(0), BrokerId(9));
    let supplied = waits(&mut disk, "supply", supply).await;
    assert!(!supplied.unwrap().entries.is_empty());
    broker.shutdown().await;
}

#[tokio::test]
async fn a_read_for_which_the_system_lacks_memory_can_be_tried_again_and_finds_no_damage() {
    let disk = MemDir::new();
    let broker = cold(&disk, 6).await;
    let (services, context) = (&broker.services, context());
    let fetch = || {
        let request = v1::FetchRequest {
            topic: TOPIC.to_owned(),
            offset: 3,
            max_bytes: 1,
            batches: true,
            ..Default::default()
        };
        services.fetch(&context, request)
    };
    let by_time = || services.list_offsets(&context, list(Position::Timestamp(3)));
    disk.refuse_reads(true);
    for refused in [fetch().await.map(drop), by_time().await.map(drop)] {
        let error = refused.unwrap_err();
        assert_eq!(error.reason, Reason::NoLeader, "{}", error.message);
    }
    disk.refuse_reads(false);
    assert_eq!(fetch().await.unwrap().batches.len(), 1);
    assert_eq!(by_time().await.unwrap().offset, 3);
    broker.shutdown().await;
}

#[tokio::test]
async fn a_replica_goes_on_when_the_system_lacked_memory_for_a_moment() {
    let (mut disk, memory) = HeldDisk::new();
    let broker = start_on(&memory).await;
    create(&broker, topic(TOPIC)).await;
    until_ready(&broker, 0).await;
    let replica = replica(&broker);
    let reader = replica.reader();
    let before = reader.last();
    disk.hold();
    let mut produce = Box::pin(send_batch(&broker, TOPIC, batch(1, &[7], None)));
    // It is written, and cannot be applied before it is synced.
    while reader.last() == before {
        assert!(poll!(&mut produce).is_pending());
        yield_now().await;
    }
    long_after(reader);
    memory.refuse_reads(true);
    disk.release();
    let at_once = timeout(Duration::from_millis(50), &mut produce).await;
    assert!(at_once.is_err(), "it was not read");
    memory.refuse_reads(false);
    assert!(timeout(LIMIT, &mut produce).await.unwrap());
    drop(produce);
    assert_eq!(replica.stopped(), None);
    broker.shutdown().await;
}
