//! The state as a message and back: what the group saves and what a follower far behind receives.

use std::collections::BTreeSet;
use std::sync::Arc;

use highwater_proto::pb::peer::{
    BrokerState, MetadataState, PartitionState, RemovedReplica, ReplicaState, TopicState,
};
use highwater_proto::{BrokerId, PartitionIndex, ProducerId, ReplicaId, TopicName};

use super::apply::settings;
use super::error::RestoreError;
use super::named::NamedProducers;
use super::{Broker, ClusterState, Founded, Partition, Removed, Replica, Topic};
use crate::cluster::command::{read_endpoints, read_incarnation, read_rack, read_topic_id};

impl ClusterState {
    /// The state as a message: the same state, the same bytes.
    pub fn snapshot(&self) -> MetadataState {
        MetadataState {
            cluster_id: self
                .cluster_id()
                .map_or_else(String::new, |id| id.to_string()),
            group_shards: self.group_shards(),
            level: self.level(),
            next_broker_id: self.next_broker.0,
            next_replica_id: self.next_replica.0,
            next_producer_id: self.next_producer.0,
            brokers: self.brokers.values().map(broker_message).collect(),
            topics: self
                .topics
                .values()
                .map(|topic| topic_message(topic))
                .collect(),
            removed: self.removed.values().map(removed_message).collect(),
            named_producers: self.named.snapshot(),
            named_producer_ids: self.named.given_out(),
        }
    }

    /// The state that `message` holds. Everything that [`apply`](Self::apply) keeps true is checked.
    pub fn restore(message: &MetadataState) -> Result<Self, RestoreError> {
        let mut state = Self {
            founded: founded(message)?,
            next_broker: BrokerId(message.next_broker_id),
            next_replica: ReplicaId(message.next_replica_id),
            next_producer: ProducerId(message.next_producer_id),
            named: NamedProducers::restore(&message.named_producers, message.named_producer_ids)?,
            ..Self::new()
        };
        for broker in &message.brokers {
            let broker = read_broker(broker)?;
            state.brokers.insert(broker.id, broker);
        }
        for topic in &message.topics {
            let topic = read_topic(topic)?;
            state.names.insert(topic.name.clone(), topic.id);
            state.topics.insert(topic.id, Arc::new(topic));
        }
        for removed in &message.removed {
            let removed = read_removed(removed)?;
            state.removed.insert(removed.replica.id, removed);
        }
        state.check(message)?;
        Ok(state)
    }

    /// What holds between the parts: nothing twice, no id beyond the next one.
    fn check(&self, message: &MetadataState) -> Result<(), RestoreError> {
        ensure(
            self.brokers.len() == message.brokers.len(),
            "a broker is there twice",
        )?;
        ensure(
            self.topics.len() == message.topics.len(),
            "a topic id is there twice",
        )?;
        ensure(
            self.names.len() == message.topics.len(),
            "a topic name is there twice",
        )?;
        ensure(self.next_producer.0 > 0, "the next producer id is missing")?;
        let metadata = self.brokers.values().map(|broker| Replica {
            id: broker.metadata_replica,
            broker: broker.id,
        });
        let partitions = self.topics.values().flat_map(|topic| &topic.partitions);
        let placed = partitions.flat_map(|partition| partition.replicas.iter().copied());
        let removed = message.removed.iter().map(|removed| Replica {
            id: ReplicaId(removed.replica_id),
            broker: BrokerId(removed.broker_id),
        });
        let mut seen = BTreeSet::new();
        for replica in metadata.chain(placed).chain(removed) {
            ensure(seen.insert(replica.id), "a replica is there twice")?;
            let given_out = replica.id.0 > 0 && replica.id < self.next_replica;
            ensure(given_out, "a replica has an id that was never given out")?;
            let member = self.brokers.contains_key(&replica.broker);
            ensure(member, "a replica is on a broker that is no member")?;
        }
        let known = |broker: &Broker| broker.id.0 > 0 && broker.id < self.next_broker;
        ensure(
            self.brokers.values().all(known),
            "a broker has an id that was never given out",
        )
    }
}

fn ensure(holds: bool, otherwise: &str) -> Result<(), RestoreError> {
    holds
        .then_some(())
        .ok_or_else(|| RestoreError(otherwise.to_owned()))
}

fn founded(message: &MetadataState) -> Result<Option<Founded>, RestoreError> {
    if message.cluster_id.is_empty() {
        return Ok(None);
    }
    let cluster = message.cluster_id.parse();
    Ok(Some(Founded {
        cluster: cluster.map_err(|_| RestoreError("the cluster id is no UUID".to_owned()))?,
        group_shards: message.group_shards,
        level: message.level,
    }))
}

fn broker_message(broker: &Broker) -> BrokerState {
    BrokerState {
        broker_id: broker.id.0,
        incarnation: broker.incarnation.to_bytes().to_vec().into(),
        endpoints: Some(broker.endpoints.to_pb()),
        rack: broker.rack.clone(),
        level_min: *broker.levels.start(),
        level_max: *broker.levels.end(),
        metadata_replica: broker.metadata_replica.0,
    }
}

fn read_broker(message: &BrokerState) -> Result<Broker, RestoreError> {
    Ok(Broker {
        id: BrokerId(message.broker_id),
        incarnation: read_incarnation(&message.incarnation)?,
        endpoints: read_endpoints(message.endpoints.as_ref())?,
        rack: read_rack(&message.rack)?,
        levels: message.level_min..=message.level_max,
        metadata_replica: ReplicaId(message.metadata_replica),
    })
}

fn topic_message(topic: &Topic) -> TopicState {
    let replica = |replica: &Replica| ReplicaState {
        replica_id: replica.id.0,
        broker_id: replica.broker.0,
    };
    let partition = |partition: &Partition| PartitionState {
        replicas: partition.replicas.iter().map(replica).collect(),
    };
    TopicState {
        topic_id: topic.id.to_bytes().to_vec().into(),
        name: topic.name.to_string(),
        config: topic.overrides.clone(),
        partitions: topic.partitions.iter().map(partition).collect(),
    }
}

fn read_topic(message: &TopicState) -> Result<Topic, RestoreError> {
    let (config, overrides) = settings(&message.config)?;
    ensure(!message.partitions.is_empty(), "a topic has no partitions")?;
    let partitions = message.partitions.iter().map(|partition| {
        ensure(
            !partition.replicas.is_empty(),
            "a partition has no replicas",
        )?;
        Ok(Partition {
            replicas: partition.replicas.iter().map(read_replica).collect(),
        })
    });
    Ok(Topic {
        id: read_topic_id(&message.topic_id)?,
        name: TopicName::parse(&message.name).map_err(|error| RestoreError(error.to_string()))?,
        config,
        overrides,
        partitions: partitions.collect::<Result<_, RestoreError>>()?,
    })
}

fn read_replica(message: &ReplicaState) -> Replica {
    Replica {
        id: ReplicaId(message.replica_id),
        broker: BrokerId(message.broker_id),
    }
}

fn removed_message(removed: &Removed) -> RemovedReplica {
    RemovedReplica {
        replica_id: removed.replica.id.0,
        broker_id: removed.replica.broker.0,
        topic_id: removed.topic.to_bytes().to_vec().into(),
        partition: removed.partition.0,
    }
}

fn read_removed(message: &RemovedReplica) -> Result<Removed, RestoreError> {
    Ok(Removed {
        replica: Replica {
            id: ReplicaId(message.replica_id),
            broker: BrokerId(message.broker_id),
        },
        topic: read_topic_id(&message.topic_id)?,
        partition: PartitionIndex(message.partition),
    })
}
