use highwater_proto::pb::peer::{MetadataCommand, MetadataState};
use highwater_proto::{Reason, Timestamp};

use super::*;
use crate::cluster::command::{Command, Registration};
use crate::cluster::reply::Reply;

mod random;

const NOW: Timestamp = Timestamp(1_000_000);

fn cluster() -> ClusterId {
    ClusterId::from_bytes([1; 16])
}

fn topic_id(n: u8) -> TopicId {
    TopicId::from_bytes([n; 16])
}

fn name(text: &str) -> TopicName {
    TopicName::parse(text).unwrap()
}

fn join(incarnation: u8, port: u16) -> Registration {
    Registration {
        broker: None,
        incarnation: Incarnation::from_bytes([incarnation; 16]),
        endpoints: Endpoints {
            listen: format!("h:{port}"),
            peer: format!("h:{}", port + 1),
            http: String::new(),
        },
        rack: "r".to_owned(),
        levels: 1..=1,
    }
}

fn create(text: &str, id: u8, placements: &[&[u32]]) -> Command {
    let brokers = |brokers: &&[u32]| brokers.iter().copied().map(BrokerId).collect();
    Command::CreateTopic {
        name: name(text),
        topic: topic_id(id),
        config: BTreeMap::new(),
        placements: placements.iter().map(brokers).collect(),
    }
}

fn alter(id: u8, set: &[(&str, &str)], unset: &[&str]) -> Command {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Command::AlterTopic {
        topic: topic_id(id),
        set: set.iter().map(owned).collect(),
        unset: unset.iter().map(|name| (*name).to_owned()).collect(),
    }
}

fn run(state: &mut ClusterState, command: Command) -> Reply {
    state.apply(&command.to_pb(), NOW).unwrap()
}

fn refused(state: &mut ClusterState, command: Command) -> Reason {
    let before = state.clone();
    let reply = run(state, command);
    assert_eq!(*state, before, "a refused command changed something");
    reply.accepted().unwrap_err().reason
}

/// A cluster of three brokers: ids 1, 2, 3 and metadata replicas 1, 2, 3.
fn three_brokers() -> ClusterState {
    let mut state = ClusterState::new();
    let found = Command::FoundCluster {
        cluster: cluster(),
        group_shards: 16,
    };
    assert_eq!(run(&mut state, found), Reply::Done);
    for n in 1..=3 {
        let reply = run(
            &mut state,
            Command::RegisterBroker(join(n, 7000 + u16::from(n))),
        );
        let expected = Reply::Registered {
            broker: BrokerId(n.into()),
            metadata_replica: ReplicaId(n.into()),
        };
        assert_eq!(reply, expected);
    }
    state
}

#[test]
fn before_the_cluster_is_founded_nothing_else_is_accepted() {
    let mut state = ClusterState::new();
    assert_eq!(state.cluster_id(), None);
    let join = Command::RegisterBroker(join(1, 7000));
    assert_eq!(refused(&mut state, join), Reason::NotReady);
}

#[test]
fn a_cluster_is_founded_once() {
    let mut state = three_brokers();
    let found = |cluster| Command::FoundCluster {
        cluster,
        group_shards: 16,
    };
    assert_eq!(run(&mut state, found(cluster())), Reply::Done);
    let other = found(ClusterId::from_bytes([2; 16]));
    assert_eq!(refused(&mut state, other), Reason::WrongCluster);
    assert_eq!(state.cluster_id(), Some(cluster()));
    assert_eq!((state.level(), state.group_shards()), (FIRST_LEVEL, 16));
}

#[test]
fn an_unknown_command_stops_the_group() {
    let mut state = three_brokers();
    let unknown = MetadataCommand { command: None };
    assert_eq!(state.apply(&unknown, NOW), Err(UnknownCommand));
}

#[test]
fn the_founder_gets_the_ids_it_counted_on() {
    let state = three_brokers();
    assert_eq!(
        state.broker(FOUNDER).unwrap().metadata_replica,
        FOUNDER_REPLICA
    );
}

#[test]
fn a_join_repeated_in_one_life_gets_the_same_ids() {
    let mut state = three_brokers();
    let again = run(&mut state, Command::RegisterBroker(join(2, 9000)));
    let expected = Reply::Registered {
        broker: BrokerId(2),
        metadata_replica: ReplicaId(2),
    };
    assert_eq!(again, expected);
    assert_eq!(state.brokers().len(), 3);
    assert_eq!(
        state.broker(BrokerId(2)).unwrap().endpoints.listen,
        "h:9000"
    );
}

#[test]
fn a_broker_that_comes_back_keeps_its_ids_and_changes_the_rest() {
    let mut state = three_brokers();
    let mut back = join(99, 9000);
    back.broker = Some(BrokerId(2));
    back.rack = "r2".to_owned();
    run(&mut state, Command::RegisterBroker(back.clone()));
    let broker = state.broker(BrokerId(2)).unwrap();
    assert_eq!(broker.metadata_replica, ReplicaId(2));
    assert_eq!(broker.incarnation, back.incarnation);
    assert_eq!(
        (broker.rack.as_str(), &broker.endpoints),
        ("r2", &back.endpoints)
    );
}

