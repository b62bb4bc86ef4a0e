//! Topics: create, list, describe, alter, delete.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use highwater_proto::pb::peer::{
    DescribePartitionsRequest, DescribePartitionsResponse, Group, GroupFault, PartitionStatus,
};
use highwater_proto::pb::v1;
use highwater_proto::{BrokerId, PartitionIndex, Reason, TopicId, TopicName};

use super::faults::BEHIND;
use super::routing::CATCH_UP;
use super::{Context, Error, Resource, Services};
use crate::cluster::{Candidate, Command, Refusal, Topic, TopicConfig, place};
use crate::peer;
use crate::raft::GroupId;

/// Replicas of a topic that does not say how many, as far as there are brokers.
const DEFAULT_REPLICATION: usize = 3;
/// How long another broker may take to describe its partitions.
const DESCRIBE_LIMIT: Duration = Duration::from_secs(2);
/// The part of a deadline that may go into waiting for leaders.
const LEADERS_WAIT: Duration = Duration::from_secs(10);

/// What brokers say of partitions.
#[derive(Debug, Default)]
struct Statuses {
    led: BTreeMap<GroupId, PartitionStatus>,
    faults: Vec<(GroupId, v1::ReplicaFault)>,
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.reason, refusal.message)
    }
}

impl Services {
    /// Creates a topic and waits until its partitions have leaders or the deadline nears.
    pub async fn create_topic(
        &self,
        context: &Context,
        request: v1::CreateTopicRequest,
    ) -> Result<v1::CreateTopicResponse, Error> {
        let resource = Resource::Topic(&request.name);
        context.authorize("highwater.v1.TopicService/CreateTopic", resource)?;
        let id = TopicId::from_bytes((self.random)());
        let command = self.plan_topic(id, request)?;
        self.metadata.propose(&command, context.deadline).await?;
        let state = self.metadata.state();
        let Some(topic) = state.topic(id) else {
            let message = "the topic was created and is not yet known to this broker";
            return Err(Error::new(Reason::TimedOut, message));
        };
        self.wait_for_leaders(topic, context.deadline.min(LEADERS_WAIT))
            .await;
        let cluster_id = self.me.cluster.to_string();
        Ok(v1::CreateTopicResponse {
            cluster_id,
            topic: Some(topic_to_pb(topic)),
        })
    }

    fn plan_topic(
        &self,
        topic: TopicId,
        request: v1::CreateTopicRequest,
    ) -> Result<Command, Error> {
        let name = TopicName::parse(&request.name)
            .map_err(|error| Error::new(Reason::InvalidTopicName, error.to_string()))?;
        TopicConfig::resolve(&request.config)
            .map_err(|error| Error::new(Reason::InvalidConfig, error.to_string()))?;
        let state = self.metadata.state();
        let candidates = state.candidates();
        if candidates.is_empty() {
            let message = "this broker has yet to learn of the cluster's brokers";
            return Err(Error::new(Reason::NotReady, message));
        }
        let most = crate::cluster::MAX_PARTITIONS;
        let count = request.partition_count.unwrap_or(1);
        let Ok(partitions @ 1..=crate::cluster::MAX_PARTITIONS) = usize::try_from(count) else {
            let message = format!("partition_count is {count}, expected 1 to {most}");
            return Err(Error::invalid(message));
        };
        let replication = match request.replication_factor {
            None => DEFAULT_REPLICATION.min(candidates.len()),
            Some(factor) => replication(factor, candidates.len())?,
        };
        let seed = u64::from_le_bytes(topic.to_bytes()[..8].try_into().unwrap_or_default());
        let placements = self.place(&candidates, partitions, replication, seed)?;
        self.refuse_without_room(&placements)?;
        let config = request.config.into_iter().collect();
        Ok(Command::CreateTopic {
            name,
            topic,
            config,
            placements,
        })
    }

