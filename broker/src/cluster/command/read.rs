//! Messages as commands: everything that can be judged without knowing the cluster.

use std::collections::BTreeSet;

use highwater_proto::pb::peer::{self as pb, MetadataCommand, metadata_command::Command as Pb};
use highwater_proto::{
    BrokerId, ClusterId, Incarnation, PartitionIndex, ProducerEpoch, ProducerId, ProducerName,
    Reason, ReplicaId, TopicId, TopicName,
};

use super::{
    Command, CommandError, Endpoints, MAX_ADDRESS, MAX_PARTITIONS, MAX_PRODUCER_RANGE, MAX_RACK,
    MAX_REPLICATION_FACTOR, ProducerIncarnation, Refusal, Registration,
};

pub(super) fn command(message: &MetadataCommand) -> Result<Command, CommandError> {
    Ok(
        match message.command.as_ref().ok_or(CommandError::Unknown)? {
            Pb::FoundCluster(found) => Command::FoundCluster {
                cluster: cluster_id(&found.cluster_id)?,
                group_shards: found.group_shards,
            },
            Pb::RegisterBroker(broker) => Command::RegisterBroker(registration(broker)?),
            Pb::CreateTopic(create) => create_topic(create)?,
            Pb::AlterTopic(alter) => alter_topic(alter)?,
            Pb::DeleteTopic(delete) => Command::DeleteTopic {
                topic: read_topic_id(&delete.topic_id)?,
            },
            Pb::AllocateProducerIds(allocate) => allocate_producer_ids(allocate)?,
            Pb::ConfirmRemoved(confirm) => Command::ConfirmRemoved {
                replicas: confirm.replicas.iter().copied().map(ReplicaId).collect(),
            },
            Pb::InitNamedProducer(init) => init_named_producer(init)?,
            Pb::RegisterProducer(register) => Command::RegisterProducer {
                producer: incarnation_of(register.producer_id, register.epoch)?,
                topic: read_topic_id(&register.topic_id)?,
                partition: PartitionIndex(register.partition),
            },
        },
    )
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(Reason::InvalidRequest, message)
}

fn cluster_id(text: &str) -> Result<ClusterId, Refusal> {
    text.parse()
        .map_err(|_| invalid("a cluster id must be the text of a UUID"))
}

/// The topic id in 16 bytes, exactly: an id that the type would alter is not one we gave out.
pub(in crate::cluster) fn read_topic_id(bytes: &[u8]) -> Result<TopicId, Refusal> {
    <[u8; 16]>::try_from(bytes)
        .ok()
        .map(TopicId::from_bytes)
        .filter(|id| id.to_bytes() == bytes)
        .ok_or_else(|| invalid("a topic id must be the 16 bytes of a random UUID"))
}

pub(in crate::cluster) fn read_incarnation(bytes: &[u8]) -> Result<Incarnation, Refusal> {
    <[u8; 16]>::try_from(bytes)
        .ok()
        .map(Incarnation::from_bytes)
        .filter(|id| id.to_bytes() == bytes)
        .ok_or_else(|| invalid("an incarnation must be the 16 bytes of a random UUID"))
}

fn registration(message: &pb::RegisterBroker) -> Result<Registration, Refusal> {
    if message.level_min == 0 || message.level_min > message.level_max {
        return Err(invalid(format!(
            "{} to {} is not a range of cluster levels",
            message.level_min, message.level_max
        )));
    }
    Ok(Registration {
        broker: (message.broker_id != 0).then_some(BrokerId(message.broker_id)),
        incarnation: read_incarnation(&message.incarnation)?,
        endpoints: read_endpoints(message.endpoints.as_ref())?,
        rack: read_rack(&message.rack)?,
        levels: message.level_min..=message.level_max,
    })
}

pub(in crate::cluster) fn read_endpoints(
    message: Option<&pb::Endpoints>,
) -> Result<Endpoints, Refusal> {
    let message = message.ok_or_else(|| invalid("a broker must say where it can be reached"))?;
    Ok(Endpoints {
        listen: address("client", &message.listen)?,
        peer: address("peer", &message.peer)?,
        http: match message.http.as_str() {
            "" => String::new(),
            http => address("HTTP", http)?,
        },
    })
}

fn address(kind: &str, text: &str) -> Result<String, Refusal> {
    match is_address(text) {
        true => Ok(text.to_owned()),
        false => Err(invalid(format!(
            "the {kind} address of a broker must be host:port, of at most {MAX_ADDRESS} bytes"
        ))),
    }
}

