//! Three brokers: nothing is lost, repeated or reordered when one is killed in the middle.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use highwater_tests::{Broker, Cluster, input, ports, program};

const RECORDS: usize = 20_000;
const FIRST: usize = 5_000;

/// The goal is 2 s; a machine that is busy with other tests may take longer. What else it does can
/// only add to the time, so the shortest of some failovers counts.
const FAILOVER: Duration = Duration::from_secs(6);
const LIMIT: Duration = Duration::from_secs(60);

#[track_caller]
fn assert_all_there(cluster: &Cluster, topic: &str, text: &str) {
    let consumed = cluster
        .run(&["consume", topic, "--from", "start", "--exit-at-end"])
        .within(Duration::from_secs(120))
        .ok();
    assert_eq!(input::sorted(consumed.text()), input::sorted(text));
    assert_eq!(
        input::by_path(consumed.text()),
        input::by_path(text),
        "the order of each path"
    );
}

#[test]
fn a_leader_killed_in_the_middle_of_a_produce_costs_nothing() {
    let mut cluster = Cluster::start(&program!(), 3);
    cluster
        .run(&["topic", "create", "changes", "-p", "6", "-r", "3"])
        .ok();
    let text = input::changes(RECORDS);
    let cut = text.match_indices('\n').nth(FIRST - 1).unwrap().0 + 1;

    let produce = [
        "produce",
        "changes",
        "-f",
        "json",
        "--key-field",
        "path",
        "-o",
        "jsonl",
    ];
    let mut producing = cluster.run(&produce).converse();
    producing.write(&text[..cut]);
    producing.read(FIRST / 2);
    let leader = cluster.leader_of("changes", 0);
    cluster.brokers[leader].kill();
    producing.write(&text[cut..]);
    // Acknowledgements go on without it.
    producing.read(FIRST);
    producing.end_input();
    let ended = producing.end().exited(0);
    assert!(
        ended
            .stderr
            .contains(&format!("{RECORDS} records acknowledged")),
        "{ended}"
    );
    assert_all_there(&cluster, "changes", &text);

    cluster.unhealthy(&[]);
    cluster.brokers[leader].restart();
    cluster.until_healthy();
    let other = (leader + 1) % 3;
    cluster.brokers[other].kill();
    assert_all_there(&cluster, "changes", &text);
    cluster.brokers[other].restart();
    cluster.until_healthy();

    cluster.restart_all();
    assert_all_there(&cluster, "changes", &text);
}

#[test]
fn acknowledgements_go_on_soon_after_the_leader_is_killed() {
    let mut cluster = Cluster::start(&program!(), 3);
    cluster
        .run(&["topic", "create", "t", "-p", "1", "-r", "3"])
        .ok();
    cluster.until_healthy();
    let mut producing = cluster.run(&["produce", "t", "-o", "jsonl"]).converse();
    let mut took = Vec::new();
    for round in 0..3 {
        producing.write("before\n");
        producing.read(1);
        let leader = cluster.leader_of("t", 0);
        cluster.brokers[leader].kill();
        let killed = Instant::now();
        producing.write("after\n");
        let ack: serde_json::Value = serde_json::from_str(&producing.read(1)[0]).unwrap();
        took.push(killed.elapsed());
        assert_eq!(ack["offset"], 2 * round + 1);
        cluster.brokers[leader].restart();
        cluster.until_healthy();
    }
    producing.end_input();
    producing.end().exited(0);
    assert!(
        took.iter().any(|took| *took < FAILOVER),
        "{took:?} without a leader"
    );
}

