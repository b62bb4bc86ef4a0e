//! Which group: the metadata of the cluster, or a partition.

use std::fmt;

use highwater_proto::pb::peer;
use highwater_proto::{PartitionIndex, TopicId};

/// A Raft group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GroupId {
    /// The cluster's metadata.
    Metadata,
    /// A partition of a topic.
    Partition(TopicId, PartitionIndex),
}

impl GroupId {
    /// The topic id that frames and segment headers carry: zero for the metadata group.
    pub fn topic_bytes(self) -> [u8; 16] {
        match self {
            Self::Metadata => [0; 16],
            Self::Partition(topic, _) => topic.to_bytes(),
        }
    }

    /// The partition that segment headers carry: 0 for the metadata group.
    pub fn partition_number(self) -> u32 {
        match self {
            Self::Metadata => 0,
            Self::Partition(_, partition) => partition.0,
        }
    }

    /// The group as peers spell it.
    pub fn to_pb(self) -> peer::Group {
        match self {
            Self::Metadata => peer::Group {
                topic_id: bytes::Bytes::new(),
                partition: 0,
            },
            Self::Partition(topic, partition) => peer::Group {
                topic_id: bytes::Bytes::copy_from_slice(&topic.to_bytes()),
                partition: partition.0,
            },
        }
    }

    /// The group that a peer names; `None` when it is malformed.
    pub fn from_pb(group: &peer::Group) -> Option<Self> {
        if group.topic_id.is_empty() {
            return (group.partition == 0).then_some(Self::Metadata);
        }
        let topic = <[u8; 16]>::try_from(group.topic_id.as_ref()).ok()?;
        Some(Self::Partition(
            TopicId::from_bytes(topic),
            PartitionIndex(group.partition),
        ))
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Metadata => f.write_str("metadata"),
            Self::Partition(topic, partition) => write!(f, "{topic}/{partition}"),
        }
    }
}
