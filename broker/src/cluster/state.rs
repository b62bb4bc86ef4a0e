//! The state of the metadata group: brokers, topics, placements and the numbers that are next.
//!
//! Ids are only ever counted up: no broker id, replica id or producer id is given out twice, and a
//! topic that is re-created under its old name is another topic.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use highwater_proto::{
    BrokerId, ClusterId, Incarnation, PartitionIndex, ProducerId, ReplicaId, TopicId, TopicName,
};

use super::command::{Endpoints, partition_index};
use super::config::TopicConfig;
use super::placement::Candidate;
use named::NamedProducers;

mod apply;
mod error;
mod named;
mod snapshot;

pub use apply::UnknownCommand;
pub use error::RestoreError;
pub use named::{NamedProducer, RETIRED, TOUCH_EVERY};

/// The cluster level that this version founds clusters with.
pub const FIRST_LEVEL: u32 = 1;
/// The broker that founds a cluster: the first one registered gets this id.
pub const FOUNDER: BrokerId = BrokerId(1);
/// The founder's replica of the metadata group, known to it before the group exists.
pub const FOUNDER_REPLICA: ReplicaId = ReplicaId(1);

/// A broker of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// Its id.
    pub id: BrokerId,
    /// Its latest life.
    pub incarnation: Incarnation,
    /// Where it can be reached.
    pub endpoints: Endpoints,
    /// Its rack; empty when it has none.
    pub rack: String,
    /// The cluster levels it supports.
    pub levels: RangeInclusive<u32>,
    /// Its replica of the metadata group.
    pub metadata_replica: ReplicaId,
}

/// A topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Its id, fixed for its life.
    pub id: TopicId,
    /// Its name.
    pub name: TopicName,
    /// Its settings, defaults included.
    pub config: TopicConfig,
    /// The settings that were given, in plain form.
    pub overrides: BTreeMap<String, String>,
    /// Its partitions, by number; at least one.
    pub partitions: Vec<Partition>,
}

/// The replicas of a partition; at least one. The first starts the group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// The replicas, on different brokers.
    pub replicas: Vec<Replica>,
}

/// A replica and its broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Replica {
    /// The replica: the Raft node id.
    pub id: ReplicaId,
    /// The broker it is placed on.
    pub broker: BrokerId,
}

/// A replica that a broker should run.
#[derive(Debug, Clone, Copy)]
pub struct Placed<'a> {
    /// The topic.
    pub topic: &'a Arc<Topic>,
    /// The partition.
    pub partition: PartitionIndex,
    /// The replica on the broker asked for.
    pub replica: ReplicaId,
    /// All replicas of the partition; the first starts the group.
    pub replicas: &'a [Replica],
}

/// A replica that was removed and whose broker has not yet confirmed that its files are gone. Only
/// a replica named here may be deleted from a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removed {
    /// The replica and its broker.
    pub replica: Replica,
    /// The topic it belonged to.
    pub topic: TopicId,
    /// The partition it belonged to.
    pub partition: PartitionIndex,
}

/// The whole metadata of a cluster. Cheap to clone: topics are shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterState {
    founded: Option<Founded>,
    brokers: BTreeMap<BrokerId, Broker>,
    topics: BTreeMap<TopicId, Arc<Topic>>,
    names: BTreeMap<TopicName, TopicId>,
    removed: BTreeMap<ReplicaId, Removed>,
    next_broker: BrokerId,
    next_replica: ReplicaId,
    next_producer: ProducerId,
    named: NamedProducers,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Founded {
    cluster: ClusterId,
    group_shards: u32,
    level: u32,
}

impl Default for ClusterState {
    fn default() -> Self {
        Self::new()
    }
}

impl ClusterState {
    /// The state before the first command: no cluster yet.
    pub fn new() -> Self {
        Self {
            founded: None,
            brokers: BTreeMap::new(),
            topics: BTreeMap::new(),
            names: BTreeMap::new(),
            removed: BTreeMap::new(),
            next_broker: FOUNDER,
            next_replica: FOUNDER_REPLICA,
            next_producer: ProducerId(1),
            named: NamedProducers::default(),
        }
    }

    /// The cluster's id; `None` before it is founded.
    pub fn cluster_id(&self) -> Option<ClusterId> {
        self.founded.map(|founded| founded.cluster)
    }

    /// How many shards of consumer groups there are; 0 before the cluster is founded.
    pub fn group_shards(&self) -> u32 {
        self.founded.map_or(0, |founded| founded.group_shards)
    }

