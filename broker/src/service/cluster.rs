//! The cluster: who belongs to it, and where the partitions are.

use std::collections::BTreeSet;
use std::sync::Arc;

use highwater_proto::pb::v1;
use highwater_proto::{BrokerId, PartitionIndex};

use super::routing::CATCH_UP;
use super::{Context, Error, Resource, Services};
use crate::cluster::{Broker, ClusterState, Topic};
use crate::raft::GroupId;

/// The most topics that a request for metadata may name.
const MAX_WANTED: usize = 10_000;

/// The names of the topics that a client asks for; none means all.
#[derive(Debug)]
pub struct Wanted(BTreeSet<String>);

impl Wanted {
    /// Those that a request names.
    pub fn parse(topics: Vec<String>) -> Result<Self, Error> {
        match topics.len() {
            ..=MAX_WANTED => Ok(Self(topics.into_iter().collect())),
            count => Err(Error::invalid(format!(
                "the request names {count} topics, expected at most {MAX_WANTED}; none means all"
            ))),
        }
    }

    fn has(&self, topic: &Topic) -> bool {
        self.0.is_empty() || self.0.contains(topic.name.as_str())
    }

    /// True when `found` are all there are of those that were named.
    fn are_in(&self, found: &v1::Metadata) -> bool {
        found.topics.len() >= self.0.len()
    }
}

impl Services {
    /// The cluster in numbers.
    pub fn get_cluster(&self, context: &Context) -> Result<v1::GetClusterResponse, Error> {
        context.authorize("highwater.v1.ClusterService/GetCluster", Resource::Cluster)?;
        let state = self.known_state()?;
        let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
        Ok(v1::GetClusterResponse {
            cluster_id: self.me.cluster.to_string(),
            broker: id(self.me.broker),
            controller: self.controller(),
            broker_count: count(state.brokers().len()),
            topic_count: count(state.topic_count()),
            partition_count: count(state.partition_count()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            metadata_voters: {
                let members = self.metadata.replica().members();
                members.voter_brokers().map(id).collect()
            },
        })
    }

    /// All brokers, and whether they answer.
    pub fn list_brokers(&self, context: &Context) -> Result<v1::ListBrokersResponse, Error> {
        context.authorize("highwater.v1.ClusterService/ListBrokers", Resource::Cluster)?;
        let brokers = self.brokers(&*self.known_state()?);
        Ok(v1::ListBrokersResponse {
            cluster_id: self.me.cluster.to_string(),
            brokers,
        })
    }

    fn brokers(&self, state: &ClusterState) -> Vec<v1::Broker> {
        let to_pb = |broker: &Broker| v1::Broker {
            id: id(broker.id),
            listen: broker.endpoints.listen.clone(),
            peer: broker.endpoints.peer.clone(),
            http: broker.endpoints.http.clone(),
            rack: broker.rack.clone(),
            state: self.broker_state(broker.id).into(),
            clock_ahead_ms: self.liveness.clock_ahead_ms(broker.id),
        };
        state.brokers().map(to_pb).collect()
    }

    fn broker_state(&self, broker: BrokerId) -> v1::BrokerState {
        let here_and_leaving = broker == self.me.broker && self.liveness.is_leaving();
        match (self.liveness.answers(broker), self.liveness.is_up(broker)) {
            (false, _) => v1::BrokerState::Down,
            (true, up) if !up || here_and_leaving => v1::BrokerState::Draining,
            (true, _) => v1::BrokerState::Up,
        }
    }

    fn controller(&self) -> i32 {
        self.leaders
            .leader(GroupId::Metadata)
            .map_or(0, |leader| id(leader.broker))
    }

    /// As [`Self::get_metadata`], after the metadata here has caught up if it lacks a topic.
    pub async fn find_metadata(
        &self,
        context: &Context,
        wanted: &Wanted,
    ) -> Result<v1::Metadata, Error> {
        let found = self.get_metadata(context, wanted)?;
        if wanted.are_in(&found) {
            return Ok(found);
        }
        let current = self.metadata.catch_up(CATCH_UP).await;
        let found = self.get_metadata(context, wanted)?;
        match current || wanted.are_in(&found) {
            true => Ok(found),
            false => Err(Error::metadata_away()),
        }
    }

    /// The metadata, once it has this life of the broker. Before that, what is here was true when
    /// this broker last ran, or is nothing at all: no answer to a question.
    pub(super) fn known_state(&self) -> Result<Arc<ClusterState>, Error> {
        let state = self.metadata.state();
        let incarnation = state.broker(self.me.broker).map(|me| me.incarnation);
        match incarnation == Some(self.me.incarnation) {
            true => Ok(state),
            false => Err(Error::metadata_away()),
        }
    }

    /// What a client needs for routing: of the topics that are `wanted`, those that exist.
    pub fn get_metadata(&self, context: &Context, wanted: &Wanted) -> Result<v1::Metadata, Error> {
        context.authorize("highwater.v1.ClusterService/GetMetadata", Resource::Cluster)?;
        let version = *self.leaders.changes().borrow();
        self.known_state()?;
        let published = self.metadata.watch().borrow().clone();
        let state = published.state;
        let topics = state.topics().filter(|topic| wanted.has(topic));
        Ok(v1::Metadata {
            cluster_id: self.me.cluster.to_string(),
            version: version.saturating_add(published.applied.0),
            brokers: self.brokers(&state),
            topics: topics.map(|topic| self.topic_metadata(topic)).collect(),
            controller: self.controller(),
        })
    }

    fn topic_metadata(&self, topic: &Topic) -> v1::TopicMetadata {
        let partitions = topic
            .partitions
            .iter()
            .zip(0_u32..)
            .map(|(partition, index)| {
                let group = GroupId::Partition(topic.id, PartitionIndex(index));
                let leader = self.leaders.leader(group);
                v1::PartitionMetadata {
                    partition: i32::try_from(index).unwrap_or(i32::MAX),
                    leader: leader.map_or(0, |leader| id(leader.broker)),
                    leader_epoch: leader.map_or(-1, |leader| leader.term.to_epoch()),
                    replicas: partition
                        .replicas
                        .iter()
                        .map(|replica| id(replica.broker))
                        .collect(),
                }
            });
        v1::TopicMetadata {
            name: topic.name.to_string(),
            id: topic.id.to_string(),
            partitions: partitions.collect(),
            max_batch_bytes: i32::try_from(topic.config.max_batch_bytes).unwrap_or(i32::MAX),
        }
    }
}

fn id(broker: BrokerId) -> i32 {
    i32::try_from(broker.0).unwrap_or(i32::MAX)
}
