//! Files of a stopped broker that are gone, with nothing left that says how far they went: it gets
//! back by itself what it had, whatever the others did meanwhile.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use highwater_tests::files::{frames, metadata_dir, partition_dir, segments, until_equal};
use highwater_tests::{Cluster, program};

const LIMIT: Duration = Duration::from_secs(60);
/// The broker that loses files.
const VICTIM: usize = 2;

/// Which replica of a broker.
type Replica = fn(&Path) -> PathBuf;

fn dir(cluster: &Cluster, broker: usize, replica: Replica) -> PathBuf {
    replica(cluster.brokers[broker].data_dir())
}

/// A topic with some records, in sync everywhere, and the last broker killed.
fn without_the_last() -> Cluster {
    let mut cluster = Cluster::start(&program!(), 3);
    let create = ["topic", "create", "t", "-p", "1", "-r", "3"];
    cluster.run(&create).ok();
    produce(&cluster, 100);
    cluster.until_healthy();
    cluster.brokers[VICTIM].kill();
    cluster
}

fn produce(cluster: &Cluster, lines: usize) {
    let input: String = (0..lines).map(|n| format!("{n:099}\n")).collect();
    cluster.run(&["produce", "t"]).stdin(input).ok();
}

/// The term of a log's last entry.
fn last_term(frames: &[Bytes]) -> u64 {
    let last = frames.last().expect("the log has an entry");
    u64::from_le_bytes(last[16..24].try_into().unwrap())
}

/// Has the others elect until the leader's log is of a later term than that of the one that is out.
fn elect(cluster: &mut Cluster, replica: Replica) {
    let before = last_term(&frames(&dir(cluster, VICTIM, replica)));
    let deadline = Instant::now() + LIMIT;
    for round in 0.. {
        for broker in 0..VICTIM {
            // A leader that stops hands over to the other, or is followed by it.
            cluster.brokers[broker].stop();
            cluster.brokers[broker].restart();
        }
        produce(cluster, 1);
        let setting = format!("retention.bytes={}", (1 << 30) + round);
        cluster.run(&["topic", "alter", "t", "-c", &setting]).ok();
        let logs = (0..VICTIM).map(|broker| frames(&dir(cluster, broker, replica)));
        if logs.map(|log| last_term(&log)).min() > Some(before) {
            return;
        }
        assert!(Instant::now() < deadline, "nobody was elected");
    }
}

/// Damages the newest file of the replica while it is out and the others elect; it has to come back
/// by itself with the log of the others, and has to open after a restart as well.
fn comes_back_over_an_election(replica: Replica, damage: impl FnOnce(&Path)) {
    let mut cluster = without_the_last();
    elect(&mut cluster, replica);
    damage(segments(&dir(&cluster, VICTIM, replica)).last().unwrap());
    cluster.brokers[VICTIM].restart();
    cluster.brokers[VICTIM].log_line("a damaged file was repaired from another replica");
    until_the_same(&cluster, replica);
    cluster.brokers[VICTIM].kill();
    cluster.brokers[VICTIM].restart();
    until_the_same(&cluster, replica);
}

/// Waits until everything is in sync and all logs hold the same frames.
#[track_caller]
fn until_the_same(cluster: &Cluster, replica: Replica) {
    produce(cluster, 1);
    cluster.until_healthy();
    let dirs = (0..cluster.brokers.len()).map(|broker| dir(cluster, broker, replica));
    until_equal(&dirs.collect::<Vec<_>>());
}

#[test]
fn a_partitions_newest_file_comes_back_after_an_election() {
    comes_back_over_an_election(partition_dir, |file| fs::remove_file(file).unwrap());
}

#[test]
fn the_newest_file_of_the_metadata_comes_back_after_an_election() {
    comes_back_over_an_election(metadata_dir, |file| fs::remove_file(file).unwrap());
}

#[test]
fn a_garbled_file_of_the_metadata_comes_back_after_an_election() {
    comes_back_over_an_election(metadata_dir, |file| {
        let len = fs::read(file).unwrap().len();
        fs::write(file, vec![0xa5; len]).unwrap();
    });
}