    /// The cluster level in force; 0 before the cluster is founded.
    pub fn level(&self) -> u32 {
        self.founded.map_or(0, |founded| founded.level)
    }

    /// The brokers, by id.
    pub fn brokers(&self) -> impl ExactSizeIterator<Item = &Broker> {
        self.brokers.values()
    }

    /// A broker.
    pub fn broker(&self, id: BrokerId) -> Option<&Broker> {
        self.brokers.get(&id)
    }

    /// The topics, by name.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.names.values().filter_map(|id| self.topics.get(id))
    }

    /// How many topics there are.
    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// How many partitions all topics have.
    pub fn partition_count(&self) -> usize {
        let partitions = |topic: &Arc<Topic>| topic.partitions.len();
        self.topics.values().map(partitions).sum()
    }

    /// The topic with this id.
    pub fn topic(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.topics.get(&id)
    }

    /// The topic that has this name now.
    pub fn topic_by_name(&self, name: &TopicName) -> Option<&Arc<Topic>> {
        self.topics.get(self.names.get(name)?)
    }

    /// The replicas of one partition.
    pub fn partition(&self, topic: TopicId, partition: PartitionIndex) -> Option<&Partition> {
        self.topics.get(&topic)?.partition(partition)
    }

    /// Every replica that `broker` should run, by topic id and partition.
    pub fn replicas_on(&self, broker: BrokerId) -> impl Iterator<Item = Placed<'_>> {
        let placed = move |topic| Topic::placed_on(topic, broker);
        self.topics.values().flat_map(placed)
    }

    /// Every replica whose files `broker` should delete and confirm.
    pub fn removed_on(&self, broker: BrokerId) -> impl Iterator<Item = &Removed> {
        let here = move |removed: &&Removed| removed.replica.broker == broker;
        self.removed.values().filter(here)
    }

    /// True while `replica` is named as removed. Nothing else allows the deletion of its files.
    pub fn is_removed(&self, replica: ReplicaId) -> bool {
        self.removed.contains_key(&replica)
    }

    /// True when the producer id was given out in a range, or a name stands for it.
    pub fn knows_producer(&self, producer: ProducerId) -> bool {
        (1..self.next_producer.0).contains(&producer.0) || self.named.get(producer).is_some()
    }

    /// What is known of a named producer, by its id.
    pub fn named_producer(&self, id: ProducerId) -> Option<&NamedProducer> {
        self.named.get(id)
    }

    /// The first producer id that was not given out yet.
    pub fn next_producer_id(&self) -> ProducerId {
        self.next_producer
    }

    /// The brokers with what they carry, as [`place`](super::placement::place) takes them.
    pub fn candidates(&self) -> Vec<Candidate> {
        let mut candidates: BTreeMap<BrokerId, Candidate> = self
            .brokers
            .values()
            .map(|broker| (broker.id, Candidate::empty(broker.id, &broker.rack)))
            .collect();
        let partitions = self.topics.values().flat_map(|topic| &topic.partitions);
        for partition in partitions {
            for (position, replica) in partition.replicas.iter().enumerate() {
                if let Some(candidate) = candidates.get_mut(&replica.broker) {
                    candidate.replicas += 1;
                    candidate.leaders += u32::from(position == 0);
                }
            }
        }
        candidates.into_values().collect()
    }
}

impl Topic {
    /// One partition.
    pub fn partition(&self, partition: PartitionIndex) -> Option<&Partition> {
        self.partitions.get(usize::try_from(partition.0).ok()?)
    }

    /// How many replicas its partitions have (the most, if they differ).
    pub fn replication_factor(&self) -> usize {
        let replicas = |partition: &Partition| partition.replicas.len();
        self.partitions.iter().map(replicas).max().unwrap_or(0)
    }

    fn placed_on(topic: &Arc<Self>, broker: BrokerId) -> impl Iterator<Item = Placed<'_>> {
        let numbered = topic.partitions.iter().enumerate();
        numbered.filter_map(move |(number, partition)| {
            Some(Placed {
                topic,
                partition: partition_index(number),
                replica: partition.on(broker)?,
                replicas: &partition.replicas,
            })
        })
    }
}

impl Partition {
    /// The replica on `broker`.
    pub fn on(&self, broker: BrokerId) -> Option<ReplicaId> {
        let here = |replica: &&Replica| replica.broker == broker;
        self.replicas.iter().find(here).map(|replica| replica.id)
    }
}

#[cfg(test)]
mod tests;