/// Whether it is a host and a port other than 0, and not too long. Whether anything answers there is not
/// asked.
pub fn is_address(text: &str) -> bool {
    let fits =
        text.len() <= MAX_ADDRESS && !text.chars().any(|c| c.is_whitespace() || c.is_control());
    let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    let port = port.and_then(|(_, port)| port.parse::<u16>().ok());
    fits && port.is_some_and(|port| port > 0)
}

pub(in crate::cluster) fn read_rack(text: &str) -> Result<String, Refusal> {
    check_rack(text).map(|()| text.to_owned())
}

/// Whether a broker can stand there.
pub fn check_rack(text: &str) -> Result<(), Refusal> {
    if text.len() > MAX_RACK || text.chars().any(char::is_control) {
        return Err(invalid(format!(
            "a rack is a text of at most {MAX_RACK} bytes without control characters"
        )));
    }
    Ok(())
}

fn create_topic(message: &pb::CreateTopic) -> Result<Command, Refusal> {
    let name = TopicName::parse(&message.name)
        .map_err(|error| Refusal::new(Reason::InvalidTopicName, error.to_string()))?;
    let count = message.placements.len();
    if !(1..=MAX_PARTITIONS).contains(&count) {
        return Err(invalid(format!(
            "topic {name}: {count} partitions; a topic has from 1 to {MAX_PARTITIONS}"
        )));
    }
    let placements: Result<_, _> = message.placements.iter().map(placement).collect();
    Ok(Command::CreateTopic {
        name,
        topic: read_topic_id(&message.topic_id)?,
        config: message.config.clone(),
        placements: placements?,
    })
}

fn placement(message: &pb::Placement) -> Result<Vec<BrokerId>, Refusal> {
    let count = message.brokers.len();
    if !(1..=MAX_REPLICATION_FACTOR).contains(&count) {
        return Err(Refusal::new(
            Reason::InvalidReplication,
            format!("{count} replicas; a partition has from 1 to {MAX_REPLICATION_FACTOR}"),
        ));
    }
    let distinct: BTreeSet<_> = message.brokers.iter().collect();
    if distinct.len() != count {
        return Err(Refusal::new(
            Reason::InvalidReplication,
            "the replicas of a partition must be on different brokers",
        ));
    }
    Ok(message.brokers.iter().copied().map(BrokerId).collect())
}

fn alter_topic(message: &pb::AlterTopic) -> Result<Command, Refusal> {
    let unset: BTreeSet<String> = message.unset.iter().cloned().collect();
    if let Some(name) = message.set.keys().find(|name| unset.contains(*name)) {
        return Err(invalid(format!(
            "{name} cannot be set and unset at the same time"
        )));
    }
    Ok(Command::AlterTopic {
        topic: read_topic_id(&message.topic_id)?,
        set: message.set.clone(),
        unset,
    })
}

fn allocate_producer_ids(message: &pb::AllocateProducerIds) -> Result<Command, Refusal> {
    match message.count {
        1..=MAX_PRODUCER_RANGE => Ok(Command::AllocateProducerIds {
            count: message.count,
        }),
        count => Err(invalid(format!(
            "{count} producer ids; a range has from 1 to {MAX_PRODUCER_RANGE}"
        ))),
    }
}

fn init_named_producer(message: &pb::InitNamedProducer) -> Result<Command, Refusal> {
    let held = match message.held_id {
        0 => None,
        id => Some(incarnation_of(id, message.held_epoch)?),
    };
    Ok(Command::InitNamedProducer {
        name: read_producer_name(&message.name)?,
        held,
        attempt: message.attempt,
    })
}

pub(in crate::cluster) fn read_producer_name(text: &str) -> Result<ProducerName, Refusal> {
    ProducerName::parse(text).map_err(|error| invalid(error.to_string()))
}

/// An epoch must fit into a batch.
pub(in crate::cluster) fn incarnation_of(
    id: u64,
    epoch: u32,
) -> Result<ProducerIncarnation, Refusal> {
    match i16::try_from(epoch) {
        Ok(epoch) => Ok(ProducerIncarnation {
            id: ProducerId(id),
            epoch: ProducerEpoch(epoch.unsigned_abs()),
        }),
        Err(_) => Err(invalid(format!("a producer cannot have epoch {epoch}"))),
    }
}
