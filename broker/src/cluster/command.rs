//! The commands of the metadata group: typed inside, protobuf at the edges.
//!
//! A `Command` that exists is well formed: names, ids and sizes were checked as it was read. What
//! depends on the cluster (does the topic exist?) is judged as it is applied.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use bytes::Bytes;
use highwater_proto::pb::peer::MetadataCommand;
use highwater_proto::{
    BrokerId, ClusterId, Incarnation, PartitionIndex, ProducerEpoch, ProducerId, ProducerName,
    ReplicaId, TopicId, TopicName,
};
use prost::Message;

use super::refusal::Refusal;

mod read;
mod write;

pub use read::{check_rack, is_address};
pub(super) use read::{
    incarnation_of, read_endpoints, read_incarnation, read_producer_name, read_rack, read_topic_id,
};

/// The most bytes of an encoded command. The largest topic that can be created stays below it.
pub const MAX_COMMAND_BYTES: usize = 1 << 20;
/// The most partitions of a topic.
pub const MAX_PARTITIONS: usize = 10_000;
/// The most replicas of a partition.
pub const MAX_REPLICATION_FACTOR: usize = 15;
/// The most producer ids in one range.
pub const MAX_PRODUCER_RANGE: u64 = 1_000_000;
/// The longest address of a broker, in bytes: a host name, a colon and a port.
pub const MAX_ADDRESS: usize = 261;
/// The longest name of a rack, in bytes.
pub const MAX_RACK: usize = 128;

/// Something the metadata group is asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// The cluster exists: the first command of its log.
    FoundCluster {
        /// The cluster's id.
        cluster: ClusterId,
        /// How many shards of consumer groups there will be.
        group_shards: u32,
    },
    /// A broker joins or comes back.
    RegisterBroker(Registration),
    /// A topic is created; replica ids are allocated as the command is applied.
    CreateTopic {
        /// Its name.
        name: TopicName,
        /// Its id, drawn by the proposer.
        topic: TopicId,
        /// Settings that differ from the defaults.
        config: BTreeMap<String, String>,
        /// The brokers of each partition, by partition; the first one stands for election first.
        placements: Vec<Vec<BrokerId>>,
    },
    /// Settings of a topic change.
    AlterTopic {
        /// The topic.
        topic: TopicId,
        /// Settings to set.
        set: BTreeMap<String, String>,
        /// Settings to return to their defaults.
        unset: BTreeSet<String>,
    },
    /// A topic is deleted.
    DeleteTopic {
        /// The topic.
        topic: TopicId,
    },
    /// A broker takes a range of producer ids.
    AllocateProducerIds {
        /// How many, from 1 to [`MAX_PRODUCER_RANGE`].
        count: u64,
    },
    /// A broker has deleted the files of removed replicas.
    ConfirmRemoved {
        /// The replicas.
        replicas: Vec<ReplicaId>,
    },
    /// A producer takes a name.
    InitNamedProducer {
        /// The name.
        name: ProducerName,
        /// The id and epoch that it holds; then only the next epoch will do.
        held: Option<ProducerIncarnation>,
        /// The same number again gets the same epoch again; 0 never does.
        attempt: u64,
    },
    /// A named producer is about to write to a partition.
    RegisterProducer {
        /// The producer.
        producer: ProducerIncarnation,
        /// The topic.
        topic: TopicId,
        /// The partition.
        partition: PartitionIndex,
    },
}

/// One life of a producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerIncarnation {
    /// The producer.
    pub id: ProducerId,
    /// Its epoch.
    pub epoch: ProducerEpoch,
}

/// A broker joins, or comes back with new addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// The broker's id; `None` asks for one.
    pub broker: Option<BrokerId>,
    /// This life of the broker. A join repeated within one life gets the same ids.
    pub incarnation: Incarnation,
    /// Its addresses.
    pub endpoints: Endpoints,
    /// Its rack; empty when it has none.
    pub rack: String,
    /// The cluster levels it supports.
    pub levels: RangeInclusive<u32>,
}

/// Where a broker can be reached, each as host:port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// For clients.
    pub listen: String,
    /// For brokers.
    pub peer: String,
    /// For HTTP; empty when it does not listen there.
    pub http: String,
}

/// Why bytes are not a command.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// Larger than any command that is written.
    #[error("a metadata command of {0} bytes is above the limit of {MAX_COMMAND_BYTES}")]
    TooLarge(usize),
    /// Not protobuf.
    #[error("the metadata command cannot be read: {0}")]
    Malformed(#[from] prost::DecodeError),
    /// A command of a newer version. The group must stop: skipping it would make replicas differ.
    #[error(
        "the metadata command is of a kind that this version does not know; update this broker"
    )]
    Unknown,
    /// A known command with a field that it cannot have. Every replica refuses it alike.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl Command {
    /// The command as bytes of an encoded [`MetadataCommand`].
    pub fn encode(&self) -> Bytes {
        self.to_pb().encode_to_vec().into()
    }

    /// The command in bytes of an encoded [`MetadataCommand`].
    pub fn decode(bytes: &[u8]) -> Result<Self, CommandError> {
        Self::from_pb(&decode_message(bytes)?)
    }

    /// The command as a message.
    pub fn to_pb(&self) -> MetadataCommand {
        write::command(self)
    }

    /// The command in a message, checked.
    pub fn from_pb(message: &MetadataCommand) -> Result<Self, CommandError> {
        read::command(message)
    }
}

/// The message in `bytes`, its fields not yet checked. Allocates in proportion to `bytes`.
pub fn decode_message(bytes: &[u8]) -> Result<MetadataCommand, CommandError> {
    if bytes.len() > MAX_COMMAND_BYTES {
        return Err(CommandError::TooLarge(bytes.len()));
    }
    Ok(MetadataCommand::decode(bytes)?)
}

/// The number of the partition at `position` of a topic's list; lists are bounded by
/// [`MAX_PARTITIONS`].
pub(super) fn partition_index(position: usize) -> PartitionIndex {
    PartitionIndex(u32::try_from(position).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests;
