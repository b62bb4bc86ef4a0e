//! The state before the log of a stopped broker's replica rots or is gone, while the log is whole:
//! the replica comes back by itself with what it saved elsewhere or with another replica's state, and
//! alone it says what to do.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use highwater_proto::pb::{peer, v1};
use highwater_tests::api::soon;
use highwater_tests::files::{frames, metadata_dir, partition_dir};
use highwater_tests::{Api, Broker, Cluster, Program, program};
use prost::Message;

const LIMIT: Duration = Duration::from_secs(60);
/// The broker that loses the state.
const VICTIM: usize = 2;
/// So many lines are 2.5 MB: a first file has at most 1 MiB.
const SOME: usize = 25_000;
/// The bytes before the payload of a small file.
const HEADER: usize = 24;
/// The metadata is compacted when its log has more than 1,024 entries.
const CHANGES: u64 = 100;

fn snapshot(dir: &Path) -> PathBuf {
    dir.join("snapshot")
}

/// The entry that the state before a replica's log stands after.
fn floor(dir: &Path) -> Option<u64> {
    let file = fs::read(snapshot(dir)).ok()?;
    let state = peer::SavedState::decode(&file[HEADER..]).unwrap();
    Some(state.last_applied?.index)
}

fn index(frame: &Bytes) -> u64 {
    u64::from_le_bytes(frame[24..32].try_into().unwrap())
}

/// The states that the replica saved, by the entries that they stand after.
fn saved(dir: &Path) -> Vec<(u64, PathBuf)> {
    let files = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let parse = |path: PathBuf| {
        let name = path.file_name()?.to_str()?;
        let index = name.strip_prefix("state-")?.parse().ok()?;
        Some((index, path))
    };
    files.filter_map(parse).collect()
}

fn flip(dir: &Path) {
    let mut bytes = fs::read(snapshot(dir)).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 0x10;
    fs::write(snapshot(dir), bytes).unwrap();
}

/// Nothing is left that the replica could restore by itself.
fn remove(dir: &Path) {
    fs::remove_file(snapshot(dir)).unwrap();
    for (_, state) in saved(dir) {
        fs::remove_file(state).unwrap();
    }
}

fn lines(count: usize) -> String {
    (0..count).map(|n| format!("{n:099}\n")).collect()
}

fn produce(cluster: &Cluster, count: usize) {
    cluster.run(&["produce", "t"]).stdin(lines(count)).ok();
}

const TRIM: [&str; 7] = ["topic", "trim", "t", "-p", "all", "--to", "end"];

/// Produces and trims until `done`.
#[track_caller]
fn purge(cluster: &Cluster, done: impl Fn() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !done() {
        assert!(Instant::now() < deadline, "nothing is purged");
        produce(cluster, SOME);
        cluster.run(&[&TRIM[..], &["-y"]].concat()).ok();
    }
}

fn place(cluster: &Cluster, broker: usize, replica: fn(&Path) -> PathBuf) -> PathBuf {
    replica(cluster.brokers[broker].data_dir())
}

/// Whether the states of the others stand where that of the last broker does, or later.
fn others_are_as_far(cluster: &Cluster, replica: fn(&Path) -> PathBuf) -> bool {
    let floor = |broker| floor(&place(cluster, broker, replica));
    (0..VICTIM).all(|broker| floor(broker) >= floor(VICTIM))
}

/// Waits until all is in sync, and the last frames of all three logs are the same: each is purged by
/// whole files.
#[track_caller]
fn until_it_ends_the_same(cluster: &Cluster, replica: fn(&Path) -> PathBuf) {
    produce(cluster, 1);
    cluster.until_healthy();
    let deadline = Instant::now() + LIMIT;
    loop {
        let log = |broker| frames(&place(cluster, broker, replica));
        let back = log(VICTIM);
        let same = |other: Vec<Bytes>| {
            let both = other.len().min(back.len());
            both > 0 && other[other.len() - both..] == back[back.len() - both..]
        };
        if (0..VICTIM).all(|broker| same(log(broker))) {
            return;
        }
        assert!(Instant::now() < deadline, "{} frames differ", back.len());
        std::thread::yield_now();
    }
}

const RESTORED: &str = "the state before a log was lost; the replica goes on with";

/// The last broker comes back by itself, opens again after a restart, and acknowledges: with one of
/// the others it is the majority.
#[track_caller]
fn assert_comes_back(cluster: &mut Cluster, replica: fn(&Path) -> PathBuf) {
    cluster.brokers[VICTIM].restart();
    cluster.brokers[VICTIM].log_line(RESTORED);
    until_it_ends_the_same(cluster, replica);
    cluster.brokers[VICTIM].kill();
    cluster.brokers[VICTIM].restart();
    until_it_ends_the_same(cluster, replica);
    cluster.brokers[0].stop();
    produce(cluster, 10);
    cluster.brokers[0].restart();
    cluster.until_healthy();
}

fn a_partition_comes_back(damage: fn(&Path)) {
    let mut cluster = Cluster::start(&program!(), 3);
    let create = ["topic", "create", "t", "-p", "1", "-r", "3"];
    cluster.run(&create).ok();
    let dir = place(&cluster, VICTIM, partition_dir);
    // A file goes once it is noted that it may.
    purge(&cluster, || {
        frames(&dir).first().is_some_and(|first| index(first) > 0)
    });
    produce(&cluster, SOME);
    cluster.until_healthy();
    cluster.brokers[VICTIM].kill();
    purge(&cluster, || others_are_as_far(&cluster, partition_dir));
    damage(&dir);
    assert_comes_back(&mut cluster, partition_dir);
}

#[test]
fn a_partition_comes_back_whose_state_is_gone() {
    a_partition_comes_back(remove);
}