    /// Refuses what the disk here has no room for. The other brokers' disks are theirs to judge: a
    /// replica that has no room opens once there is some.
    fn refuse_without_room(&self, placements: &[Vec<BrokerId>]) -> Result<(), Error> {
        let here = placements.iter().flatten();
        let here = here.filter(|broker| **broker == self.me.broker).count() as u64;
        if here == 0 {
            return Ok(());
        }
        let room = self.metadata.replica().room().first_files(here);
        room.map_err(|no_room| Error::new(Reason::DiskFull, no_room.to_string()))
    }

    /// Places replicas on brokers that answer, as far as there are enough; where there are not, one
    /// that answers comes first, because the first one is the first to stand for election.
    fn place(
        &self,
        candidates: &[Candidate],
        partitions: usize,
        replication: usize,
        seed: u64,
    ) -> Result<Vec<Vec<BrokerId>>, Error> {
        let is_up = |candidate: &&Candidate| self.liveness.is_up(candidate.broker);
        let up: Vec<_> = candidates.iter().filter(is_up).cloned().collect();
        let enough = up.len() >= replication;
        let from = if enough { up.as_slice() } else { candidates };
        let mut placements = place(from, partitions, replication, seed).map_err(Refusal::from)?;
        for brokers in &mut placements {
            brokers.sort_by_key(|broker| !self.liveness.is_up(*broker));
        }
        Ok(placements)
    }

    async fn wait_for_leaders(&self, topic: &Topic, limit: Duration) {
        let led = || {
            (0..topic.partitions.len()).all(|index| {
                let index = PartitionIndex(u32::try_from(index).unwrap_or(u32::MAX));
                self.leaders
                    .leader(GroupId::Partition(topic.id, index))
                    .is_some()
            })
        };
        let mut changes = self.leaders.changes();
        let all_led = async { while !led() && changes.changed().await.is_ok() {} };
        if tokio::time::timeout(limit, all_led).await.is_err() {
            tracing::info!(topic = %topic.name, "created; not every partition has a leader yet");
        }
    }

    /// All topics, by name: as the cluster has them, or where it cannot be asked, as they are known here.
    /// What is left of a cluster that lost its majority can be looked at.
    pub async fn list_topics(&self, context: &Context) -> Result<v1::ListTopicsResponse, Error> {
        context.authorize("highwater.v1.TopicService/ListTopics", Resource::Cluster)?;
        self.metadata.catch_up(CATCH_UP).await;
        let state = self.known_state()?;
        let topics = state.topics().map(|topic| topic_to_pb(topic)).collect();
        Ok(v1::ListTopicsResponse {
            cluster_id: self.me.cluster.to_string(),
            topics,
        })
    }

