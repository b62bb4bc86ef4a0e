//! A broker that is drained or stopped hands over what it leads: who produces and who consumes sees no
//! error, and hardly a pause.
//!
//! `HIGHWATER_HANDOVERS` is how often, 3 without it; docs/testing.md has the long form.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking and shows its figures"
)]

use std::ops::Range;
use std::time::{Duration, Instant};

use highwater_tests::load::Outcome;
use highwater_tests::{Cluster, Load, Unfinished, figure, long_form, may_take, program};
use rustix::process::Signal;
use serde_json::Value;

const RATE: u32 = 2_000;
/// No acknowledgement and no record is longer in coming.
const LONGEST: Duration = may_take(Duration::from_millis(300), Duration::from_secs(5));
/// Neither is the one of a few: what a machine does beside can only add to a silence. Without a
/// hand-over the others first have to notice that nobody leads, which takes longer than this.
const SHORTEST: Duration = may_take(Duration::from_millis(300), Duration::from_millis(400));
const FEW: u64 = 3;
const LIMIT: Duration = Duration::from_secs(60);

fn rounds() -> u64 {
    long_form("HIGHWATER_HANDOVERS", FEW)
}

fn three_with_topic(partitions: &str) -> Cluster {
    three_with_replicas(partitions, "3")
}

fn three_with_replicas(partitions: &str, replicas: &str) -> Cluster {
    let cluster = Cluster::start(&program!(), 3);
    cluster
        .run(&["topic", "create", "t", "-p", partitions, "-r", replicas])
        .ok();
    cluster.until_healthy();
    cluster
}

fn drain(cluster: &Cluster, broker: usize) -> Value {
    let id = cluster.brokers[broker].id().to_string();
    let run = cluster.run(&["cluster", "drain", &id, "-o", "json"]);
    run.ok().json()
}

/// Waits until the broker that is asked knows that this one is in `state`.
#[track_caller]
fn until_state(cluster: &Cluster, asked: usize, broker: usize, state: &str) {
    let id = cluster.brokers[broker].id();
    let deadline = Instant::now() + LIMIT;
    loop {
        let brokers = cluster.brokers[asked].run(&["cluster", "brokers", "-o", "json"]);
        let brokers = brokers.ok().json();
        let mut rows = brokers.as_array().unwrap().iter();
        if rows.any(|row| row["id"].as_u64() == Some(id) && row["state"] == state) {
            return;
        }
        assert!(Instant::now() < deadline, "not {state}: {brokers}");
    }
}

#[test]
fn a_drained_broker_hands_over_without_an_error_or_a_pause_for_its_clients() {
    let cluster = three_with_topic("1");
    let load = Load::start_followed(&cluster.addresses(), "t", RATE);
    is_drained_again_and_again("drain", &cluster, load);
}

#[test]
fn of_two_replicas_a_drained_broker_hands_over_to_the_other() {
    let cluster = three_with_replicas("1", "2");
    let load = Load::start_followed(&cluster.addresses(), "t", RATE);
    is_drained_again_and_again("drain of one of two", &cluster, load);
}

#[test]
fn with_one_of_three_brokers_gone_a_drained_one_hands_over_to_the_last() {
    let mut cluster = three_with_topic("1");
    let mut load = Load::start_followed(&cluster.addresses(), "t", RATE);
    load.until_acknowledged(u64::from(RATE), Instant::now());
    let gone = (cluster.leader_of("t", 0) + 1) % 3;
    cluster.brokers[gone].kill();
    is_drained_again_and_again("drain with one gone", &cluster, load);
}

#[test]
fn with_one_of_three_brokers_frozen_a_drained_one_hands_over_to_the_last() {
    let cluster = three_with_topic("1");
    let leader = cluster.leader_of("t", 0);
    let frozen = (leader + 1) % 3;
    let asked = [leader, (leader + 2) % 3].map(|broker| cluster.brokers[broker].listen());
    let mut load = Load::start_followed(&asked.join(","), "t", RATE);
    load.until_acknowledged(u64::from(RATE), Instant::now());
    cluster.brokers[frozen].signal(Signal::STOP);
    let id = cluster.brokers[leader].id().to_string();
    let began = Instant::now();
    let said = cluster.brokers[leader].run(&["cluster", "drain", &id, "-o", "json"]);
    assert_eq!(said.ok().json()["leaderships"], 0);
    load.until_acknowledged(u64::from(RATE), began);
    cluster.brokers[frozen].signal(Signal::CONT);
    assert_eq!(load.end().errors, Vec::<String>::new());
}

/// Drains the leader, sees that another leads and takes the load, and cancels that.
#[track_caller]
fn is_drained_again_and_again(what: &str, cluster: &Cluster, mut load: Load) {
    load.until_acknowledged(u64::from(RATE), Instant::now());
    let mut drained = Vec::new();
    for _ in 0..rounds() {
        let leader = cluster.leader_of("t", 0);
        let began = Instant::now();
        let said = drain(cluster, leader);
        assert_eq!(
            (&said["state"], &said["leaderships"]),
            (&"draining".into(), &0.into())
        );
        drained.push(load.until_acknowledged(u64::from(RATE), began));
        cluster.leader_but("t", 0, leader);
        let id = cluster.brokers[leader].id().to_string();
        cluster.run(&["cluster", "drain", &id, "--cancel"]).ok();
    }
    assert_short(what, load.end(), &drained);
}

