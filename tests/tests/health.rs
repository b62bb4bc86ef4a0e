//! `cluster health` names each thing that the loss of a broker does, and is healthy again when it is back.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use highwater_tests::{Cluster, program};

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn a_lost_broker_shows_as_such_as_replicas_behind_and_as_partitions_without_a_leader() {
    let mut cluster = Cluster::start(&program!(), 3);
    for create in [
        ["topic", "create", "alone", "-p", "3", "-r", "1"],
        ["topic", "create", "shared", "-p", "1", "-r", "3"],
    ] {
        cluster.run(&create).ok();
    }
    cluster.until_healthy();
    let lost = cluster.brokers[2].listen().to_owned();
    cluster.brokers[2].kill();
    cluster.brokers[0]
        .run(&["produce", "shared"])
        .stdin("x\n")
        .ok();
    let wanted = [
        format!("the broker at {lost} does not answer"),
        "the partition has no leader".to_owned(),
        "the replica is not in sync".to_owned(),
    ];
    let begun = Instant::now();
    loop {
        let health = cluster.brokers[0].run(&["cluster", "health"]).end();
        let health = health.exited(1);
        let said = health.text();
        if said.starts_with("degraded") && wanted.iter().all(|part| said.contains(part)) {
            // Only what has a replica there is named, and of the one without others its partition.
            let leaderless = said.matches(&wanted[1]).count();
            assert_eq!(leaderless, 1, "{said}");
            break;
        }
        assert!(begun.elapsed() < LIMIT, "not all of {wanted:?} in {said}");
    }
    cluster.brokers[2].restart();
    cluster.until_healthy();
}
