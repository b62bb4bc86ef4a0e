//! A replica that the metadata places on this broker and that is not open.

use std::sync::Arc;

use highwater_proto::{BrokerId, PartitionIndex, ReplicaId};

use super::groups::PartitionLog;
use crate::cluster::{Placed, Topic};
use crate::raft::GroupId;

/// A replica that is to be opened.
#[derive(Clone)]
pub(super) struct ToOpen {
    pub(super) topic: Arc<Topic>,
    pub(super) partition: PartitionIndex,
    pub(super) replica: ReplicaId,
    pub(super) voters: Vec<(ReplicaId, BrokerId)>,
}

impl ToOpen {
    /// The group.
    pub(super) fn group(&self) -> GroupId {
        GroupId::Partition(self.topic.id, self.partition)
    }

    /// What the metadata says of its log.
    pub(super) fn log(&self) -> PartitionLog<'_> {
        let config = &self.topic.config;
        PartitionLog {
            max_segment_bytes: config.file_bytes(),
            segment_ms: Some(config.file_ms()),
            voters: &self.voters,
        }
    }
}

/// The replica that is placed here.
pub(super) fn to_open(placed: Placed<'_>) -> ToOpen {
    ToOpen {
        topic: Arc::clone(placed.topic),
        partition: placed.partition,
        replica: placed.replica,
        voters: placed
            .replicas
            .iter()
            .map(|replica| (replica.id, replica.broker))
            .collect(),
    }
}
