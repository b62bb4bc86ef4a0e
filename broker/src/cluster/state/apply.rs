//! The transitions: one function per command. Each judges first and changes only what it accepts,
//! so a refused command changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use highwater_proto::pb::peer::MetadataCommand;
use highwater_proto::{
    BrokerId, ClusterId, PartitionIndex, ProducerId, Reason, ReplicaId, Timestamp, TopicId,
    TopicName,
};

use super::{
    Broker, ClusterState, FIRST_LEVEL, Founded, Partition, Removed, Replica, Topic, TopicConfig,
    partition_index,
};
use crate::cluster::command::{Command, CommandError, ProducerIncarnation, Registration};
use crate::cluster::config::known;
use crate::cluster::refusal::Refusal;
use crate::cluster::reply::Reply;

/// The command is one that this version does not know. The group must stop: to skip the command
/// would make this replica differ from those that know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the metadata log has a command that this version does not know; update this broker")]
pub struct UnknownCommand;

impl ClusterState {
    /// Applies one command of the log, which was appended at `now`. Every replica gives the same
    /// reply and reaches the same state; a refused command changes nothing.
    pub fn apply(
        &mut self,
        command: &MetadataCommand,
        now: Timestamp,
    ) -> Result<Reply, UnknownCommand> {
        match Command::from_pb(command) {
            Ok(command) => Ok(self.execute(command, now).unwrap_or_else(Reply::Refused)),
            Err(CommandError::Refused(refusal)) => Ok(Reply::Refused(refusal)),
            Err(_) => Err(UnknownCommand),
        }
    }

    fn execute(&mut self, command: Command, now: Timestamp) -> Result<Reply, Refusal> {
        if let Command::FoundCluster {
            cluster,
            group_shards,
        } = command
        {
            return self.found(cluster, group_shards);
        }
        let founded = self.founded.ok_or_else(|| {
            Refusal::new(
                Reason::NotReady,
                "the cluster is not founded yet; try again",
            )
        })?;
        match command {
            // Answered above.
            Command::FoundCluster { .. } => Ok(Reply::Done),
            Command::RegisterBroker(registration) => self.register(registration, founded.level),
            Command::CreateTopic {
                name,
                topic,
                config,
                placements,
            } => self.create(name, topic, &config, &placements),
            Command::AlterTopic { topic, set, unset } => self.alter(topic, set, &unset),
            Command::DeleteTopic { topic } => self.delete(topic),
            Command::AllocateProducerIds { count } => self.allocate_producers(count),
            Command::ConfirmRemoved { replicas } => {
                for replica in replicas {
                    self.removed.remove(&replica);
                }
                Ok(Reply::Done)
            }
            Command::InitNamedProducer {
                name,
                held,
                attempt,
            } => {
                let producer = self.named.init(name, held, attempt, now)?;
                Ok(Reply::NamedProducer(producer))
            }
            Command::RegisterProducer {
                producer,
                topic,
                partition,
            } => self.register_producer(producer, topic, partition, now),
        }
    }

    fn found(&mut self, cluster: ClusterId, group_shards: u32) -> Result<Reply, Refusal> {
        match self.founded {
            Some(existing) if existing.cluster != cluster => Err(Refusal::new(
                Reason::WrongCluster,
                format!("this is cluster {}, not {cluster}", existing.cluster),
            )),
            Some(_) => Ok(Reply::Done),
            None => {
                self.founded = Some(Founded {
                    cluster,
                    group_shards,
                    level: FIRST_LEVEL,
                });
                Ok(Reply::Done)
            }
        }
    }

    fn register(&mut self, new: Registration, level: u32) -> Result<Reply, Refusal> {
        if !new.levels.contains(&level) {
            return Err(Refusal::new(
                Reason::UnsupportedVersion,
                format!(
                    "the cluster is at level {level}, the broker supports {} to {}",
                    new.levels.start(),
                    new.levels.end()
                ),
            ));
        }
        let (id, metadata_replica) = self.place_of(&new)?;
        let broker = Broker {
            id,
            incarnation: new.incarnation,
            endpoints: new.endpoints,
            rack: new.rack,
            levels: new.levels,
            metadata_replica,
        };
        self.brokers.insert(id, broker);
        Ok(Reply::Registered {
            broker: id,
            metadata_replica,
        })
    }

    /// The ids of a broker: those it has, those its repeated join got, or new ones.
    fn place_of(&mut self, new: &Registration) -> Result<(BrokerId, ReplicaId), Refusal> {
        let existing = match new.broker {
            Some(id) => Some(self.brokers.get(&id).ok_or_else(|| {
                Refusal::new(
                    Reason::InvalidRequest,
                    format!("broker {id} is not a member of this cluster"),
                )
            })?),
            None => self
                .brokers
                .values()
                .find(|broker| broker.incarnation == new.incarnation),
        };
        if let Some(broker) = existing {
            return Ok((broker.id, broker.metadata_replica));
        }
        let id = self.next_broker;
        self.next_broker = BrokerId(id.0.checked_add(1).ok_or_else(exhausted)?);
        Ok((id, self.fresh_replica()))
    }