#[test]
fn the_brokers_of_a_cluster_are_listed_alike_by_each() {
    let cluster = Cluster::start(&program!(), 3);
    let deadline = Instant::now() + LIMIT;
    for broker in &cluster.brokers {
        let brokers = || {
            let listed = broker.run(&["cluster", "brokers", "-o", "json"]).ok();
            listed.json().as_array().unwrap().clone()
        };
        // What joined last is told to each of the others in turn.
        let mut rows = brokers();
        while rows.len() < 3 && Instant::now() < deadline {
            rows = brokers();
        }
        let listed: Vec<&str> = rows
            .iter()
            .map(|row| row["listen"].as_str().unwrap())
            .collect();
        assert_eq!(listed.len(), 3);
        assert!(
            cluster
                .brokers
                .iter()
                .all(|broker| listed.contains(&broker.listen()))
        );
        let info = broker.run(&["cluster", "info", "-o", "json"]).ok().json();
        assert_eq!(info["broker_count"], 3);
        assert_eq!(info["cluster_id"], cluster.brokers[0].ready()["cluster"]);
    }
}

#[test]
fn a_new_topic_has_a_leader_and_replicas_in_sync_on_three() {
    let cluster = Cluster::start(&program!(), 3);
    let created = cluster
        .run(&["topic", "create", "t", "-p", "6", "-o", "json"])
        .ok()
        .json();
    assert_eq!(created["replication_factor"], 3);
    assert_eq!(created["partition_count"], 6);
    let leaders: BTreeSet<usize> = (0..6)
        .map(|partition| cluster.leader_of("t", partition))
        .collect();
    assert!(leaders.len() > 1, "leaders are spread: {leaders:?}");
    cluster.until_healthy();
}

#[test]
fn a_replica_whose_broker_is_gone_is_not_in_sync_though_it_has_everything() {
    let mut cluster = Cluster::start(&program!(), 3);
    let create = ["topic", "create", "idle", "-p", "1", "-r", "3"];
    cluster.run(&create).ok();
    cluster.until_healthy();
    let leader = cluster.leader_of("idle", 0);
    let gone = (leader + 1) % 3;
    cluster.brokers[gone].kill();
    cluster.unhealthy(&["the replica is not in sync"]);
    // Who is asked while leaders change may see fewer for a moment.
    let deadline = Instant::now() + LIMIT;
    loop {
        let described = cluster.run(&["topic", "describe", "idle", "-o", "json"]);
        let described = described.ok().json();
        let in_sync = described["partitions"][0]["in_sync"].as_array().unwrap();
        if in_sync.len() == 2 {
            return;
        }
        assert!(Instant::now() < deadline, "{described}");
    }
}

#[test]
fn a_broker_that_is_stopped_hands_over_and_its_clients_see_no_error() {
    let mut cluster = Cluster::start(&program!(), 3);
    cluster
        .run(&["topic", "create", "changes", "-p", "6", "-r", "3"])
        .ok();
    let text = input::changes(RECORDS);
    let cut = text.match_indices('\n').nth(FIRST - 1).unwrap().0 + 1;
    let produce = ["produce", "changes", "-o", "jsonl"];
    let mut producing = cluster.run(&produce).converse();
    producing.write(&text[..cut]);
    producing.read(FIRST / 2);
    let leader = cluster.leader_of("changes", 0);
    assert!(cluster.brokers[leader].stop().success());
    producing.write(&text[cut..]);
    producing.end_input();
    let ended = producing.end().exited(0);
    assert!(
        ended
            .stderr
            .contains(&format!("{RECORDS} records acknowledged")),
        "{ended}"
    );
    let consumed = cluster.run(&["consume", "changes", "--exit-at-end"]).ok();
    assert_eq!(input::sorted(consumed.text()), input::sorted(&text));
    cluster.brokers[leader].restart();
    cluster.until_healthy();
}

