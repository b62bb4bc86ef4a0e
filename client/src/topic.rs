//! Topics, partitions and brokers as the cluster describes them.

use std::collections::BTreeMap;

use highwater_proto::pb::v1;
use highwater_proto::{BrokerId, Offset, PartitionIndex};

use crate::topology::broker_id;

/// A topic to create. What is not set is left to the cluster's defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewTopic {
    pub(crate) name: String,
    pub(crate) partitions: Option<u32>,
    pub(crate) replication: Option<u32>,
    pub(crate) config: BTreeMap<String, String>,
}

impl NewTopic {
    /// A topic of this name, with one partition unless told otherwise.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }

    /// How many partitions, from 1 to 10,000.
    #[must_use]
    pub fn partitions(mut self, count: u32) -> Self {
        self.partitions = Some(count);
        self
    }

    /// How many replicas of each partition.
    #[must_use]
    pub fn replication(mut self, factor: u32) -> Self {
        self.replication = Some(factor);
        self
    }

    /// A setting that differs from its default, such as `retention.ms`.
    #[must_use]
    pub fn config(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.insert(name.into(), value.into());
        self
    }

    /// True when `found` is what creating this topic would have made.
    pub(crate) fn describes(&self, found: &TopicDescription) -> bool {
        let same = |wanted: Option<u32>, is: u32| wanted.is_none_or(|wanted| wanted == is);
        let configured = |(name, value): (&String, &String)| found.config.get(name) == Some(value);
        self.name == found.topic.name
            && self.partitions.unwrap_or(1) == found.topic.partition_count
            && same(self.replication, found.topic.replication_factor)
            && self.config.iter().all(configured)
    }
}

/// Settings of a topic to change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopicChanges {
    pub(crate) set: BTreeMap<String, String>,
    pub(crate) unset: Vec<String>,
}

impl TopicChanges {
    /// No change yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives a setting a value.
    #[must_use]
    pub fn set(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.set.insert(name.into(), value.into());
        self
    }

    /// Returns a setting to its default.
    #[must_use]
    pub fn unset(mut self, name: impl Into<String>) -> Self {
        self.unset.push(name.into());
        self
    }
}

/// A topic in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Its id, fixed for its life.
    pub id: String,
    /// How many partitions.
    pub partition_count: u32,
    /// How many replicas of each.
    pub replication_factor: u32,
}

/// One topic in full.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicDescription {
    /// The topic.
    pub topic: Topic,
    /// Every setting, defaults included.
    pub config: BTreeMap<String, String>,
    /// The partitions, by number.
    pub partitions: Vec<PartitionDescription>,
}

/// The state of one partition, as its leader tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartitionDescription {
    /// The partition.
    pub partition: PartitionIndex,
    /// The broker that leads it, if there is one.
    pub leader: Option<BrokerId>,
    /// The epoch of that leadership.
    pub leader_epoch: i32,
    /// The brokers that hold a replica.
    pub replicas: Vec<BrokerId>,
    /// Those whose replica has every record below the high watermark.
    pub in_sync: Vec<BrokerId>,
    /// The first offset that can be read.
    pub log_start_offset: Offset,
    /// The end of what can be read.
    pub high_watermark: Offset,
    /// The bytes that the files of the leader's replica take on its disk.
    pub disk_bytes: u64,
    /// The replicas that do not do their part, and why, as far as their brokers answer.
    pub faults: Vec<ReplicaFault>,
}

/// A replica that does not do its part. Unless it is only behind, it is out of its group: it neither
/// votes nor acknowledges, and serves nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplicaFault {
    /// The broker it is on.
    pub broker: Option<BrokerId>,
    /// `damaged`, `diverged`, `stopped`, or `behind` for one that is open and takes no records.
    pub kind: String,
    /// What, where, why.
    pub message: String,
}

/// The cluster at a glance.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cluster {
    /// Its id.
    pub id: String,
    /// The broker that answered.
    pub broker: Option<BrokerId>,
    /// The broker that leads the metadata group, if it is known.
    pub controller: Option<BrokerId>,
    /// How many brokers.
    pub broker_count: u32,
    /// How many topics.
    pub topic_count: u32,
    /// How many partitions.
    pub partition_count: u32,
    /// The version of the broker that answered.
    pub version: String,
    /// The brokers that vote on the metadata; empty when the broker that answered did not say.
    pub metadata_voters: Vec<BrokerId>,
}

/// A broker.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Broker {
    /// Its id.
    pub id: BrokerId,
    /// Its address for clients.
    pub listen: String,
    /// Its address for other brokers.
    pub peer: String,
    /// Its address for HTTP.
    pub http: String,
    /// The rack it said it stands in; may be empty.
    pub rack: String,
    /// Whether it answers the broker that was asked; `None` when that was not said.
    pub up: Option<bool>,
    /// True when it leaves leading to others: it is drained, or stopping.
    pub draining: bool,
    /// By how many milliseconds its machine's clock is ahead of the time that the broker goes by, as
    /// after a jump or where most brokers have another time; 0 while the broker follows it.
    pub clock_ahead_ms: i64,
}

/// How far a broker is with handing over what it leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drain {
    /// True while it leaves leading to others.
    pub draining: bool,
    /// Groups it leads that another broker could take over.
    pub leaderships: u32,
    /// Groups it goes on leading, because no other broker could lead them now.
    pub unmovable: u32,
}