#[test]
fn of_two_replicas_one_gets_its_newest_file_back_from_the_other() {
    let damages: [fn(&Path); 3] = [
        |file| fs::remove_file(file).unwrap(),
        |file| {
            let len = fs::metadata(file).unwrap().len();
            let file = fs::File::options().write(true).open(file).unwrap();
            file.set_len(len / 8192 * 4096).unwrap();
        },
        |file| {
            let len = fs::read(file).unwrap().len();
            fs::write(file, vec![0xa5; len]).unwrap();
        },
    ];
    let mut cluster = Cluster::start(&program!(), 2);
    let create = ["topic", "create", "t", "-p", "1", "-r", "2"];
    cluster.run(&create).ok();
    for damage in damages {
        produce(&cluster, 100);
        cluster.until_healthy();
        // In turn the leader and the one that was not.
        let out = cluster.leader_of("t", 0);
        cluster.brokers[out].kill();
        damage(segments(&dir(&cluster, out, partition_dir)).last().unwrap());
        cluster.brokers[out].restart();
        cluster.brokers[out].log_line("a damaged file was repaired from another replica");
        until_the_same(&cluster, partition_dir);
    }
    let read = ["consume", "t", "--exit-at-end"];
    assert_eq!(cluster.run(&read).ok().text().lines().count(), 303);
}

/// So many lines are 2.5 MB: a first file has at most 1 MiB.
const SOME: usize = 25_000;

/// Produces and trims until the others have purged everything that the last broker has.
fn purge(cluster: &Cluster) {
    let log = |broker| frames(&dir(cluster, broker, partition_dir));
    let end = index(log(VICTIM).last().unwrap());
    let deadline = Instant::now() + LIMIT;
    while !(0..VICTIM).all(|broker| log(broker).first().is_some_and(|first| index(first) > end)) {
        assert!(Instant::now() < deadline, "the others purge nothing");
        produce(cluster, SOME);
        let trim = ["topic", "trim", "t", "-p", "all", "--to", "end", "-y"];
        cluster.run(&trim).ok();
    }
    produce(cluster, 10);
}

fn index(frame: &Bytes) -> u64 {
    u64::from_le_bytes(frame[24..32].try_into().unwrap())
}

/// Damages files of the last broker that nobody else has any more.
fn comes_back_behind_what_is_purged(elects: bool, damage: impl FnOnce(&[PathBuf])) {
    let mut cluster = without_the_last();
    cluster.brokers[VICTIM].restart();
    produce(&cluster, SOME);
    cluster.until_healthy();
    cluster.brokers[VICTIM].kill();
    let files = segments(&dir(&cluster, VICTIM, partition_dir));
    assert!(files.len() >= 2, "{files:?}");
    if elects {
        elect(&mut cluster, partition_dir);
    }
    purge(&cluster);
    damage(&files);
    cluster.brokers[VICTIM].restart();
    cluster.brokers[VICTIM].log_line("its log begins again");
    until_it_ends_the_same(&cluster);
    cluster.brokers[VICTIM].kill();
    cluster.brokers[VICTIM].restart();
    until_it_ends_the_same(&cluster);
    // It acknowledges: with one of the others it is the majority.
    cluster.brokers[0].stop();
    produce(&cluster, 10);
}

/// Whether the frames that both logs reach back to are the same: each is purged by whole files.
fn ends_the_same(one: &[Bytes], other: &[Bytes]) -> bool {
    let both = one.len().min(other.len());
    both > 0 && one[one.len() - both..] == other[other.len() - both..]
}

/// Waits until everything is in sync, and the last broker has the last frames of the others.
#[track_caller]
fn until_it_ends_the_same(cluster: &Cluster) {
    produce(cluster, 1);
    cluster.until_healthy();
    let deadline = Instant::now() + LIMIT;
    loop {
        let mut logs = (0..=VICTIM).map(|broker| frames(&dir(cluster, broker, partition_dir)));
        let (one, other, back) = (logs.next(), logs.next(), logs.next());
        let (one, other, back) = (one.unwrap(), other.unwrap(), back.unwrap());
        if ends_the_same(&one, &back) && ends_the_same(&other, &back) {
            return;
        }
        assert!(Instant::now() < deadline, "{} frames differ", back.len());
        std::thread::yield_now();
    }
}

#[test]
fn a_replica_comes_back_whose_first_file_is_lost_and_purged_everywhere() {
    comes_back_behind_what_is_purged(false, |files| fs::remove_file(&files[0]).unwrap());
}

#[test]
fn a_replica_comes_back_whose_garbled_file_is_purged_everywhere_after_an_election() {
    comes_back_behind_what_is_purged(true, |files| {
        fs::write(&files[1], vec![0xa5; 1 << 21]).unwrap();
    });
}

#[test]
fn a_replica_comes_back_that_lost_all_files_which_are_purged_everywhere() {
    comes_back_behind_what_is_purged(false, |files| {
        files.iter().for_each(|file| fs::remove_file(file).unwrap());
    });
}