    fn create(
        &mut self,
        name: TopicName,
        id: TopicId,
        config: &BTreeMap<String, String>,
        placements: &[Vec<BrokerId>],
    ) -> Result<Reply, Refusal> {
        match self.names.get(&name) {
            // The same proposal again, after its first answer was lost.
            Some(existing) if *existing == id => return Ok(Reply::Done),
            Some(existing) => {
                let message = format!("topic {name} exists already, with id {existing}");
                return Err(Refusal::new(Reason::TopicExists, message));
            }
            None => {}
        }
        if let Some(other) = self.topics.get(&id) {
            let message = format!("the id {id} belongs to topic {}", other.name);
            return Err(Refusal::new(Reason::InvalidRequest, message));
        }
        let stranger = |broker: &&BrokerId| !self.brokers.contains_key(broker);
        if let Some(broker) = placements.iter().flatten().find(stranger) {
            return Err(Refusal::new(
                Reason::InvalidReplication,
                format!("topic {name} cannot be placed on broker {broker}: there is none"),
            ));
        }
        let (config, overrides) = settings(config)?;
        config.check(|name| overrides.contains_key(name))?;
        let partitions = placements.iter().map(|brokers| self.place(brokers));
        let topic = Topic {
            id,
            name: name.clone(),
            config,
            overrides,
            partitions: partitions.collect(),
        };
        self.topics.insert(id, Arc::new(topic));
        self.names.insert(name, id);
        Ok(Reply::Done)
    }

    fn place(&mut self, brokers: &[BrokerId]) -> Partition {
        let replica = |broker: &BrokerId| Replica {
            id: self.fresh_replica(),
            broker: *broker,
        };
        Partition {
            replicas: brokers.iter().map(replica).collect(),
        }
    }

    /// Never given out before. 2^64 of them cannot be used up: each costs bytes in the log.
    fn fresh_replica(&mut self) -> ReplicaId {
        let id = self.next_replica;
        self.next_replica = ReplicaId(id.0.saturating_add(1));
        id
    }

    fn alter(
        &mut self,
        id: TopicId,
        set: BTreeMap<String, String>,
        unset: &BTreeSet<String>,
    ) -> Result<Reply, Refusal> {
        let topic = self.topics.get_mut(&id).ok_or_else(|| unknown_topic(id))?;
        for name in unset {
            known(name)?;
        }
        let mut wanted = topic.overrides.clone();
        wanted.retain(|name, _| !unset.contains(name));
        wanted.extend(set);
        let (config, overrides) = settings(&wanted)?;
        config.check(|name| overrides.contains_key(name))?;
        let topic = Arc::make_mut(topic);
        topic.config = config;
        topic.overrides = overrides;
        Ok(Reply::Done)
    }

    fn delete(&mut self, id: TopicId) -> Result<Reply, Refusal> {
        let topic = self.topics.remove(&id).ok_or_else(|| unknown_topic(id))?;
        self.names.remove(&topic.name);
        self.named.forget_topic(id);
        for (number, partition) in topic.partitions.iter().enumerate() {
            for replica in &partition.replicas {
                let removed = Removed {
                    replica: *replica,
                    topic: id,
                    partition: partition_index(number),
                };
                self.removed.insert(replica.id, removed);
            }
        }
        Ok(Reply::Done)
    }

    fn register_producer(
        &mut self,
        producer: ProducerIncarnation,
        topic: TopicId,
        partition: PartitionIndex,
        now: Timestamp,
    ) -> Result<Reply, Refusal> {
        if self.partition(topic, partition).is_none() {
            return Err(unknown_topic(topic));
        }
        self.named.register(producer, (topic, partition), now)?;
        Ok(Reply::Done)
    }

    fn allocate_producers(&mut self, count: u64) -> Result<Reply, Refusal> {
        let first = self.next_producer;
        let next = first
            .0
            .checked_add(count)
            .filter(|next| !ProducerId(*next).is_named());
        self.next_producer = ProducerId(next.ok_or_else(exhausted)?);
        Ok(Reply::FirstProducerId(first))
    }
}

/// The settings in force and the ones that were given, both in plain form.
pub(super) fn settings(
    given: &BTreeMap<String, String>,
) -> Result<(TopicConfig, BTreeMap<String, String>), Refusal> {
    let config = TopicConfig::resolve(given)?;
    let mut overrides = BTreeMap::new();
    for name in given.keys() {
        overrides.insert(name.clone(), config.value(known(name)?));
    }
    Ok((config, overrides))
}

fn unknown_topic(id: TopicId) -> Refusal {
    Refusal::new(Reason::TopicNotFound, format!("no topic has the id {id}"))
}

pub(super) fn exhausted() -> Refusal {
    Refusal::new(Reason::Internal, "the cluster has no more ids to give out")
}
