//! Why a request failed: a reason from the one table, what and where, and typed detail.

use highwater_proto::{BrokerId, Offset, PartitionIndex, Reason, TopicId};

use crate::cluster::Topic;

/// A failed request. Unless the reason's outcome says otherwise, nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// The reason.
    pub reason: Reason,
    /// What, where, why.
    pub message: String,
    /// What a program needs to go on.
    pub detail: Detail,
}

/// The typed detail of an error.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Detail {
    /// The reason says it all.
    #[default]
    None,
    /// Where the leader is, if it is known.
    NotLeader(LeaderHint),
    /// What can be read.
    OffsetRange {
        /// The offset asked for.
        offset: i64,
        /// The first offset that can be read.
        log_start_offset: Offset,
        /// The end of what can be read.
        high_watermark: Offset,
    },
    /// What cannot be read.
    CorruptData {
        /// The topic.
        topic: String,
        /// The partition.
        partition: PartitionIndex,
        /// The first offset that cannot be read.
        offset: i64,
        /// The next one that may be read, if it is known.
        next_offset: Option<Offset>,
    },
    /// Which sequence was expected.
    SequenceGap {
        /// The producer.
        producer_id: i64,
        /// The sequence expected next.
        expected: i32,
        /// The sequence that came.
        actual: i32,
    },
}

/// Where a partition's leader is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaderHint {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: PartitionIndex,
    /// The leader's broker and its address for clients, if they are known.
    pub leader: Option<(BrokerId, String)>,
    /// The epoch of the leadership.
    pub leader_epoch: i32,
}

impl Error {
    /// An error without detail.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            detail: Detail::None,
        }
    }

    /// The same error with `detail`.
    #[must_use]
    pub fn with(self, detail: Detail) -> Self {
        Self { detail, ..self }
    }

    /// A field of the request has a value it cannot have.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Reason::InvalidRequest, message)
    }

    /// The topic does not exist.
    pub fn no_topic(name: &str) -> Self {
        Self::new(Reason::TopicNotFound, format!("there is no topic {name:?}"))
    }

    /// The cluster's metadata cannot be reached, and what is here may be old.
    pub fn metadata_away() -> Self {
        let message = "the cluster's metadata cannot be reached from this broker, so it is not known \
                       which topics and brokers there are";
        Self::new(Reason::NotReady, message)
    }

    /// The topic of that name is not the one with id `wanted`.
    pub fn other_topic(topic: &Topic, wanted: TopicId) -> Self {
        let (name, id) = (topic.name.as_str(), topic.id);
        let message = format!("topic {name:?} has id {id} now, not {wanted}");
        Self::new(Reason::TopicIdMismatch, message)
    }

    /// The partition is led elsewhere, or by nobody.
    pub fn not_leader(hint: LeaderHint) -> Self {
        let LeaderHint {
            topic,
            partition,
            leader,
            ..
        } = &hint;
        let (reason, message) = match leader {
            Some((broker, address)) => (
                Reason::NotLeader,
                format!("{topic}/{partition} is led by broker {broker} at {address}"),
            ),
            None => (
                Reason::NoLeader,
                format!("{topic}/{partition} has no leader now"),
            ),
        };
        Self::new(reason, message).with(Detail::NotLeader(hint))
    }
}
