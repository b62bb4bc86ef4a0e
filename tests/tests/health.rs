//! `cluster health` names each thing that the loss of a broker does, and metadata that is on too few brokers,
//! and is healthy again when they are back.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use highwater_tests::{Broker, Cluster, program};

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
        let parts = wanted.each_ref().map(String::as_str);
        let said = cluster.brokers[0].unhealthy(&parts);
        // Only what has a replica there is named, and of the one without others its partition. The
        // other may have no leader for a moment.
        let leaderless = said.matches(&wanted[1]).count();
        if said.starts_with("degraded") && leaderless == 1 {
            break;
        }
        assert!(begun.elapsed() < LIMIT, "{leaderless} leaderless: {said}");
    }
    cluster.brokers[2].restart();
    cluster.until_healthy();
}

#[test]
fn metadata_on_two_of_three_brokers_is_named_and_passes_when_the_third_is_reached() {
    let dir = tempfile::tempdir().unwrap();
    let data = |number: u32| dir.path().join(number.to_string());
    let first = Broker::start(&program!(), &data(1), &[]);
    let join = ["--join", first.peer()];
    let second = Broker::start(&program!(), &data(2), &join);
    let until_healthy = || {
        let health = first.run(&["cluster", "health", "--wait", "60s"]);
        health.within(Duration::from_secs(90)).ok()
    };
    until_healthy();
    let astray = Broker::launch_astray(&program!(), &data(3), first.peer());
    let (one, two) = (first.id(), second.id());
    let wanted = format!("the metadata is on broker {one} and {two} only, and not yet on 3");
    let begun = Instant::now();
    loop {
        let health = first.run(&["cluster", "health"]).end();
        if health.text().contains(&wanted) {
            assert_eq!(health.code, Some(1), "{health}");
            break;
        }
        assert!(begun.elapsed() < LIMIT, "no {wanted:?} in {health}");
    }
    drop(astray);
    let _third = Broker::start(&program!(), &data(3), &join);
    let healthy = until_healthy();
    assert!(
        healthy.text().starts_with("healthy: 3 brokers"),
        "{healthy}"
    );
}