#[test]
fn strangers_and_brokers_of_other_levels_are_refused() {
    let mut state = three_brokers();
    let mut stranger = join(50, 9000);
    stranger.broker = Some(BrokerId(4));
    let stranger = Command::RegisterBroker(stranger);
    assert_eq!(refused(&mut state, stranger), Reason::InvalidRequest);
    let mut newer = join(50, 9000);
    newer.levels = 2..=5;
    let newer = Command::RegisterBroker(newer);
    assert_eq!(refused(&mut state, newer), Reason::UnsupportedVersion);
}

#[test]
fn a_topic_is_found_by_name_and_id_with_fresh_replica_ids() {
    let mut state = three_brokers();
    run(&mut state, create("orders", 1, &[&[1, 2, 3], &[3, 1]]));
    let topic = state.topic_by_name(&name("orders")).unwrap();
    assert_eq!(state.topic(topic_id(1)), Some(topic));
    assert_eq!(topic.replication_factor(), 3);
    let ids = |p| -> Vec<_> {
        let partition = state.partition(topic_id(1), PartitionIndex(p)).unwrap();
        let pair = |replica: &Replica| (replica.id.0, replica.broker.0);
        partition.replicas.iter().map(pair).collect()
    };
    assert_eq!(ids(0), [(4, 1), (5, 2), (6, 3)]);
    assert_eq!(ids(1), [(7, 3), (8, 1)]);
    assert_eq!(state.partition(topic_id(1), PartitionIndex(2)), None);
    assert_eq!(state.partition_count(), 2);
}

#[test]
fn the_same_creation_again_is_done_and_another_topic_of_that_name_is_refused() {
    let mut state = three_brokers();
    run(&mut state, create("a", 1, &[&[1]]));
    let before = state.clone();
    assert_eq!(run(&mut state, create("a", 1, &[&[1]])), Reply::Done);
    assert_eq!(state, before);
    assert_eq!(
        refused(&mut state, create("a", 2, &[&[1]])),
        Reason::TopicExists
    );
    assert_eq!(
        refused(&mut state, create("b", 1, &[&[1]])),
        Reason::InvalidRequest
    );
}

#[test]
fn a_topic_on_an_unknown_broker_or_with_a_wrong_setting_is_refused() {
    let mut state = three_brokers();
    let reason = refused(&mut state, create("a", 1, &[&[1, 2], &[2, 4]]));
    assert_eq!(reason, Reason::InvalidReplication);
    let mut wrong = create("a", 1, &[&[1]]);
    if let Command::CreateTopic { config, .. } = &mut wrong {
        config.insert("durability".to_owned(), "quorum-memory".to_owned());
    }
    assert_eq!(refused(&mut state, wrong), Reason::InvalidConfig);
}

#[test]
fn settings_are_set_unset_and_kept_in_plain_form() {
    let mut state = three_brokers();
    run(&mut state, create("a", 1, &[&[1]]));
    let both = [("retention.ms", "1h"), ("segment.bytes", "2MiB")];
    assert_eq!(run(&mut state, alter(1, &both, &[])), Reply::Done);
    let topic = state.topic(topic_id(1)).unwrap();
    assert_eq!(topic.overrides["retention.ms"], "3600000");
    assert_eq!(topic.config.segment_bytes, 2 << 20);

    let change = alter(
        1,
        &[("segment.bytes", "3MiB")],
        &["retention.ms", "segment.ms"],
    );
    run(&mut state, change);
    let topic = state.topic(topic_id(1)).unwrap();
    assert_eq!(topic.config.retention_ms, None);
    assert_eq!(topic.overrides.len(), 1);

    let wrong = alter(1, &[("segment.bytes", "1")], &[]);
    assert_eq!(refused(&mut state, wrong), Reason::InvalidConfig);
    assert_eq!(
        refused(&mut state, alter(1, &[], &["colour"])),
        Reason::InvalidConfig
    );
    assert_eq!(
        refused(&mut state, alter(2, &[], &[])),
        Reason::TopicNotFound
    );
}

