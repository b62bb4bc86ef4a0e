use highwater_proto::pb::peer::{self as pb, metadata_command::Command as Pb};
use highwater_proto::{Incarnation, Reason};

use super::*;

fn registration() -> Registration {
    Registration {
        broker: Some(BrokerId(7)),
        incarnation: Incarnation::from_bytes([5; 16]),
        endpoints: Endpoints {
            listen: "a.example:7654".to_owned(),
            peer: "[::1]:7655".to_owned(),
            http: String::new(),
        },
        rack: "r1".to_owned(),
        levels: 1..=2,
    }
}

fn incarnation(epoch: u16) -> ProducerIncarnation {
    ProducerIncarnation {
        id: ProducerId(1 << 62),
        epoch: ProducerEpoch(epoch),
    }
}

fn every_command() -> Vec<Command> {
    let topic = TopicId::from_bytes([9; 16]);
    let setting = || BTreeMap::from([("retention.ms".to_owned(), "7d".to_owned())]);
    vec![
        Command::FoundCluster {
            cluster: ClusterId::from_bytes([1; 16]),
            group_shards: 16,
        },
        Command::RegisterBroker(registration()),
        Command::CreateTopic {
            name: TopicName::parse("orders").unwrap(),
            topic,
            config: setting(),
            placements: vec![vec![BrokerId(1), BrokerId(2)], vec![BrokerId(2)]],
        },
        Command::AlterTopic {
            topic,
            set: setting(),
            unset: BTreeSet::from(["segment.ms".to_owned()]),
        },
        Command::DeleteTopic { topic },
        Command::AllocateProducerIds { count: 1000 },
        Command::ConfirmRemoved {
            replicas: vec![ReplicaId(1), ReplicaId(u64::MAX)],
        },
        Command::InitNamedProducer {
            name: ProducerName::parse("writer").unwrap(),
            held: None,
            attempt: u64::MAX,
        },
        Command::InitNamedProducer {
            name: ProducerName::parse("writer").unwrap(),
            held: Some(incarnation(32_767)),
            attempt: 0,
        },
        Command::RegisterProducer {
            producer: incarnation(0),
            topic,
            partition: PartitionIndex(3),
        },
    ]
}

fn reason(command: Pb) -> Reason {
    let message = MetadataCommand {
        command: Some(command),
    };
    match Command::from_pb(&message) {
        Err(CommandError::Refused(refusal)) => refusal.reason,
        other => panic!("{other:?}"),
    }
}

fn create(change: impl FnOnce(&mut pb::CreateTopic)) -> Pb {
    let mut message = pb::CreateTopic {
        name: "orders".to_owned(),
        topic_id: TopicId::from_bytes([9; 16]).to_bytes().to_vec().into(),
        config: BTreeMap::new(),
        placements: vec![pb::Placement { brokers: vec![1] }],
    };
    change(&mut message);
    Pb::CreateTopic(message)
}

fn register(change: impl FnOnce(&mut pb::RegisterBroker)) -> Pb {
    let message = Command::RegisterBroker(registration()).to_pb();
    let Some(Pb::RegisterBroker(mut message)) = message.command else {
        panic!("not a registration");
    };
    change(&mut message);
    Pb::RegisterBroker(message)
}

#[test]
fn every_command_survives_its_encoding() {
    for command in every_command() {
        assert_eq!(Command::decode(&command.encode()).unwrap(), command);
    }
}

#[test]
fn the_largest_topic_fits_into_a_command() {
    let brokers: Vec<_> = (0..15).map(|i| BrokerId(u32::MAX - i)).collect();
    let command = Command::CreateTopic {
        name: TopicName::parse(&"n".repeat(249)).unwrap(),
        topic: TopicId::from_bytes([1; 16]),
        config: BTreeMap::new(),
        placements: vec![brokers; MAX_PARTITIONS],
    };
    assert!(command.encode().len() < MAX_COMMAND_BYTES);
    assert!(Command::decode(&command.encode()).is_ok());
}