#[test]
fn a_broker_that_comes_back_elsewhere_has_its_place_again() {
    let mut cluster = Cluster::start(&program!(), 3);
    cluster
        .run(&["topic", "create", "changes", "-p", "6", "-r", "3"])
        .ok();
    let text = input::changes(FIRST);
    let moved = cluster.leader_of("changes", 0);
    cluster.brokers[moved].kill();
    let produced = cluster.run(&["produce", "changes"]).stdin(text.clone());
    produced.within(Duration::from_secs(120)).ok();
    let launched = cluster.brokers[moved].relaunch_at(ports::in_a_row(3), None);
    cluster.brokers[moved] = launched.until_ready();
    cluster.until_healthy();

    // With one of the others gone, it is one of the majority.
    let other = (moved + 1) % 3;
    cluster.brokers[other].kill();
    let more = cluster.run(&["produce", "changes"]).stdin(text.clone());
    more.within(Duration::from_secs(120)).ok();
    let consumed = cluster.run(&["consume", "changes", "--exit-at-end"]).ok();
    let twice = format!("{text}{text}");
    assert_eq!(input::sorted(consumed.text()), input::sorted(&twice));
    cluster.brokers[other].restart();
    cluster.until_healthy();
}

#[test]
fn brokers_that_all_come_back_elsewhere_find_each_other_by_one_that_the_others_are_told() {
    let mut cluster = Cluster::start(&program!(), 3);
    cluster
        .run(&["topic", "create", "changes", "-p", "6", "-r", "3"])
        .ok();
    let text = input::changes(FIRST);
    let produced = cluster.run(&["produce", "changes"]).stdin(text.clone());
    produced.within(Duration::from_secs(120)).ok();
    cluster.brokers.iter_mut().for_each(Broker::kill);

    // Told nothing, each looks where the others were, and says so.
    let lost = cluster.brokers[1].relaunch_at(ports::in_a_row(3), None);
    let said = lost.log_line("not registered yet");
    let before = format!("broker 1 at {} does not answer", cluster.brokers[0].peer());
    assert!(said.contains(&before), "{said}");
    drop(lost);

    let first = ports::in_a_row(3);
    let join = format!("127.0.0.1:{}", first + 1);
    let launched: Vec<_> = cluster
        .brokers
        .iter()
        .enumerate()
        .map(|(place, broker)| match place {
            0 => broker.relaunch_at(first, None),
            _ => broker.relaunch_at(ports::in_a_row(3), Some(&join)),
        })
        .collect();
    let ready = launched.into_iter().map(|broker| broker.until_ready());
    cluster.brokers = ready.collect();
    cluster.until_healthy();
    let consumed = cluster.run(&["consume", "changes", "--exit-at-end"]).ok();
    assert_eq!(input::sorted(consumed.text()), input::sorted(&text));
}

#[test]
fn a_directory_of_one_cluster_does_not_join_another() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let mut one = Broker::start(&program!(), dirs[0].path(), &[]);
    let other = Broker::start(&program!(), dirs[1].path(), &[]);
    assert!(one.stop().success());
    let dir = dirs[0].path().to_str().unwrap();
    let refused = program!()
        .run([
            "serve",
            "--data-dir",
            dir,
            "--listen",
            "127.0.0.1:0",
            "--join",
            other.peer(),
        ])
        .end()
        .exited(1);
    assert!(refused.stderr.contains("cluster"), "{refused}");
    assert!(refused.stderr.contains("error[START]"), "{refused}");
}

#[test]
fn a_topic_created_while_a_broker_dies_gets_all_its_leaders() {
    const PARTITIONS: usize = 12;
    let mut cluster = Cluster::start(&program!(), 3);
    let info = cluster.run(&["cluster", "info", "-o", "json"]).ok().json();
    let controller = info["controller"].as_u64();
    let other = |broker: &Broker| Some(broker.id()) != controller;
    let dying = cluster.brokers.iter().position(other).unwrap();

    // Nobody knows yet that it is gone, so it is to lead a third of the partitions.
    cluster.brokers[dying].kill();
    let count = PARTITIONS.to_string();
    cluster
        .run(&["topic", "create", "t", "-p", &count, "-r", "3"])
        .ok();
    for partition in 0..PARTITIONS {
        cluster.leader_but("t", partition, dying);
    }
    cluster.brokers[dying].restart();
    cluster.until_healthy();
}