#[test]
fn deleted_replicas_are_named_until_their_broker_confirms() {
    let mut state = three_brokers();
    run(&mut state, create("a", 1, &[&[1, 2], &[2, 3]]));
    run(&mut state, create("b", 2, &[&[2]]));
    assert_eq!(
        run(&mut state, Command::DeleteTopic { topic: topic_id(1) }),
        Reply::Done
    );
    assert_eq!(state.topic_by_name(&name("a")), None);
    let removed = |state: &ClusterState, broker| -> Vec<_> {
        let removed = state.removed_on(BrokerId(broker));
        removed
            .map(|removed| (removed.replica.id.0, removed.partition.0))
            .collect()
    };
    assert_eq!(removed(&state, 2), [(5, 0), (6, 1)]);
    assert!(state.is_removed(ReplicaId(5)) && !state.is_removed(ReplicaId(8)));

    let confirm = Command::ConfirmRemoved {
        replicas: vec![ReplicaId(5), ReplicaId(6), ReplicaId(8), ReplicaId(1000)],
    };
    assert_eq!(run(&mut state, confirm), Reply::Done);
    assert_eq!(removed(&state, 2), []);
    assert_eq!(removed(&state, 1), [(4, 0)]);
    assert_eq!(state.replicas_on(BrokerId(2)).count(), 1);

    let again = Command::DeleteTopic { topic: topic_id(1) };
    assert_eq!(refused(&mut state, again), Reason::TopicNotFound);
}

#[test]
fn a_recreated_topic_inherits_nothing() {
    let mut state = three_brokers();
    run(&mut state, create("a", 1, &[&[1]]));
    run(&mut state, Command::DeleteTopic { topic: topic_id(1) });
    run(&mut state, create("a", 2, &[&[1]]));
    let topic = state.topic_by_name(&name("a")).unwrap();
    assert_eq!(
        (topic.id, topic.partitions[0].replicas[0].id),
        (topic_id(2), ReplicaId(5))
    );
}

#[test]
fn a_broker_learns_what_to_run_and_with_whom() {
    let mut state = three_brokers();
    run(&mut state, create("a", 1, &[&[1, 2], &[2, 3], &[3, 1]]));
    let placed: Vec<_> = state.replicas_on(BrokerId(3)).collect();
    let short = |p: &Placed<'_>| (p.topic.name.to_string(), p.partition.0, p.replica.0);
    let expected = [("a".to_owned(), 1, 7), ("a".to_owned(), 2, 8)];
    assert_eq!(placed.iter().map(short).collect::<Vec<_>>(), expected);
    assert_eq!(placed[1].replicas[1].broker, BrokerId(1));
}

#[test]
fn candidates_count_replicas_and_first_replicas() {
    let mut state = three_brokers();
    run(&mut state, create("a", 1, &[&[1, 2], &[1, 2], &[2, 1]]));
    let counts = state
        .candidates()
        .into_iter()
        .map(|c| (c.broker.0, c.replicas, c.leaders));
    assert_eq!(
        counts.collect::<Vec<_>>(),
        [(1, 3, 2), (2, 3, 1), (3, 0, 0)]
    );
}

#[test]
fn producer_ids_are_given_out_once() {
    let mut state = three_brokers();
    let range =
        |state: &mut ClusterState, count| run(state, Command::AllocateProducerIds { count });
    assert!(!state.knows_producer(ProducerId(1)));
    assert_eq!(
        range(&mut state, 1000),
        Reply::FirstProducerId(ProducerId(1))
    );
    assert_eq!(
        range(&mut state, 1),
        Reply::FirstProducerId(ProducerId(1001))
    );
    assert!(state.knows_producer(ProducerId(1001)) && !state.knows_producer(ProducerId(1002)));
    assert!(!state.knows_producer(ProducerId(0)));

    let mut message = state.snapshot();
    message.next_producer_id = i64::MAX as u64;
    let mut last = ClusterState::restore(&message).unwrap();
    let range = Command::AllocateProducerIds { count: 1 };
    assert_eq!(refused(&mut last, range), Reason::Internal);
}

#[test]
fn a_damaged_snapshot_is_refused() {
    let mut state = three_brokers();
    run(&mut state, create("a", 1, &[&[1, 2]]));
    run(&mut state, create("b", 2, &[&[3]]));
    run(&mut state, Command::DeleteTopic { topic: topic_id(2) });
    let sound = state.snapshot();
    assert_eq!(ClusterState::restore(&sound), Ok(state));
    let damages: [fn(&mut MetadataState); 12] = [
        |m| m.cluster_id = "x".to_owned(),
        |m| m.next_replica_id = 5,
        |m| m.next_broker_id = 3,
        |m| m.next_producer_id = 0,
        |m| m.brokers.push(m.brokers[0].clone()),
        |m| m.topics.push(m.topics[0].clone()),
        |m| drop(m.brokers.pop()),
        |m| m.topics[0].name = "a/b".to_owned(),
        |m| m.topics[0].partitions.clear(),
        |m| m.topics[0].partitions[0].replicas[0].replica_id = 2,
        |m| m.removed[0].replica_id = 0,
        |m| {
            drop(
                m.topics[0]
                    .config
                    .insert("new.setting".to_owned(), "1".to_owned()),
            )
        },
    ];
    for (number, damage) in damages.iter().enumerate() {
        let mut damaged = sound.clone();
        damage(&mut damaged);
        assert!(ClusterState::restore(&damaged).is_err(), "damage {number}");
    }
}
