//! Three brokers as busy as the machine allows: nobody is suspected of having failed, and no leader
//! changes.
//!
//! `HIGHWATER_LOAD_SECONDS` is how long, 10 without it; docs/testing.md has the long form.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking and shows its figures"
)]

use std::time::Duration;

use highwater_tests::storage::{disk_bytes, partition_dir};
use highwater_tests::{Broker, Cluster, Metrics, figure, long_form, program};

/// What bench needs beside the load: reading what is left, and verifying it.
const REST: Duration = Duration::from_secs(240);

/// The nine replicas take 9 GiB at most, however long it takes; half an hour writes a terabyte.
const RETENTION: u64 = 1 << 30;
const PARTITIONS: u32 = 3;

const COUNTERS: [&str; 2] = ["highwater_leaderships_total", "highwater_suspicions_total"];
const ORDINARY: u64 = 10;
const ROUNDS: usize = 4;

/// A counter, summed over all brokers.
fn all(cluster: &Cluster, counter: &str) -> f64 {
    let value = |broker: &Broker| Metrics::of(broker.http()).value(counter);
    cluster.brokers.iter().map(value).sum()
}

#[test]
fn no_leader_changes_and_nobody_is_suspected_under_full_load() {
    let seconds = long_form("HIGHWATER_LOAD_SECONDS", ORDINARY);
    let cluster = Cluster::start(&program!(), 3);
    let retention = format!("retention.bytes={RETENTION}");
    let create = ["topic", "create", "t", "-r", "3", "-c", &retention];
    let partitions = PARTITIONS.to_string();
    cluster
        .run(&[&create[..], &["-p", &partitions]].concat())
        .ok();
    cluster.until_healthy();
    // Where a machine denies a broker its processor for longer than its followers wait, they are right
    // to elect another: the first of some rounds without that counts. The long form is one.
    let rounds = if seconds > ORDINARY { 1 } else { ROUNDS };
    let mut changes = Vec::new();
    while changes.iter().all(|change| *change != [0.0; 2]) {
        assert!(changes.len() < rounds, "{COUNTERS:?}: {changes:?}");
        changes.push(round(&cluster, seconds));
        assert_disks_are_bounded(&cluster);
    }
}

/// No replica takes more than a tenth above what it may keep.
#[track_caller]
fn assert_disks_are_bounded(cluster: &Cluster) {
    let described = cluster.run(&["topic", "describe", "t", "-o", "json"]).ok();
    let topic = described.json()["id"].as_str().unwrap().to_owned();
    let replica = |broker, partition| disk_bytes(&partition_dir(broker, &topic, partition));
    let of = |broker| (0..PARTITIONS).map(move |partition| replica(broker, partition));
    let largest = cluster.brokers.iter().flat_map(of).max().unwrap();
    figure(&format!("the largest replica takes {largest} bytes"));
    assert!(largest <= RETENTION / 10 * 11, "{largest} bytes");
}

/// What the counters grow by under so many seconds of full load.
fn round(cluster: &Cluster, seconds: u64) -> [f64; 2] {
    let before = COUNTERS.map(|counter| all(cluster, counter));
    let duration = format!("{seconds}s");
    let bench = cluster
        .run(&[
            "bench",
            "e2e",
            "--topic",
            "t",
            "--duration",
            &duration,
            "-o",
            "json",
        ])
        .within(Duration::from_secs(2 * seconds) + REST)
        .ok()
        .json();
    assert_eq!(bench["errors"], 0, "{bench}");
    let after = COUNTERS.map(|counter| all(cluster, counter));
    figure(&format!(
        "{seconds} s of full load: {} records/s",
        bench["records_per_second"]
    ));
    [after[0] - before[0], after[1] - before[1]]
}
