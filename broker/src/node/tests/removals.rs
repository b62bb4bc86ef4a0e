//! Replicas that cannot be deleted.

use std::sync::atomic::{AtomicBool, Ordering};

use highwater_proto::pb::peer::MetadataCommand;
use highwater_proto::pb::peer::metadata_command::Command as Pb;
use highwater_proto::pb::v1;
use highwater_proto::{LogIndex, ReplicaId};
use prost::Message;
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::timeout;

use super::*;
use crate::log::{FrameKind, MemDir};
use crate::service::Context;

/// The confirmations in the log of the metadata.
fn confirmed(broker: &Broker) -> Vec<Vec<u64>> {
    let reader = broker.services.metadata.replica().reader();
    let frames = reader.frames(reader.first_index(), LogIndex(u64::MAX), usize::MAX);
    let commands = frames.unwrap().into_iter();
    let commands = commands.filter(|frame| frame.head.kind == FrameKind::Command);
    let commands = commands.map(|frame| MetadataCommand::decode(frame.body.clone()).unwrap());
    let confirmed = commands.filter_map(|command| match command.command {
        Some(Pb::ConfirmRemoved(confirmed)) => Some(confirmed.replicas),
        _ => None,
    });
    confirmed.collect()
}

#[tokio::test]
async fn a_replica_that_cannot_be_deleted_is_tried_again_and_costs_the_metadata_no_entry() {
    let disk = MemDir::new();
    let (tried, mut tries) = unbounded_channel();
    let broken = Arc::new(AtomicBool::new(true));
    let fails = Arc::clone(&broken);
    disk.guard_removals(Arc::new(move |name| {
        tried.send(name.to_owned()).unwrap();
        match fails.load(Ordering::SeqCst) {
            true => Err(std::io::Error::other("the disk is broken")),
            false => Ok(()),
        }
    }));
    let config = BrokerConfig {
        listen: "127.0.0.1:0".to_owned(),
        ..BrokerConfig::default()
    };
    let broker = Broker::start_in_memory(config, disk).await.unwrap();
    let context = Context {
        principal: "anonymous".to_owned(),
        deadline: LIMIT,
        may_forward: false,
    };
    let (services, name) = (&broker.services, "orders".to_owned());
    let create = v1::CreateTopicRequest {
        name: name.clone(),
        ..Default::default()
    };
    services.create_topic(&context, create).await.unwrap();
    let delete = v1::DeleteTopicRequest {
        name,
        ..Default::default()
    };
    services.delete_topic(&context, delete).await.unwrap();

    let mut next = async || timeout(LIMIT, tries.recv()).await.unwrap().unwrap();
    let (first, second) = (next().await, next().await);
    assert_eq!(first, second);
    let said = confirmed(&broker);
    assert!(said.is_empty(), "nothing is deleted: {said:?}");
    let removed = |state: &crate::cluster::ClusterState| -> Vec<ReplicaId> {
        let removed = state.removed_on(services.me.broker);
        removed.map(|removed| removed.replica.id).collect()
    };
    let ids = removed(&services.metadata.state());
    assert_eq!(ids.len(), 1);

    broken.store(false, Ordering::SeqCst);
    let mut published = services.metadata.watch();
    let gone = published.wait_for(|published| removed(&published.state).is_empty());
    drop(timeout(LIMIT, gone).await.unwrap().unwrap());
    let confirmed = confirmed(&broker);
    assert!(!confirmed.is_empty());
    assert!(
        confirmed.iter().all(|replicas| *replicas == [ids[0].0]),
        "{confirmed:?}"
    );
    broker.shutdown().await;
}