    /// One topic, with the state of each partition as its leader tells it. As it is known here; that
    /// there is none is said by a broker that has asked the cluster.
    pub async fn describe_topic(
        &self,
        context: &Context,
        request: v1::DescribeTopicRequest,
    ) -> Result<v1::DescribeTopicResponse, Error> {
        let resource = Resource::Topic(&request.name);
        context.authorize("highwater.v1.TopicService/DescribeTopic", resource)?;
        self.known_state()?;
        let topic = self.find_topic(&request.name, "").await?;
        let statuses = self.statuses(&topic).await;
        let describe = |index| self.describe_partition(&topic, index, &statuses);
        let count = u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX);
        Ok(v1::DescribeTopicResponse {
            cluster_id: self.me.cluster.to_string(),
            topic: Some(topic_to_pb(&topic)),
            config: topic.config.describe().into_iter().collect(),
            partitions: (0..count).map(PartitionIndex).map(describe).collect(),
        })
    }

    fn describe_partition(
        &self,
        topic: &Topic,
        index: PartitionIndex,
        statuses: &Statuses,
    ) -> v1::PartitionDescription {
        let group = GroupId::Partition(topic.id, index);
        let brokers = topic.partition(index).into_iter().flat_map(|p| &p.replicas);
        let status = statuses.led.get(&group);
        let in_sync = status.map_or(&[][..], |status| &status.in_sync);
        let is_behind = |broker: i32| !in_sync.iter().any(|id| number(*id) == broker);
        let faults = statuses.faults.iter().filter(|(of, fault)| {
            *of == group && (fault.kind != BEHIND || is_behind(fault.broker))
        });
        let leader = self.leaders.leader(group).filter(|_| status.is_some());
        v1::PartitionDescription {
            partition: number(index.0),
            leader: leader.map(|leader| number(leader.broker.0)),
            leader_epoch: status.map_or(-1, |s| i32::try_from(s.term).unwrap_or(i32::MAX)),
            replicas: brokers.map(|replica| number(replica.broker.0)).collect(),
            in_sync: in_sync.iter().map(|broker| number(*broker)).collect(),
            log_start_offset: status.map_or(0, |s| offset(s.log_start_offset)),
            high_watermark: status.map_or(0, |s| offset(s.high_watermark)),
            disk_bytes: status.map_or(0, |s| offset(s.disk_bytes)),
            faults: faults.map(|(_, fault)| fault.clone()).collect(),
        }
    }

    /// What the brokers of the topic's replicas say; one that cannot be asked is left out.
    async fn statuses(&self, topic: &Arc<Topic>) -> Statuses {
        let mut by_broker: BTreeMap<BrokerId, BTreeSet<GroupId>> = BTreeMap::new();
        for (index, partition) in (0_u32..).zip(&topic.partitions) {
            let group = GroupId::Partition(topic.id, PartitionIndex(index));
            let replicas = partition.replicas.iter().map(|replica| replica.broker);
            let up = replicas.filter(|broker| self.liveness.is_up(*broker));
            let leader = self.leaders.leader(group).map(|leader| leader.broker);
            for broker in up.chain(leader) {
                by_broker.entry(broker).or_default().insert(group);
            }
        }
        let asked = by_broker
            .into_iter()
            .map(|(broker, groups)| self.ask(broker, groups.into_iter().collect()));
        let mut statuses = Statuses::default();
        for (broker, answer) in futures_util::future::join_all(asked).await {
            let group = |group: &Option<Group>| group.as_ref().and_then(GroupId::from_pb);
            let led = answer.partitions.into_iter();
            let led = led.filter_map(|status| Some((group(&status.group)?, status)));
            statuses.led.extend(led);
            let faults = answer.faults.into_iter().filter_map(|fault| {
                let to_pb = v1::ReplicaFault {
                    broker: number(broker.0),
                    kind: fault.kind,
                    message: fault.message,
                };
                Some((group(&fault.group)?, to_pb))
            });
            statuses.faults.extend(faults);
        }
        statuses
    }

    async fn ask(
        &self,
        broker: BrokerId,
        groups: Vec<GroupId>,
    ) -> (BrokerId, DescribePartitionsResponse) {
        if broker == self.me.broker {
            return (broker, self.describe_partitions(&groups).await);
        }
        let Some(link) = self.peers.link(broker) else {
            return (broker, DescribePartitionsResponse::default());
        };
        let hello = Some(self.me.hello());
        let groups = groups.into_iter().map(GroupId::to_pb).collect();
        let request = DescribePartitionsRequest { hello, groups };
        let mut calls = link.calls();
        let answer = peer::call(DESCRIBE_LIMIT, calls.describe_partitions(request)).await;
        let answer = answer.unwrap_or_else(|error| {
            tracing::debug!(%broker, %error, "a broker does not describe its partitions");
            DescribePartitionsResponse::default()
        });
        (broker, answer)
    }

    /// The state of those of `groups` that this broker leads, what keeps its replicas out of others,
    /// and which of them cannot follow because its disk is full.
    pub async fn describe_partitions(&self, groups: &[GroupId]) -> DescribePartitionsResponse {
        // A replica that has all there is and whose broker is gone takes nothing that comes.
        let answers = |broker: &u32| self.liveness.answers(BrokerId(*broker));
        let status = async |group: &GroupId| match *group {
            GroupId::Partition(topic, index) => {
                let mut status = self.partitions.get(topic, index)?.status().await?;
                status.in_sync.retain(answers);
                Some(status)
            }
            GroupId::Metadata => None,
        };
        let fault = |group: &GroupId| {
            let out = self.faults.get(*group);
            let out = out.map(|fault| (fault.kind.name(), fault.why));
            let (kind, message) = out.or_else(|| Some((BEHIND, self.full_disk(*group)?)))?;
            Some(GroupFault {
                group: Some(group.to_pb()),
                kind: kind.to_owned(),
                message,
            })
        };
        let statuses = futures_util::future::join_all(groups.iter().map(status));
        DescribePartitionsResponse {
            partitions: statuses.await.into_iter().flatten().collect(),
            faults: groups.iter().filter_map(fault).collect(),
        }
    }

    /// Why the replica of a partition here takes nothing, if that is for want of room.
    fn full_disk(&self, group: GroupId) -> Option<String> {
        let GroupId::Partition(topic, index) = group else {
            return None;
        };
        let partition = self.partitions.get(topic, index)?;
        let space = partition.replica().room().space();
        space.is_short().then(|| {
            let (place, free) = (space.place(), space.free());
            format!(
                "its disk is full: {free} bytes are free at {place}; free space there, and it catches \
                 up by itself"
            )
        })
    }

    /// Changes settings of a topic.
    pub async fn alter_topic(
        &self,
        context: &Context,
        request: v1::AlterTopicRequest,
    ) -> Result<v1::AlterTopicResponse, Error> {
        let resource = Resource::Topic(&request.name);
        context.authorize("highwater.v1.TopicService/AlterTopic", resource)?;
        let topic = self.find_topic(&request.name, "").await?.id;
        let set = request.set.into_iter().collect();
        let unset: BTreeSet<String> = request.unset.into_iter().collect();
        let command = Command::AlterTopic { topic, set, unset };
        self.metadata.propose(&command, context.deadline).await?;
        let topic = self.topic(&request.name, "")?;
        let config = topic.config.describe().into_iter().collect();
        Ok(v1::AlterTopicResponse {
            cluster_id: self.me.cluster.to_string(),
            config,
        })
    }

    /// Deletes a topic.
    pub async fn delete_topic(
        &self,
        context: &Context,
        request: v1::DeleteTopicRequest,
    ) -> Result<v1::DeleteTopicResponse, Error> {
        let resource = Resource::Topic(&request.name);
        context.authorize("highwater.v1.TopicService/DeleteTopic", resource)?;
        let topic = self.find_topic(&request.name, &request.topic_id).await?.id;
        self.metadata
            .propose(&Command::DeleteTopic { topic }, context.deadline)
            .await?;
        let cluster_id = self.me.cluster.to_string();
        Ok(v1::DeleteTopicResponse {
            cluster_id,
            topic_id: topic.to_string(),
        })
    }
}

/// As many replicas as were asked for, if there are as many brokers.
fn replication(factor: i32, brokers: usize) -> Result<usize, Error> {
    let fits = |factor: &usize| (1..=brokers).contains(factor);
    usize::try_from(factor).ok().filter(fits).ok_or_else(|| {
        let message = format!(
            "replication_factor is {factor}, expected 1 to {brokers}, the number of brokers"
        );
        Error::new(Reason::InvalidReplication, message)
    })
}

fn topic_to_pb(topic: &Topic) -> v1::Topic {
    let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    v1::Topic {
        name: topic.name.to_string(),
        id: topic.id.to_string(),
        partition_count: count(topic.partitions.len()),
        replication_factor: count(topic.replication_factor()),
    }
}

fn number(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

fn offset(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