#[test]
fn a_partition_comes_back_whose_state_rots() {
    a_partition_comes_back(flip);
}

/// Changes settings again and again, until `done`.
async fn change(api: &Api, done: impl Fn() -> bool) {
    let changing = async {
        let mut changes = 1000..;
        while !done() {
            let alter = |ms: u64| {
                let request = v1::AlterTopicRequest {
                    name: "t".to_owned(),
                    set: [("segment.ms".to_owned(), ms.to_string())].into(),
                    unset: Vec::new(),
                };
                async move {
                    while let Err(refusal) = api.alter(request.clone()).await {
                        let again = refusal.retriable || refusal.reason == "OUTCOME_UNKNOWN";
                        assert!(again, "{refusal:?}");
                    }
                }
            };
            let some = changes.by_ref().take(CHANGES as usize);
            futures_util::future::join_all(some.map(alter)).await;
        }
    };
    soon("the metadata is purged", changing).await;
}

const COMPACTED: &str = "the log of the metadata was purged";

#[tokio::test]
async fn the_metadata_comes_back_whose_state_rots_or_is_gone() {
    let mut cluster = Cluster::start(&program!(), 3);
    let create = ["topic", "create", "t", "-p", "1", "-r", "3"];
    cluster.run(&create).ok();
    let api = Api::connect(cluster.brokers[0].listen()).await;
    change(&api, || cluster.brokers[VICTIM].log().contains(COMPACTED)).await;
    let dir = place(&cluster, VICTIM, metadata_dir);
    for damage in [flip, remove] {
        cluster.until_healthy();
        cluster.brokers[VICTIM].kill();
        let api = Api::connect(cluster.brokers[0].listen()).await;
        change(&api, || others_are_as_far(&cluster, metadata_dir)).await;
        damage(&dir);
        assert_comes_back(&mut cluster, metadata_dir);
    }
}

/// A broker alone with a topic whose log is purged at its front.
fn alone(dir: &Path) -> Broker {
    let broker = Broker::start(&program!(), dir, &[]);
    broker.run(&["topic", "create", "t", "-p", "1"]).ok();
    let log = partition_dir(dir);
    let deadline = Instant::now() + LIMIT;
    while frames(&log).first().is_none_or(|first| index(first) == 0) {
        assert!(Instant::now() < deadline, "nothing is purged");
        broker.run(&["produce", "t"]).stdin(lines(SOME)).ok();
        broker.run(&[&TRIM[..], &["-y"]].concat()).ok();
    }
    broker
}

#[test]
fn a_state_saved_further_up_in_the_log_is_enough_for_a_broker_alone() {
    let place = tempfile::tempdir().unwrap();
    let mut broker = alone(place.path());
    let dir = partition_dir(place.path());
    // Nothing of this is ever purged.
    let trimmed = index(frames(&dir).last().unwrap());
    broker.run(&["produce", "t"]).stdin(lines(SOME)).ok();
    let deadline = Instant::now() + LIMIT;
    while saved(&dir).iter().all(|(after, _)| *after <= trimmed) {
        assert!(Instant::now() < deadline, "no state was saved");
        broker.run(&["produce", "t"]).stdin(lines(SOME)).ok();
    }
    let read = ["consume", "t", "--exit-at-end"];
    let before = broker.run(&read).ok();
    broker.stop();
    flip(&dir);
    broker.restart();
    broker.log_line("goes on with one that it saved itself");
    let after = broker.run(&read).ok();
    assert_eq!(after.text(), before.text());
}

#[test]
fn a_broker_alone_says_what_to_do_about_a_lost_state_and_the_rest_goes_on() {
    let place = tempfile::tempdir().unwrap();
    let mut broker = alone(place.path());
    let dir = partition_dir(place.path());
    broker.run(&["topic", "create", "other", "-p", "1"]).ok();
    broker.run(&["produce", "other"]).stdin("y\n").ok();
    broker.stop();
    let kept = fs::read(snapshot(&dir)).unwrap();
    remove(&dir);
    broker.restart();
    let line = broker.log_line("there is no other replica to get one from");
    assert!(line.contains("put the file snapshot back"), "{line}");
    broker.unhealthy(&["damaged"]);
    let read = ["consume", "t", "--exit-at-end", "--timeout", "1s"];
    assert_eq!(broker.run(&read).end().exited(5).text(), "");
    let other = broker.run(&["consume", "other", "--exit-at-end"]).ok();
    assert_eq!(other.text(), "y\n");

    broker.stop();
    fs::write(snapshot(&dir), kept).unwrap();
    broker.restart();
    broker.run(&["produce", "t"]).stdin("z\n").ok();
}

/// What a broker says that does not start.
fn refused(program: &Program, dir: &Path) -> String {
    let dir = dir.to_str().unwrap();
    let serve = ["serve", "--data-dir", dir, "--listen", "127.0.0.1:0"];
    program.run(serve).end().exited(1).says("START").stderr
}

#[tokio::test]
async fn a_broker_alone_that_lost_the_state_of_the_metadata_says_what_to_do() {
    let place = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(&program!(), place.path(), &[]);
    broker.run(&["topic", "create", "t", "-p", "1"]).ok();
    let api = Api::connect(broker.listen()).await;
    change(&api, || broker.log().contains(COMPACTED)).await;
    broker.stop();
    let dir = metadata_dir(place.path());
    let kept = fs::read(snapshot(&dir)).unwrap();
    flip(&dir);
    for (_, state) in saved(&dir) {
        fs::remove_file(state).unwrap();
    }
    let refused = refused(&program!(), place.path());
    for part in ["the metadata of this broker", "snapshot is damaged", "put"] {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    fs::write(snapshot(&dir), kept).unwrap();
    broker.restart();
    broker.run(&["topic", "list"]).ok();
}
