//! The partitions that have a replica on this broker.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use highwater_proto::{PartitionIndex, TopicId};

use crate::partition::Partition;

type Map = BTreeMap<(TopicId, PartitionIndex), Partition>;

/// The registry. Readers take no lock.
#[derive(Debug, Default)]
pub struct Partitions {
    map: ArcSwap<Map>,
}

impl Partitions {
    /// The partition, if it has a replica here.
    pub fn get(&self, topic: TopicId, index: PartitionIndex) -> Option<Partition> {
        self.map.load().get(&(topic, index)).cloned()
    }

    /// All partitions.
    pub fn all(&self) -> Arc<Map> {
        self.map.load_full()
    }

    /// Adds a partition.
    pub fn insert(&self, partition: &Partition) {
        self.map.rcu(|old| {
            let mut new = Map::clone(old);
            new.insert((partition.topic(), partition.index()), partition.clone());
            new
        });
    }

    /// Removes a partition.
    pub fn remove(&self, topic: TopicId, index: PartitionIndex) {
        self.map.rcu(|old| {
            let mut new = Map::clone(old);
            new.remove(&(topic, index));
            new
        });
    }
}