#[test]
fn unknown_damaged_and_oversized_commands_are_told_apart() {
    assert!(matches!(Command::decode(b""), Err(CommandError::Unknown)));
    // Field 99, which a newer version may have.
    let newer = [0x9a, 0x06, 0x00];
    assert!(matches!(
        Command::decode(&newer),
        Err(CommandError::Unknown)
    ));
    assert!(matches!(
        Command::decode(&[0x0a, 0x7f]),
        Err(CommandError::Malformed(_))
    ));
    assert!(matches!(
        Command::decode(&vec![0; MAX_COMMAND_BYTES + 1]),
        Err(CommandError::TooLarge(_))
    ));
}

#[test]
fn a_topic_that_cannot_be_is_refused_with_its_reason() {
    use Reason::{InvalidReplication, InvalidRequest, InvalidTopicName};
    let brokers = |brokers| vec![pb::Placement { brokers }];
    let cases = [
        (create(|m| m.name = "../x".to_owned()), InvalidTopicName),
        (create(|m| m.name = "__x".to_owned()), InvalidTopicName),
        (create(|m| m.name = "n".repeat(250)), InvalidTopicName),
        (create(|m| m.topic_id = vec![1; 15].into()), InvalidRequest),
        // Not a version 4 UUID: the id type would change it.
        (create(|m| m.topic_id = vec![0; 16].into()), InvalidRequest),
        (create(|m| m.placements.clear()), InvalidRequest),
        (
            create(|m| m.placements = vec![m.placements[0].clone(); MAX_PARTITIONS + 1]),
            InvalidRequest,
        ),
        (
            create(|m| m.placements = brokers(vec![])),
            InvalidReplication,
        ),
        (
            create(|m| m.placements = brokers(vec![1, 2, 1])),
            InvalidReplication,
        ),
        (
            create(|m| m.placements = brokers((1..17).collect())),
            InvalidReplication,
        ),
    ];
    for (command, expected) in cases {
        assert_eq!(reason(command.clone()), expected, "{command:?}");
    }
}

#[test]
fn a_broker_without_addresses_rack_or_levels_that_make_sense_is_refused() {
    let address = |text: &str| {
        let text = text.to_owned();
        register(|m| m.endpoints.as_mut().unwrap().listen = text)
    };
    let cases = [
        address(""),
        address("host"),
        address("host:"),
        address("host:0"),
        address("host:65536"),
        address(":7654"),
        address("ho st:1"),
        address(&format!("{}:1", "h".repeat(300))),
        register(|m| m.endpoints = None),
        register(|m| m.incarnation = vec![1; 4].into()),
        register(|m| m.rack = "r".repeat(129)),
        register(|m| m.rack = "r\n".to_owned()),
        register(|m| m.level_min = 0),
        register(|m| (m.level_min, m.level_max) = (3, 2)),
    ];
    for command in cases {
        assert_eq!(
            reason(command.clone()),
            Reason::InvalidRequest,
            "{command:?}"
        );
    }
}

#[test]
fn ranges_of_producer_ids_have_a_size() {
    for count in [0, MAX_PRODUCER_RANGE + 1, u64::MAX] {
        let command = Pb::AllocateProducerIds(pb::AllocateProducerIds { count });
        assert_eq!(reason(command), Reason::InvalidRequest);
    }
}

#[test]
fn a_setting_cannot_be_set_and_unset_at_once() {
    let command = Pb::AlterTopic(pb::AlterTopic {
        topic_id: TopicId::from_bytes([9; 16]).to_bytes().to_vec().into(),
        set: BTreeMap::from([("segment.ms".to_owned(), "1d".to_owned())]),
        unset: vec!["segment.ms".to_owned()],
    });
    assert_eq!(reason(command), Reason::InvalidRequest);
}

#[test]
fn an_address_is_a_host_and_a_port_and_not_long() {
    for address in ["127.0.0.1:7655", "b1.example.com:1", "[::1]:7655"] {
        assert!(is_address(address), "{address}");
    }
    let long = format!("{}:7655", "h".repeat(300));
    for address in ["", "host", ":7655", "host:", "host:x", "host:70000", &long] {
        assert!(!is_address(address), "{address}");
    }
    for address in ["host:0", "a host:1", "host\n:1"] {
        assert!(!is_address(address), "{address}");
    }
}
