use super::*;

fn broker(id: i32, listen: &str) -> v1::Broker {
    v1::Broker {
        id,
        listen: listen.to_owned(),
        ..Default::default()
    }
}

fn answer(topic_id: &str, leader: i32, leader_epoch: i32) -> v1::Metadata {
    let partition = v1::PartitionMetadata {
        partition: 0,
        leader,
        leader_epoch,
        replicas: vec![1, 2],
    };
    v1::Metadata {
        cluster_id: "c".to_owned(),
        version: 1,
        brokers: vec![broker(1, "a:1"), broker(2, "b:2")],
        topics: vec![v1::TopicMetadata {
            name: "t".to_owned(),
            id: topic_id.to_owned(),
            partitions: vec![partition],
            max_batch_bytes: 1 << 20,
        }],
        controller: 1,
    }
}

fn hint(leader: i32, listen: &str, leader_epoch: i32) -> NotLeader {
    NotLeader {
        topic: "t".to_owned(),
        partition: 0,
        leader,
        leader_listen: listen.to_owned(),
        leader_epoch,
    }
}

fn leader(topology: &Topology) -> Option<String> {
    let leader = topology.leader("t", PartitionIndex(0));
    leader.map(|address| address.to_string())
}

#[test]
fn a_hint_moves_the_leader_at_once_and_may_name_a_broker_not_seen_before() {
    let mut topology = Topology::default();
    topology.learn(&answer("x", 1, 4)).unwrap();
    assert_eq!(leader(&topology).as_deref(), Some("a:1"));
    assert!(topology.hint(&hint(3, "c:3", 5), "x"));
    assert_eq!(leader(&topology).as_deref(), Some("c:3"));
}

#[test]
fn neither_an_old_hint_nor_an_old_answer_undoes_a_later_epoch() {
    let mut topology = Topology::default();
    topology.learn(&answer("x", 2, 6)).unwrap();
    assert!(!topology.hint(&hint(1, "a:1", 5), "x"));
    topology.learn(&answer("x", 1, 5)).unwrap();
    topology.learn(&answer("x", 0, 6)).unwrap();
    assert_eq!(leader(&topology).as_deref(), Some("b:2"));
}

#[test]
fn a_hint_without_a_leader_or_its_address_says_nothing() {
    let mut topology = Topology::default();
    topology.learn(&answer("x", 1, 4)).unwrap();
    assert!(!topology.hint(&hint(0, "", 9), "x"));
    assert!(!topology.hint(&hint(7, "", 9), "x"));
    assert_eq!(leader(&topology).as_deref(), Some("a:1"));
    assert!(
        topology.hint(&hint(2, "", 9), "x"),
        "a known broker needs no address"
    );
    assert_eq!(leader(&topology).as_deref(), Some("b:2"));
}

#[test]
fn a_recreated_topic_starts_over_with_its_own_epochs() {
    let mut topology = Topology::default();
    topology.learn(&answer("x", 1, 9)).unwrap();
    topology.learn(&answer("y", 2, 1)).unwrap();
    assert_eq!(leader(&topology).as_deref(), Some("b:2"));
}

#[test]
fn a_late_hint_about_a_deleted_topic_moves_no_leader_of_the_one_that_has_its_name() {
    let mut topology = Topology::default();
    topology.learn(&answer("x", 1, 49)).unwrap();
    topology.learn(&answer("y", 2, 1)).unwrap();
    assert!(!topology.hint(&hint(1, "a:1", 50), "x"));
    assert_eq!(leader(&topology).as_deref(), Some("b:2"));
    assert!(topology.hint(&hint(1, "a:1", 2), "y"));
    assert_eq!(leader(&topology).as_deref(), Some("a:1"));
}

#[test]
fn an_answer_of_another_cluster_is_refused() {
    let mut topology = Topology::default();
    topology.learn(&answer("x", 1, 1)).unwrap();
    let mut other = answer("x", 2, 9);
    other.cluster_id = "d".to_owned();
    let error = topology.learn(&other).unwrap_err();
    assert_eq!(error.reason(), Some(Reason::WrongCluster));
    assert_eq!(leader(&topology).as_deref(), Some("a:1"));
}

#[test]
fn a_partition_without_a_leader_has_no_address() {
    let mut topology = Topology::default();
    topology.learn(&answer("x", 0, 1)).unwrap();
    assert_eq!(leader(&topology), None);
    assert_eq!(topology.leader("t", PartitionIndex(1)), None);
    assert_eq!(topology.leader("u", PartitionIndex(0)), None);
}