/// Nothing failed, and no hand-over held up what is acknowledged or what is seen.
#[track_caller]
fn assert_short(what: &str, outcome: Outcome, handed_over: &[Range<Instant>]) {
    assert_eq!(outcome.errors, Vec::<String>::new());
    let unacknowledged: Vec<_> = handed_over.iter().map(|at| outcome.silence(at)).collect();
    let unseen: Vec<_> = handed_over.iter().map(|at| outcome.unseen(at)).collect();
    figure(&format!(
        "{what}: {unacknowledged:.0?} without an acknowledgement, {unseen:.0?} without a record"
    ));
    for silences in [unacknowledged, unseen] {
        assert!(silences.iter().max() < Some(&LONGEST), "{silences:?}");
        assert!(silences.iter().min() < Some(&SHORTEST), "{silences:?}");
    }
}

#[test]
fn a_stopped_broker_hands_over_without_an_error_or_a_pause_for_its_clients() {
    let mut cluster = three_with_topic("1");
    let mut load = Load::start_followed(&cluster.addresses(), "t", RATE);
    load.until_acknowledged(u64::from(RATE), Instant::now());
    let mut stopped = Vec::new();
    for _ in 0..rounds() {
        let leader = cluster.leader_of("t", 0);
        let began = Instant::now();
        assert!(cluster.brokers[leader].stop().success());
        stopped.push(load.until_acknowledged(u64::from(RATE), began));
        cluster.brokers[leader].restart();
        cluster.until_healthy();
    }
    assert_short("SIGTERM", load.end(), &stopped);
}

#[test]
fn of_two_replicas_a_stopped_broker_hands_over_to_the_other() {
    let mut cluster = three_with_replicas("1", "2");
    let mut load = Load::start_followed(&cluster.addresses(), "t", RATE);
    load.until_acknowledged(u64::from(RATE), Instant::now());
    let mut handed_over = false;
    // On a machine that stands still a stop may give up waiting.
    for _ in 0..5 {
        let leader = cluster.leader_of("t", 0);
        assert!(cluster.brokers[leader].stop().success());
        let log = cluster.brokers[leader].log();
        handed_over |= log.contains("others lead what it led");
        cluster.brokers[leader].restart();
        load.until_acknowledged(u64::from(RATE), Instant::now());
        if handed_over {
            break;
        }
        cluster.until_healthy();
    }
    assert_eq!(load.end().errors, Vec::<String>::new());
    assert!(handed_over, "no stop did");
}

#[test]
fn a_drained_broker_leads_nothing_until_that_is_cancelled_or_it_restarts() {
    let mut cluster = three_with_topic("12");
    let drained = cluster.leader_of("t", 0);
    let id = cluster.brokers[drained].id();
    let other = (drained + 1) % 3;
    drain(&cluster, drained);
    for partition in 0..12 {
        cluster.leader_but("t", partition, drained);
    }
    until_state(&cluster, other, drained, "draining");
    until_state(&cluster, drained, drained, "draining");
    cluster.until_healthy();
    let health = cluster.brokers[other].run(&["cluster", "health", "-o", "json"]);
    assert_eq!(health.ok().json()["draining"], serde_json::json!([id]));

    cluster
        .run(&["topic", "create", "new", "-p", "6", "-r", "3"])
        .ok();
    cluster.until_healthy();
    for partition in 0..6 {
        cluster.leader_but("new", partition, drained);
    }

    // Its replicas still count: with another broker gone, the third leads with its help.
    cluster.brokers[other].kill();
    let deadline = Instant::now() + LIMIT;
    for partition in 0..12 {
        while cluster.leader_but("t", partition, other) == drained {
            assert!(Instant::now() < deadline, "it leads t/{partition}");
        }
    }
    cluster.run(&["produce", "t"]).stdin("one\n").ok();
    cluster.brokers[other].restart();
    cluster.until_healthy();

    let text = id.to_string();
    let said = cluster.run(&["cluster", "drain", &text, "--cancel", "-o", "json"]);
    assert_eq!(said.ok().json()["state"], "up");
    until_state(&cluster, drained, drained, "up");

    drain(&cluster, drained);
    cluster.brokers[drained].kill();
    cluster.brokers[drained].restart();
    cluster.until_healthy();
    until_state(&cluster, drained, drained, "up");
}

#[test]
fn what_nobody_else_can_lead_stays_and_a_broker_that_is_not_there_is_refused() {
    let cluster = Cluster::start(&program!(), 1);
    cluster.run(&["topic", "create", "t", "-p", "2"]).ok();
    let said = drain(&cluster, 0);
    assert_eq!(
        (&said["leaderships"], &said["unmovable"]),
        (&0.into(), &3.into())
    );
    cluster.run(&["produce", "t"]).stdin("one\n").ok();
    let refused = cluster.run(&["cluster", "drain", "9"]).end();
    assert!(
        refused
            .says("INVALID_REQUEST")
            .stderr
            .contains("no broker 9")
    );
}

#[test]
fn a_drain_that_is_waited_for_does_not_undo_its_cancel() {
    let cluster = Cluster::start(&program!(), 1);
    let mut unfinished = Unfinished::before(cluster.brokers[0].listen());
    let drain = ["cluster", "drain", "1", "-o", "json", "--wait", "10m"];
    let at = ["--brokers", unfinished.address()];
    let waiting = program!().run(drain.iter().chain(&at)).start();
    unfinished.until_looked_at();
    until_state(&cluster, 0, 0, "draining");

    let cancel = cluster.run(&["cluster", "drain", "1", "--cancel", "-o", "json"]);
    assert_eq!(cancel.ok().json()["state"], "up");
    let ended = waiting.end().exited(4);
    assert_eq!(ended.json()["state"], "up");
    assert!(ended.stderr.contains("it was cancelled"), "{ended}");
    // Nobody is left who could drain it again.
    until_state(&cluster, 0, 0, "up");
}
