//! Commands as messages.

use highwater_proto::pb::peer::{self as pb, MetadataCommand, metadata_command::Command as Pb};

use super::{Command, Endpoints, Registration};

pub(super) fn command(command: &Command) -> MetadataCommand {
    let command = match command {
        Command::FoundCluster {
            cluster,
            group_shards,
        } => Pb::FoundCluster(pb::FoundCluster {
            cluster_id: cluster.to_string(),
            group_shards: *group_shards,
        }),
        Command::RegisterBroker(registration) => Pb::RegisterBroker(register(registration)),
        Command::CreateTopic {
            name,
            topic,
            config,
            placements,
        } => Pb::CreateTopic(pb::CreateTopic {
            name: name.to_string(),
            topic_id: topic.to_bytes().to_vec().into(),
            config: config.clone(),
            placements: placements
                .iter()
                .map(|brokers| pb::Placement {
                    brokers: brokers.iter().map(|broker| broker.0).collect(),
                })
                .collect(),
        }),
        Command::AlterTopic { topic, set, unset } => Pb::AlterTopic(pb::AlterTopic {
            topic_id: topic.to_bytes().to_vec().into(),
            set: set.clone(),
            unset: unset.iter().cloned().collect(),
        }),
        Command::DeleteTopic { topic } => Pb::DeleteTopic(pb::DeleteTopic {
            topic_id: topic.to_bytes().to_vec().into(),
        }),
        Command::AllocateProducerIds { count } => {
            Pb::AllocateProducerIds(pb::AllocateProducerIds { count: *count })
        }
        Command::ConfirmRemoved { replicas } => Pb::ConfirmRemoved(pb::ConfirmRemoved {
            replicas: replicas.iter().map(|replica| replica.0).collect(),
        }),
        Command::InitNamedProducer {
            name,
            held,
            attempt,
        } => Pb::InitNamedProducer(pb::InitNamedProducer {
            name: name.to_string(),
            held_id: held.map_or(0, |held| held.id.0),
            held_epoch: held.map_or(0, |held| held.epoch.0.into()),
            attempt: *attempt,
        }),
        Command::RegisterProducer {
            producer,
            topic,
            partition,
        } => Pb::RegisterProducer(pb::RegisterProducer {
            producer_id: producer.id.0,
            epoch: producer.epoch.0.into(),
            topic_id: topic.to_bytes().to_vec().into(),
            partition: partition.0,
        }),
    };
    MetadataCommand {
        command: Some(command),
    }
}

fn register(registration: &Registration) -> pb::RegisterBroker {
    pb::RegisterBroker {
        broker_id: registration.broker.map_or(0, |broker| broker.0),
        incarnation: registration.incarnation.to_bytes().to_vec().into(),
        endpoints: Some(registration.endpoints.to_pb()),
        rack: registration.rack.clone(),
        level_min: *registration.levels.start(),
        level_max: *registration.levels.end(),
    }
}

impl Endpoints {
    /// The addresses as a message.
    pub fn to_pb(&self) -> pb::Endpoints {
        pb::Endpoints {
            listen: self.listen.clone(),
            peer: self.peer.clone(),
            http: self.http.clone(),
        }
    }
}
