//! Topics and the cluster: every known broker is tried until one answers, and what may help to
//! try again is tried again until the request timeout.

use std::collections::BTreeMap;

use highwater_proto::pb::v1;
use highwater_proto::{BrokerId, Offset, PartitionIndex, Reason, Timestamp};
use tokio::time::Instant;

use crate::channels::Api;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::topic::{
    Broker, Cluster, ClusterMetadata, Drain, NewTopic, Topic, TopicChanges, TopicDescription,
};
use crate::topology::TopicRoutes;

/// A position of a partition to look up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Position {
    /// The first offset that can be read.
    Earliest,
    /// The high watermark.
    Latest,
    /// The first record with this time or a later one.
    Timestamp(Timestamp),
}

/// The offset at a position, and the range that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Offsets {
    /// The offset at the position; the high watermark when no record is that late.
    pub offset: Offset,
    /// The first offset that can be read.
    pub log_start_offset: Offset,
    /// The end of what can be read.
    pub high_watermark: Offset,
    /// The epoch of the leader that answered.
    pub leader_epoch: i32,
}

/// Where a partition is to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrimTo {
    /// At this offset.
    Offset(Offset),
    /// At the first record with this time or a later one.
    Timestamp(Timestamp),
    /// At the high watermark: everything that is committed is deleted.
    End,
}

/// What a partition has after it was trimmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Trimmed {
    /// The first offset that can be read.
    pub log_start_offset: Offset,
    /// The first offset that could be read before.
    pub previous_log_start_offset: Offset,
    /// The end of what can be read.
    pub high_watermark: Offset,
}

impl Client {
    /// Creates a topic; every partition has a leader when this returns.
    ///
    /// When the outcome of an attempt was not known and the next one finds that the topic exists,
    /// it counts as created if it has what was asked for: the same partitions, and the replicas
    /// and settings that `topic` names. Without such an attempt before, it is `TOPIC_EXISTS`.
    ///
    /// Dropped before it is ready, it may have been done or not.
    pub async fn create_topic(&self, topic: NewTopic) -> Result<Topic> {
        let request = v1::CreateTopicRequest {
            name: topic.name.clone(),
            partition_count: topic.partitions.map(wire_count),
            replication_factor: topic.replication.map(wire_count),
            config: topic.config.clone().into_iter().collect(),
        };
        let call = |api: Api| {
            let request = request.clone();
            async move { api.topics().create_topic(request).await }
        };
        let commanded = self.metadata.command(call).await;
        self.metadata.forget(&topic.name);
        match commanded.result {
            Ok(answer) => Ok(answer.topic.unwrap_or_default().into()),
            Err(error)
                if commanded.maybe_done_before && error.reason() == Some(Reason::TopicExists) =>
            {
                let found = self.describe_topic(&topic.name).await?;
                topic.describes(&found).then_some(found.topic).ok_or(error)
            }
            Err(error) => Err(error),
        }
    }

    /// All topics, by name.
    ///
    /// Reads only; cancel-safe.
    pub async fn list_topics(&self) -> Result<Vec<Topic>> {
        let call = |api: Api| async move {
            let request = v1::ListTopicsRequest {};
            api.topics().list_topics(request).await
        };
        let answer = self.metadata.ask(call).await?;
        Ok(answer.topics.into_iter().map(Into::into).collect())
    }

    /// One topic with its settings and the state of its partitions.
    ///
    /// Reads only; cancel-safe.
    pub async fn describe_topic(&self, name: &str) -> Result<TopicDescription> {
        let call = |api: Api| async move {
            let name = name.to_owned();
            let request = v1::DescribeTopicRequest { name };
            api.topics().describe_topic(request).await
        };
        self.metadata.ask(call).await.map(Into::into)
    }

    /// Changes settings of a topic and gives all of them as they are then. Setting the same again
    /// changes nothing, so it is tried again even after an unknown outcome.
    ///
    /// Dropped before it is ready, it may have been done or not.
    pub async fn alter_topic(
        &self,
        name: &str,
        changes: TopicChanges,
    ) -> Result<BTreeMap<String, String>> {
        let request = v1::AlterTopicRequest {
            name: name.to_owned(),
            set: changes.set.into_iter().collect(),
            unset: changes.unset,
        };
        let call = |api: Api| {
            let request = request.clone();
            async move { api.topics().alter_topic(request).await }
        };
        let answer = self.metadata.command(call).await.result?;
        Ok(answer.config.into_iter().collect())
    }

