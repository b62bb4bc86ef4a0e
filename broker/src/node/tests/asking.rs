//! A broker in memory, and what a caller who may do everything asks of it.

use bytes::Bytes;
use highwater_proto::Timestamp;
use highwater_proto::batch::{BatchBuilder, Codec, ProducerStamp, StoredBatch};
use highwater_proto::pb::v1;
use tokio::time::timeout;

use super::*;

pub(super) fn config() -> BrokerConfig {
    BrokerConfig {
        listen: "127.0.0.1:0".to_owned(),
        ..BrokerConfig::default()
    }
}

/// The next process on a disk.
pub(super) async fn start_on(disk: &MemDir) -> Broker {
    let started = Broker::start_in_memory(config(), disk.next_process());
    timeout(LIMIT, started).await.unwrap().unwrap()
}

pub(super) fn topic(name: &str) -> v1::CreateTopicRequest {
    v1::CreateTopicRequest {
        name: name.to_owned(),
        ..Default::default()
    }
}

pub(super) async fn create(broker: &Broker, topic: v1::CreateTopicRequest) {
    let created = broker.services.create_topic(&context(), topic).await;
    created.unwrap();
}

/// A batch of one record.
pub(super) fn batch(time: i64, value: &[u8], stamp: Option<ProducerStamp>) -> Bytes {
    let mut batch = BatchBuilder::new();
    batch.push(Timestamp(time), None, Some(value), &[]);
    batch.build(Codec::None, stamp).unwrap()
}

/// Sends a batch to the first partition once; whether it was acknowledged.
pub(super) async fn send_batch(broker: &Broker, topic: &str, batch: Bytes) -> bool {
    let request = v1::ProduceRequest {
        topic: topic.to_owned(),
        partition: Some(0),
        batch,
        ..Default::default()
    };
    broker.services.produce(&context(), &request).await.is_ok()
}

/// Sends a record once; whether it was acknowledged.
pub(super) async fn send(broker: &Broker, topic: &str, value: u8) -> bool {
    send_batch(broker, topic, batch(1, &[value], None)).await
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

/// The values of the first partition.
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
