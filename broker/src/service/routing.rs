//! From the names in a request to the partition here, or to the broker that has it.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use highwater_proto::{PartitionIndex, Reason, TopicId, TopicName};

use super::{Error, LeaderHint, Services};
use crate::cluster::{Leader, Topic};
use crate::partition::{AppendError, Partition, ReadError};
use crate::raft::GroupId;

/// How much of a text from outside an error repeats.
const SHOWN: usize = 64;

/// How long a request waits for the metadata here to catch up.
pub(super) const CATCH_UP: Duration = Duration::from_secs(1);

fn may_be_stale(reason: Reason) -> bool {
    matches!(reason, Reason::TopicNotFound | Reason::TopicIdMismatch)
}

/// A partition that a request names, and its topic.
#[derive(Debug, Clone)]
pub struct Target {
    /// The topic.
    pub topic: Arc<Topic>,
    /// The partition's number.
    pub partition: PartitionIndex,
}

impl Services {
    /// The topic that a request names, and checks that it is the one with `id` if that is given.
    pub fn topic(&self, name: &str, id: &str) -> Result<Arc<Topic>, Error> {
        let parsed = TopicName::parse(name)
            .map_err(|error| Error::new(Reason::InvalidTopicName, error.to_string()))?;
        let state = self.metadata.state();
        let topic = state
            .topic_by_name(&parsed)
            .ok_or_else(|| Error::no_topic(name))?;
        if !id.is_empty() {
            let wanted = TopicId::from_str(id).map_err(|_| {
                let shown: String = id.chars().take(SHOWN).collect();
                Error::invalid(format!("topic_id {shown:?} is not a topic id"))
            })?;
            if wanted != topic.id {
                return Err(Error::other_topic(topic, wanted));
            }
        }
        Ok(Arc::clone(topic))
    }

    /// The topic that a request names. The metadata here may be behind, so what it does not have
    /// is looked for again once it has caught up.
    pub async fn find_topic(&self, name: &str, id: &str) -> Result<Arc<Topic>, Error> {
        match self.topic(name, id) {
            Err(error) if may_be_stale(error.reason) => {
                let current = self.metadata.catch_up(CATCH_UP).await;
                self.topic(name, id).map_err(|error| match current {
                    true => error,
                    false => Error::metadata_away(),
                })
            }
            found => found,
        }
    }

    /// The partition that a request names.
    pub async fn target(&self, name: &str, id: &str, partition: i32) -> Result<Target, Error> {
        let topic = self.find_topic(name, id).await?;
        let count = topic.partitions.len();
        match u32::try_from(partition) {
            Ok(index) if (index as usize) < count => Ok(Target {
                topic,
                partition: PartitionIndex(index),
            }),
            _ => {
                let message = format!(
                    "topic {name:?} has partitions 0 to {}, not {partition}",
                    count - 1
                );
                Err(Error::new(Reason::PartitionNotFound, message))
            }
        }
    }

    /// The replica of `target` here, or where its leader is.
    pub fn local(&self, target: &Target) -> Result<Partition, Error> {
        let found = self.partitions.get(target.topic.id, target.partition);
        found.ok_or_else(|| self.elsewhere(target))
    }

    /// The error that sends a client to the leader of `target`.
    pub fn elsewhere(&self, target: &Target) -> Error {
        if let Some(error) = self.gone(&target.topic) {
            return error;
        }
        let leader = self
            .leaders
            .leader(GroupId::Partition(target.topic.id, target.partition))
            .or_else(|| self.seen_here(target));
        // This broker is not sent to itself: while it takes over, nobody can answer.
        let elsewhere = leader.filter(|leader| leader.broker != self.me.broker);
        let state = self.metadata.state();
        let address = elsewhere.and_then(|leader| {
            let broker = state.broker(leader.broker)?;
            Some((leader.broker, broker.endpoints.listen.clone()))
        });
        Error::not_leader(LeaderHint {
            topic: target.topic.name.to_string(),
            partition: target.partition,
            leader: address,
            leader_epoch: leader.map_or(-1, |leader| leader.term.to_epoch()),
        })
    }

    /// The leader as the replica here knows it: the table of leaders is told a moment later.
    fn seen_here(&self, target: &Target) -> Option<Leader> {
        let partition = self.partitions.get(target.topic.id, target.partition)?;
        let now = partition.replica().leadership_now();
        let (replica, broker) = now.leader?;
        Some(Leader {
            broker,
            replica,
            term: now.term,
        })
    }

    /// The error of whatever goes on with a topic that was deleted.
    fn gone(&self, topic: &Topic) -> Option<Error> {
        let state = self.metadata.state();
        if state.topic(topic.id).is_some() {
            return None;
        }
        Some(match state.topic_by_name(&topic.name) {
            Some(now) => Error::other_topic(now, topic.id),
            None => Error::no_topic(topic.name.as_str()),
        })
    }

    /// The error of a failed append to `target`.
    pub fn append_error(&self, target: &Target, error: AppendError) -> Error {
        use super::Detail;
        let Target { topic, partition } = target;
        let message = format!("{}/{partition}: {error}", topic.name);
        let reason = match error {
            AppendError::NotLeader | AppendError::Stopped(_) => return self.elsewhere(target),
            AppendError::NotReady | AppendError::Refused(_) => Reason::NoLeader,
            AppendError::QuorumLost => Reason::QuorumLost,
            AppendError::DiskFull(_) => Reason::DiskFull,
            AppendError::OldDuplicate { .. } => Reason::DuplicateSequence,
            AppendError::UnknownProducer { .. } => Reason::UnknownProducer,
            AppendError::Fenced { .. } => Reason::ProducerFenced,
            AppendError::Unknown(_) => Reason::OutcomeUnknown,
            AppendError::SequenceGap {
                producer: producer_id,
                expected,
                actual,
            } => {
                return Error::new(Reason::SequenceGap, message).with(Detail::SequenceGap {
                    producer_id,
                    expected,
                    actual,
                });
            }
        };
        Error::new(reason, message)
    }

    /// The error of a failed read of `target` at `offset`.
    pub fn read_error(&self, target: &Target, offset: i64, error: ReadError) -> Error {
        use super::Detail;
        let Target { topic, partition } = target;
        let message = format!("{}/{partition}: {error}", topic.name);
        match error {
            ReadError::NotLeader => self.elsewhere(target),
            ReadError::NotReady => Error::new(Reason::NoLeader, message),
            ReadError::Unconfirmed => Error::new(Reason::QuorumLost, message),
            ReadError::Stale(_) => Error::new(Reason::Stale, message),
            ReadError::Damaged(_) => {
                Error::new(Reason::CorruptData, message).with(Detail::CorruptData {
                    topic: topic.name.to_string(),
                    partition: *partition,
                    offset,
                    next_offset: None,
                })
            }
            ReadError::OutOfRange {
                log_start_offset,
                high_watermark,
                ..
            } => Error::new(Reason::OffsetOutOfRange, message).with(Detail::OffsetRange {
                offset,
                log_start_offset,
                high_watermark,
            }),
        }
    }
}
