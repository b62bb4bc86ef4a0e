//! A write that fails stops its partition alone, and not for good.

use bytes::Bytes;
use highwater_proto::Timestamp;
use highwater_proto::batch::{BatchBuilder, Codec, StoredBatch};
use highwater_proto::pb::v1;
use tokio::time::timeout;

use super::*;
use crate::log::{Dir, MemDir};

pub(super) async fn create(broker: &Broker, topic: &str) {
    let create = v1::CreateTopicRequest {
        name: topic.to_owned(),
        ..Default::default()
    };
    broker
        .services
        .create_topic(&context(), create)
        .await
        .unwrap();
}

/// Sends a record once; whether it was acknowledged.
pub(super) async fn send(broker: &Broker, topic: &str, value: u8) -> bool {
    let mut batch = BatchBuilder::new();
    batch.push(Timestamp(1), None, Some(&[value]), &[]);
    let request = v1::ProduceRequest {
        topic: topic.to_owned(),
        partition: Some(0),
        batch: batch.build(Codec::None, None).unwrap(),
        ..Default::default()
    };
    broker.services.produce(&context(), request).await.is_ok()
}

/// Sends it until it is acknowledged.
pub(super) async fn until_sent(broker: &Broker, topic: &str, value: u8) {
    let sent = async {
        while !send(broker, topic, value).await {
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, sent).await.expect("it goes on");
}

pub(super) async fn values(broker: &Broker, topic: &str) -> Vec<u8> {
    let request = v1::FetchRequest {
        topic: topic.to_owned(),
        max_bytes: 1 << 20,
        batches: true,
        ..Default::default()
    };
    let fetched = broker.services.fetch(&context(), request).await.unwrap();
    let value = |bytes: Bytes| {
        let records = StoredBatch::decode(bytes).unwrap().records().unwrap();
        let first = records.views().next().unwrap().unwrap();
        first.value.unwrap()[0]
    };
    fetched
        .batches
        .into_iter()
        .map(|batch| value(batch.batch))
        .collect()
}

#[tokio::test]
async fn a_partition_whose_write_fails_once_stops_alone_and_comes_back_with_all_it_acknowledged() {
    let disk = MemDir::new();
    let config = BrokerConfig {
        listen: "127.0.0.1:0".to_owned(),
        ..BrokerConfig::default()
    };
    let broker = Broker::start_in_memory(config, disk.clone()).await.unwrap();
    let groups = disk.subdir("groups").unwrap();
    let before = groups.list_subdirs().unwrap();
    create(&broker, "failing").await;
    until_sent(&broker, "failing", 1).await;
    until_sent(&broker, "failing", 2).await;
    let mut home = groups.list_subdirs().unwrap();
    home.retain(|name| !before.contains(name));
    create(&broker, "other").await;
    until_sent(&broker, "other", 1).await;

    assert_eq!(broker.services.metrics.replica_failures.get(), 0);
    disk.fail_next_writes(&["groups", &home[0]]);
    assert!(
        !send(&broker, "failing", 3).await,
        "nothing is acknowledged"
    );
    assert!(send(&broker, "other", 2).await, "others go on");
    until_sent(&broker, "failing", 4).await;

    assert!(
        broker.services.metrics.replica_failures.get() >= 1,
        "it is counted"
    );
    let mut there = values(&broker, "failing").await;
    // Whether the record of the failed write is there is not known, and said so.
    there.retain(|value| *value != 3);
    assert_eq!(there, [1, 2, 4]);
    assert_eq!(values(&broker, "other").await, [1, 2]);
    broker.shutdown().await;
}
