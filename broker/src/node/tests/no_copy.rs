//! What a fetch and a subscription hand to gRPC is what the log gives its readers: slices of the maps
//! of its files (`log::tests::maps`), and no copy of them.

use highwater_proto::Offset;
use highwater_proto::pb::v1;

use super::asking::{config, create, topic, until_sent};
use super::*;
use crate::service::to_batches;

/// Where each batch begins in memory, and how long it is.
fn places<'a>(batches: impl Iterator<Item = &'a bytes::Bytes>) -> Vec<(*const u8, usize)> {
    batches.map(|batch| (batch.as_ptr(), batch.len())).collect()
}

#[tokio::test]
async fn batches_go_to_grpc_from_where_the_log_has_them() {
    let dir = tempfile::tempdir().unwrap();
    let config = BrokerConfig {
        data_dir: dir.path().to_owned(),
        ..config()
    };
    let broker = Broker::start(config).await.unwrap();
    create(&broker, topic("t")).await;
    for value in 0..10 {
        until_sent(&broker, "t", value).await;
    }
    let services = &broker.services;
    let partitions = services.partitions.all();
    let reader = partitions.values().next().unwrap().replica().reader();
    let read = reader.read_committed(Offset(0), Offset(10), usize::MAX);
    let read = read.unwrap();
    let log = places(read.iter().map(|batch| &batch.bytes));
    assert_eq!(log.len(), 10);

    let request = v1::FetchRequest {
        topic: "t".to_owned(),
        batches: true,
        ..Default::default()
    };
    let fetched = services.fetch(&context(), request).await.unwrap();
    assert_eq!(
        places(fetched.batches.iter().map(|batch| &batch.batch)),
        log
    );

    let request = v1::SubscribeRequest {
        topic: "t".to_owned(),
        batches: true,
        ..Default::default()
    };
    let (place, from) = services.subscribe(&context(), &request).await.unwrap();
    let read = services.read_on(&context(), &place, from).await.unwrap();
    let pushed = to_batches(&read);
    assert_eq!(places(pushed.iter().map(|batch| &batch.batch)), log);
    drop((fetched, pushed, read));
    broker.shutdown().await;
}
