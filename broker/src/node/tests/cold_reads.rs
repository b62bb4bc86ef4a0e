//! What is not in memory is read from the disk on an I/O thread, whoever asks for it.

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::poll;
use highwater_proto::batch::{BatchBuilder, Codec};
use highwater_proto::pb::v1::{self, list_offsets_request::Position, trim_partition_request::To};
use highwater_proto::{LogIndex, Timestamp};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

use super::*;
use crate::log::{Job, MemDir};
use crate::raft::GroupId;

const TOPIC: &str = "orders";

/// A disk whose jobs wait while it is held.
pub(super) struct Disk {
    held: Arc<AtomicBool>,
    jobs: UnboundedReceiver<Job>,
}

impl Disk {
    pub(super) fn new() -> (Self, MemDir) {
        let (queue, jobs) = unbounded_channel();
        let held = Arc::new(AtomicBool::new(false));
        let holds = Arc::clone(&held);
        let disk = MemDir::with_schedule(Arc::new(move |job: Job| {
            match holds.load(Ordering::SeqCst) {
                true => drop(queue.send(job)),
                false => job(),
            }
        }));
        (Self { held, jobs }, disk)
    }

    pub(super) fn hold(&self) {
        self.held.store(true, Ordering::SeqCst);
    }

    /// Does what was held, in order.
    pub(super) fn release(&mut self) {
        self.held.store(false, Ordering::SeqCst);
        while let Ok(job) = self.jobs.try_recv() {
            job();
        }
    }

    /// Drives a call, which has to wait for a job of the disk, and does the job then.
    async fn waits<T: std::fmt::Debug>(&mut self, what: &str, call: impl Future<Output = T>) -> T {
        let mut call = pin!(call);
        self.hold();
        let first = timeout(LIMIT, async {
            tokio::select! {
                job = self.jobs.recv() => job.unwrap(),
                answer = &mut call => panic!("{what}: answered before the disk: {answer:.200?}"),
            }
        });
        let first = first.await.expect("it asks the disk");
        assert!(poll!(&mut call).is_pending(), "{what}");
        first();
        self.release();
        timeout(LIMIT, call).await.expect("the disk answers")
    }
}

pub(super) async fn start(disk: &MemDir) -> Broker {
    let config = BrokerConfig {
        listen: "127.0.0.1:0".to_owned(),
        ..BrokerConfig::default()
    };
    Broker::start_in_memory(config, disk.next_process())
        .await
        .unwrap()
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
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, ready).await.unwrap();
}

/// A broker with files of 1 MiB and a record in each, opened anew: nobody has read them since.
async fn cold(disk: &MemDir, records: i64) -> Broker {
    let broker = start(disk).await;
    let config = [("segment.bytes", "1048576"), ("max.batch.bytes", "1000000")];
    let config = config.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let create = v1::CreateTopicRequest {
        name: TOPIC.to_owned(),
        config: HashMap::from(config),
        ..Default::default()
    };
    broker
        .services
        .create_topic(&context(), create)
        .await
        .unwrap();
    until_ready(&broker, 0).await;
    for time in 0..records {
        let mut batch = BatchBuilder::new();
        batch.push(Timestamp(time), None, Some(&[7; 900_000]), &[]);
        let request = v1::ProduceRequest {
            topic: TOPIC.to_owned(),
            partition: Some(0),
            batch: batch.build(Codec::None, None).unwrap(),
            ..Default::default()
        };
        broker.services.produce(&context(), request).await.unwrap();
    }
    broker.shutdown().await;
    let broker = start(disk).await;
    until_ready(&broker, 0).await;
    broker
}

#[tokio::test]
async fn whoever_asks_for_what_is_not_in_memory_waits_for_an_io_thread() {
    let (mut disk, memory) = Disk::new();
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
    let fetched = disk.waits("fetch", services.fetch(&context, request)).await;
    assert_eq!(fetched.unwrap().batches.len(), 1);

    let listed = services.list_offsets(&context, list(Position::Timestamp(3)));
    let listed = disk.waits("offsets by time", listed).await;
    assert_eq!(listed.unwrap().offset, 3);

    let request = v1::TrimPartitionRequest {
        topic: TOPIC.to_owned(),
        to: Some(To::Timestamp(6)),
        dry_run: true,
        ..Default::default()
    };
    let trimmed = services.trim_partition(&context, request);
    let trimmed = disk.waits("trim by time", trimmed).await;
    assert_eq!(trimmed.unwrap().log_start_offset, 6);

    let groups = broker.replicas.all();
    let is_partition = |group: &&GroupId| matches!(group, GroupId::Partition(..));
    let replica = &groups[groups.keys().find(is_partition).unwrap()];
    let supplied = disk.waits("supply", replica.supply(LogIndex(0))).await;
    assert!(!supplied.unwrap().entries.is_empty());
    broker.shutdown().await;
}