    /// Deletes the topic that has this name now, with its records.
    ///
    /// The topic is looked up first and then deleted by its id, so that no retry can hit another
    /// topic of the same name. When an attempt's outcome was not known and the next one finds no
    /// topic, or another one, it was deleted.
    ///
    /// Dropped before it is ready, it may have been done or not.
    pub async fn delete_topic(&self, name: &str) -> Result<()> {
        let found = self.describe_topic(name).await?;
        let request = v1::DeleteTopicRequest {
            name: name.to_owned(),
            topic_id: found.topic.id,
        };
        let call = |api: Api| {
            let request = request.clone();
            async move { api.topics().delete_topic(request).await }
        };
        let commanded = self.metadata.command(call).await;
        self.metadata.forget(name);
        let gone = |error: &Error| {
            let reason = error.reason();
            reason == Some(Reason::TopicNotFound) || reason == Some(Reason::TopicIdMismatch)
        };
        match commanded.result {
            Err(error) if commanded.maybe_done_before && gone(&error) => Ok(()),
            result => result.map(|_| ()),
        }
    }

    /// The cluster, its controller and its size.
    ///
    /// Reads only; cancel-safe.
    pub async fn cluster(&self) -> Result<Cluster> {
        let call = |api: Api| async move {
            let request = v1::GetClusterRequest {};
            api.cluster().get_cluster(request).await
        };
        self.metadata.ask(call).await.map(Into::into)
    }

    /// All brokers, by id.
    ///
    /// Reads only; cancel-safe.
    pub async fn brokers(&self) -> Result<Vec<Broker>> {
        let call = |api: Api| async move {
            let request = v1::ListBrokersRequest {};
            api.cluster().list_brokers(request).await
        };
        let answer = self.metadata.ask(call).await?;
        Ok(answer.brokers.into_iter().map(Into::into).collect())
    }

    /// Has a broker hand over what it leads, and keeps it from leading until the drain is cancelled
    /// or the broker restarts. Returns at once with how far it is; [`Client::drain_progress`] tells
    /// the progress.
    ///
    /// An error whose outcome is unknown means that the broker may be drained, also later: one that
    /// stands still may get to it when it goes on.
    ///
    /// Dropped before it is ready, it may have been done or not.
    pub async fn drain_broker(&self, broker: BrokerId) -> Result<Drain> {
        self.set_drain(broker, false).await
    }

    /// Lets a drained broker lead again. What it led before does not come back by itself.
    ///
    /// Dropped before it is ready, it may have been done or not.
    pub async fn cancel_drain(&self, broker: BrokerId) -> Result<Drain> {
        self.set_drain(broker, true).await
    }

    async fn set_drain(&self, broker: BrokerId, cancel: bool) -> Result<Drain> {
        let call = |api: Api| async move {
            let request = v1::DrainBrokerRequest {
                broker: wire_count(broker.0),
                cancel,
            };
            api.cluster().drain_broker(request).await
        };
        // Asked of one broker at a time: a copy that comes late would undo what was said after it.
        self.metadata.command(call).await.result.map(Into::into)
    }

    /// How far a broker is with handing over what it leads.
    ///
    /// Reads only; cancel-safe.
    pub async fn drain_progress(&self, broker: BrokerId) -> Result<Drain> {
        let call = |api: Api| async move {
            let request = v1::GetDrainRequest {
                broker: wire_count(broker.0),
            };
            api.cluster().get_drain(request).await
        };
        self.metadata.ask(call).await.map(Into::into)
    }

    /// Where the partitions of these topics are; of all topics when none is named.
    ///
    /// Reads only; cancel-safe.
    pub async fn metadata(&self, topics: &[&str]) -> Result<ClusterMetadata> {
        let topics: Vec<String> = topics.iter().copied().map(str::to_owned).collect();
        let call = |api: Api| {
            let request = v1::GetMetadataRequest {
                topics: topics.clone(),
            };
            async move { api.cluster().get_metadata(request).await }
        };
        let answer = self.metadata.ask(call).await?;
        Ok(answer.metadata.unwrap_or_default().into())
    }

    /// The offset at a position of a partition, from its leader; linearizable.
    ///
    /// Reads only; cancel-safe.
    pub async fn list_offsets(
        &self,
        topic: &str,
        partition: PartitionIndex,
        position: Position,
    ) -> Result<Offsets> {
        let deadline = self.metadata.deadline();
        loop {
            let routes = self.routes(topic, partition, deadline).await?;
            let found = self
                .offsets_of((topic, &routes.id), partition, position, deadline)
                .await;
            let recreated = self.metadata.is_recreated(topic, &routes.id);
            match found {
                // The name stands for another topic than a moment ago: that one is meant.
                Err(error) if error.reason() == Some(Reason::TopicIdMismatch) && recreated => {}
                found => return found,
            }
        }
    }