/// Where every partition is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterMetadata {
    /// The cluster.
    pub cluster_id: String,
    /// Rises with every change that the answering broker learns of.
    pub version: u64,
    /// The broker that leads the metadata group, if it is known.
    pub controller: Option<BrokerId>,
    /// The brokers, by id.
    pub brokers: Vec<Broker>,
    /// The topics asked for, by name.
    pub topics: Vec<TopicPlacement>,
}

/// Where a topic's partitions are.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicPlacement {
    /// The topic's name.
    pub name: String,
    /// The topic's id.
    pub id: String,
    /// The largest batch the topic takes, in bytes.
    pub max_batch_bytes: usize,
    /// The partitions, by number.
    pub partitions: Vec<PartitionPlacement>,
}

/// Where a partition is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartitionPlacement {
    /// The partition.
    pub partition: PartitionIndex,
    /// The broker that leads it, if there is one.
    pub leader: Option<BrokerId>,
    /// The epoch of that leadership.
    pub leader_epoch: i32,
    /// The brokers that hold a replica.
    pub replicas: Vec<BrokerId>,
}

fn count(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

fn brokers(numbers: Vec<i32>) -> Vec<BrokerId> {
    numbers.into_iter().filter_map(broker_id).collect()
}

impl From<v1::Topic> for Topic {
    fn from(topic: v1::Topic) -> Self {
        Self {
            name: topic.name,
            id: topic.id,
            partition_count: count(topic.partition_count),
            replication_factor: count(topic.replication_factor),
        }
    }
}

impl From<v1::DescribeTopicResponse> for TopicDescription {
    fn from(answer: v1::DescribeTopicResponse) -> Self {
        Self {
            topic: answer.topic.unwrap_or_default().into(),
            config: answer.config.into_iter().collect(),
            partitions: answer.partitions.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<v1::PartitionDescription> for PartitionDescription {
    fn from(partition: v1::PartitionDescription) -> Self {
        Self {
            partition: PartitionIndex(count(partition.partition)),
            leader: partition.leader.and_then(broker_id),
            leader_epoch: partition.leader_epoch,
            replicas: brokers(partition.replicas),
            in_sync: brokers(partition.in_sync),
            log_start_offset: Offset::from_i64(partition.log_start_offset).unwrap_or_default(),
            high_watermark: Offset::from_i64(partition.high_watermark).unwrap_or_default(),
            disk_bytes: u64::try_from(partition.disk_bytes).unwrap_or(0),
            faults: partition.faults.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<v1::ReplicaFault> for ReplicaFault {
    fn from(fault: v1::ReplicaFault) -> Self {
        Self {
            broker: broker_id(fault.broker),
            kind: fault.kind,
            message: fault.message,
        }
    }
}

impl From<v1::GetClusterResponse> for Cluster {
    fn from(answer: v1::GetClusterResponse) -> Self {
        Self {
            id: answer.cluster_id,
            broker: broker_id(answer.broker),
            controller: broker_id(answer.controller),
            broker_count: count(answer.broker_count),
            topic_count: count(answer.topic_count),
            partition_count: count(answer.partition_count),
            version: answer.version,
            metadata_voters: brokers(answer.metadata_voters),
        }
    }
}

impl From<v1::DrainBrokerResponse> for Drain {
    fn from(answer: v1::DrainBrokerResponse) -> Self {
        Self {
            draining: answer.state() == v1::BrokerState::Draining,
            leaderships: count(answer.leaderships),
            unmovable: count(answer.unmovable),
        }
    }
}

impl From<v1::GetDrainResponse> for Drain {
    fn from(answer: v1::GetDrainResponse) -> Self {
        Self {
            draining: answer.state() == v1::BrokerState::Draining,
            leaderships: count(answer.leaderships),
            unmovable: count(answer.unmovable),
        }
    }
}

impl From<v1::Broker> for Broker {
    fn from(broker: v1::Broker) -> Self {
        let up = match broker.state() {
            v1::BrokerState::Unspecified => None,
            v1::BrokerState::Up | v1::BrokerState::Draining => Some(true),
            v1::BrokerState::Down => Some(false),
        };
        let draining = broker.state() == v1::BrokerState::Draining;
        Self {
            draining,
            id: BrokerId(count(broker.id)),
            listen: broker.listen,
            peer: broker.peer,
            http: broker.http,
            rack: broker.rack,
            up,
            clock_ahead_ms: broker.clock_ahead_ms,
        }
    }
}

impl From<v1::Metadata> for ClusterMetadata {
    fn from(metadata: v1::Metadata) -> Self {
        Self {
            cluster_id: metadata.cluster_id,
            version: metadata.version,
            controller: broker_id(metadata.controller),
            brokers: metadata.brokers.into_iter().map(Into::into).collect(),
            topics: metadata.topics.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<v1::TopicMetadata> for TopicPlacement {
    fn from(topic: v1::TopicMetadata) -> Self {
        let partition = |p: v1::PartitionMetadata| PartitionPlacement {
            partition: PartitionIndex(count(p.partition)),
            leader: broker_id(p.leader),
            leader_epoch: p.leader_epoch,
            replicas: brokers(p.replicas),
        };
        Self {
            name: topic.name,
            id: topic.id,
            max_batch_bytes: usize::try_from(topic.max_batch_bytes).unwrap_or(0),
            partitions: topic.partitions.into_iter().map(partition).collect(),
        }
    }
}