    /// As [`Client::list_offsets`], of the topic with this id and no other of its name.
    pub(crate) async fn offsets_of(
        &self,
        (topic, topic_id): (&str, &str),
        partition: PartitionIndex,
        position: Position,
        deadline: Instant,
    ) -> Result<Offsets> {
        use v1::list_offsets_request::Position as Wire;
        let request = v1::ListOffsetsRequest {
            topic: topic.to_owned(),
            topic_id: topic_id.to_owned(),
            partition: wire_count(partition.0),
            position: Some(match position {
                Position::Earliest => Wire::Earliest(true),
                Position::Latest => Wire::Latest(true),
                Position::Timestamp(time) => Wire::Timestamp(time.0),
            }),
        };
        let call = |api: Api| {
            let request = request.clone();
            async move { api.log().list_offsets(request).await }
        };
        let asked = self
            .metadata
            .ask_leader((topic, topic_id), partition, deadline, call)
            .await;
        let answer = asked?;
        Ok(Offsets {
            offset: Offset::from_i64(answer.offset).unwrap_or_default(),
            log_start_offset: Offset::from_i64(answer.log_start_offset).unwrap_or_default(),
            high_watermark: Offset::from_i64(answer.high_watermark).unwrap_or_default(),
            leader_epoch: answer.leader_epoch,
        })
    }

    /// Deletes the records of a partition before a position, on every replica, or with `dry_run`
    /// only says what would be deleted. Doing so again changes nothing, so it is tried again even
    /// after an unknown outcome.
    ///
    /// A position above the high watermark is `OFFSET_OUT_OF_RANGE`; one at or below the log start
    /// deletes nothing.
    ///
    /// Dropped before it is ready, it may have been done or not.
    pub async fn trim(
        &self,
        topic: &str,
        partition: PartitionIndex,
        to: TrimTo,
        dry_run: bool,
    ) -> Result<Trimmed> {
        use v1::trim_partition_request::To as Wire;
        let deadline = self.metadata.deadline();
        let routes = self.routes(topic, partition, deadline).await?;
        let request = v1::TrimPartitionRequest {
            topic: topic.to_owned(),
            topic_id: routes.id.clone(),
            partition: wire_count(partition.0),
            to: Some(match to {
                TrimTo::Offset(offset) => Wire::Offset(offset.to_i64()),
                TrimTo::Timestamp(time) => Wire::Timestamp(time.0),
                TrimTo::End => Wire::End(true),
            }),
            dry_run,
        };
        let call = |api: Api| {
            let request = request.clone();
            async move { api.topics().trim_partition(request).await }
        };
        let asked = self
            .metadata
            .ask_leader((topic, &routes.id), partition, deadline, call)
            .await;
        let answer = asked?;
        let before = answer.previous_log_start_offset;
        Ok(Trimmed {
            log_start_offset: Offset::from_i64(answer.log_start_offset).unwrap_or_default(),
            previous_log_start_offset: Offset::from_i64(before).unwrap_or_default(),
            high_watermark: Offset::from_i64(answer.high_watermark).unwrap_or_default(),
        })
    }

    /// The topic's routes, if it has this partition.
    async fn routes(
        &self,
        topic: &str,
        partition: PartitionIndex,
        deadline: Instant,
    ) -> Result<TopicRoutes> {
        let routes = self.metadata.topic(topic, deadline).await?;
        let count = routes.partition_count();
        if partition.0 < count {
            return Ok(routes);
        }
        Err(no_partition(topic, partition, count))
    }

    /// Asks how many partitions the topic has that has this name now.
    ///
    /// Reads only; cancel-safe.
    pub async fn partition_count(&self, topic: &str) -> Result<u32> {
        let routes = self
            .metadata
            .current_topic(topic, self.metadata.deadline())
            .await?;
        Ok(routes.partition_count())
    }
}

/// The error of a partition that the topic does not have.
pub(crate) fn no_partition(topic: &str, partition: PartitionIndex, count: u32) -> Error {
    let message =
        format!("topic {topic:?} has no partition {partition}; it has {count}, numbered from 0");
    Error::new(Reason::PartitionNotFound, message)
}

fn wire_count(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
