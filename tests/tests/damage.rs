//! Files of a stopped broker that rot: with other replicas it gets back exactly what it lost, by
//! itself; alone it says what is damaged and serves nothing of it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crc_fast::{CrcAlgorithm, checksum};
use highwater_tests::files::{
    FIRST_FRAME, frames, metadata_dir, partition_dir, segments, until_equal,
};
use highwater_tests::{Broker, Cluster, Metrics, program};
use rustix::process::Signal;

/// So many lines of 1,000 bytes fill a first file of 1 MiB, a second of 2 MiB and some of a third.
const LINES: usize = 3_500;

/// A topic of three replicas with several segment files, the last broker stopped.
fn filled() -> Cluster {
    let mut cluster = Cluster::start(&program!(), 3);
    cluster
        .run(&["topic", "create", "t", "-p", "1", "-r", "3"])
        .ok();
    produce(&cluster, LINES);
    cluster.until_healthy();
    cluster.brokers[2].stop();
    let dir = dir(&cluster, 2);
    assert!(segments(&dir).len() >= 3, "{:?}", segments(&dir));
    cluster
}

fn produce(cluster: &Cluster, lines: usize) {
    let input: String = (0..lines).map(|n| format!("{n:0999}\n")).collect();
    cluster.run(&["produce", "t"]).stdin(input).ok();
}

fn dir(cluster: &Cluster, broker: usize) -> PathBuf {
    partition_dir(cluster.brokers[broker].data_dir())
}

fn change(file: &Path, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let before = fs::read(file).unwrap();
    let mut bytes = before.clone();
    change(&mut bytes);
    fs::write(file, &bytes).unwrap();
    bytes
}

/// Starts the damaged broker; it has to repair the file, keep the damaged one, and be in sync.
#[track_caller]
fn assert_heals(cluster: &mut Cluster, file: &Path, damaged: &[u8]) {
    cluster.brokers[2].restart();
    cluster.brokers[2].log_line("a damaged file was repaired from another replica");
    cluster.until_healthy();
    let dirs: Vec<_> = (0..3).map(|broker| dir(cluster, broker)).collect();
    until_equal(&dirs);
    let kept = dirs[2].join("quarantine").join(file.file_name().unwrap());
    assert_eq!(fs::read(kept).unwrap(), damaged, "the damaged file is kept");
    let read = cluster.run(&["consume", "t", "--exit-at-end"]).ok();
    assert_eq!(read.text().lines().count(), LINES);
}

#[test]
fn a_garbled_full_file_is_repaired_from_the_other_replicas() {
    let mut cluster = filled();
    let file = segments(&dir(&cluster, 2))[0].clone();
    let damaged = change(&file, |bytes| {
        for byte in &mut bytes[300_000..500_000] {
            *byte = byte.wrapping_mul(31).wrapping_add(7);
        }
    });
    assert_heals(&mut cluster, &file, &damaged);
    // It serves what it got back.
    cluster.brokers[0].stop();
    let read = cluster.run(&["consume", "t", "--exit-at-end"]).ok();
    assert_eq!(read.text().lines().count(), LINES);
}

#[test]
fn a_full_file_that_was_cut_is_repaired_from_the_other_replicas() {
    let mut cluster = filled();
    let file = segments(&dir(&cluster, 2))[1].clone();
    let damaged = change(&file, |bytes| bytes.truncate(100_000));
    assert_heals(&mut cluster, &file, &damaged);
}

#[test]
fn a_newest_file_that_was_cut_is_repaired_from_the_other_replicas() {
    let mut cluster = filled();
    let file = segments(&dir(&cluster, 2)).pop().unwrap();
    let damaged = change(&file, |bytes| {
        // What a broker that is killed under load has not written: how far the file is durable.
        bytes[2048..2064].fill(0);
        bytes.truncate(100_000);
    });
    assert_heals(&mut cluster, &file, &damaged);
}

#[test]
fn a_zeroed_page_in_the_newest_file_is_repaired_from_the_other_replicas() {
    let mut cluster = filled();
    let file = segments(&dir(&cluster, 2)).pop().unwrap();
    let damaged = change(&file, |bytes| bytes[FIRST_FRAME..2 * FIRST_FRAME].fill(0));
    assert_heals(&mut cluster, &file, &damaged);
}

#[test]
fn damaged_metadata_is_repaired_from_the_other_brokers() {
    let mut cluster = filled();
    let dir = metadata_dir(cluster.brokers[2].data_dir());
    let file = segments(&dir).pop().unwrap();
    change(&file, |bytes| bytes[FIRST_FRAME + 16] ^= 0x20);
    cluster.brokers[2].restart();
    cluster.brokers[2].log_line("a damaged file was repaired from another replica");
    cluster.until_healthy();
}

#[test]
fn damage_without_other_replicas_is_reported_and_the_rest_goes_on() {
    let place = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(&program!(), place.path(), &[]);
    broker.run(&["topic", "create", "t", "-p", "1"]).ok();
    let input = "x\n".repeat(1_000);
    broker.run(&["produce", "t"]).stdin(input).ok();
    let partition = partition_dir(place.path());
    broker.run(&["topic", "create", "other", "-p", "1"]).ok();
    broker.run(&["produce", "other"]).stdin("y\n").ok();
    broker.stop();
    let file = segments(&partition).pop().unwrap();
    let damaged = change(&file, |bytes| bytes[FIRST_FRAME + 200] ^= 1);

    broker.restart();
    broker.log_line("there is no other replica to repair it from");
    broker.unhealthy(&["damaged"]);
    let read = ["consume", "t", "--exit-at-end", "--timeout", "1s"];
    let read = broker.run(&read).end().exited(5);
    assert_eq!(read.text(), "", "nothing is served");
    let other = broker.run(&["consume", "other", "--exit-at-end"]).ok();
    assert_eq!(other.text(), "y\n");
    assert_eq!(fs::read(&file).unwrap(), damaged, "nothing was changed");
    let metrics = Metrics::of(broker.http());
    assert_eq!(metrics.value("highwater_replicas_damaged"), 1.0);
}

fn crc(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(checksum(CrcAlgorithm::Crc32IsoHdlc, bytes))
        .unwrap()
        .to_le_bytes()
}

/// Where the frames of a file begin, and where the next one would.
fn places(bytes: &[u8]) -> Vec<usize> {
    let mut places = vec![FIRST_FRAME];
    loop {
        let at = *places.last().unwrap();
        let header = &bytes[at..at + 88];
        if !header.starts_with(b"HW\x01") {
            break;
        }
        let body = u32::from_le_bytes(header[12..16].try_into().unwrap()) as usize;
        places.push((at + 88 + body).next_multiple_of(8));
    }
    places
}

/// Whether the last frame of a file is a batch.
fn ends_with_a_batch(bytes: &[u8]) -> bool {
    let places = places(bytes);
    places.len() > 2 && bytes[places[places.len() - 2] + 3] == 1
}

/// Gives the last frame of a file, a batch, another append time and everything that proves it whole: a
/// history that is well-formed and not that of the group.
fn forge_last_frame(bytes: &mut [u8]) {
    let places = places(bytes);
    let [before, at] = places[places.len() - 3..places.len() - 1] else {
        panic!("the file has two frames at least");
    };
    let previous = bytes[before + 64..before + 68].to_vec();
    let frame = &mut bytes[at..];
    assert_eq!(frame[3], 1, "the last frame is a batch");
    frame[40] ^= 1;
    frame[64..68].fill(0);
    let chained = [&previous[..], &frame[..72], &frame[88 + 17..88 + 21]].concat();
    let chain = crc(&chained);
    frame[64..68].copy_from_slice(&chain);
    frame[76..80].fill(0);
    let covered = crc(&frame[..88 + 21]);
    frame[76..80].copy_from_slice(&covered);
}

/// Three replicas; the last broker is stopped and the history in this file of it is forged. With
/// what the file had been.
fn forged() -> (Cluster, PathBuf, Vec<u8>) {
    let mut cluster = Cluster::start(&program!(), 3);
    cluster
        .run(&["topic", "create", "t", "-p", "1", "-r", "3"])
        .ok();
    let deadline = Instant::now() + Duration::from_secs(60);
    let (file, real) = loop {
        for _ in 0..3 {
            produce(&cluster, 1);
        }
        cluster.until_healthy();
        // A follower: a leader's last frame would be followed by one of the next leader.
        let leader = cluster.leader_of("t", 0);
        cluster.brokers.swap(2, (leader + 1) % 3);
        cluster.brokers[2].stop();
        let file = segments(&dir(&cluster, 2)).pop().unwrap();
        let real = fs::read(&file).unwrap();
        if ends_with_a_batch(&real) {
            break (file, real);
        }
        assert!(Instant::now() < deadline, "no batch comes last");
        cluster.brokers[2].restart();
    };
    change(&file, |bytes| forge_last_frame(bytes));
    (cluster, file, real)
}

#[track_caller]
fn assert_diverged(cluster: &mut Cluster) {
    let line = cluster.brokers[2].log_line("a replica stays out of its group");
    assert!(
        line.contains("kind=Diverged") && line.matches("chain").count() == 2,
        "{line}"
    );
    let before = frames(&dir(cluster, 2));
    cluster.unhealthy(&["the replica is diverged"]);
    let metrics = Metrics::of(cluster.brokers[2].http());
    assert_eq!(metrics.value("highwater_replicas_diverged"), 1.0);
    produce(cluster, 1);
    assert_eq!(
        frames(&dir(cluster, 2)),
        before,
        "it takes nothing and cleans nothing up"
    );
}

#[test]
fn a_replica_at_rest_whose_history_differs_is_found_and_stops() {
    let (mut cluster, file, real) = forged();
    cluster.brokers[2].restart();
    assert_diverged(&mut cluster);

    // A restart does not let it in again until histories are compared the next time.
    cluster.brokers[2].kill();
    cluster.brokers[2].restart();
    assert_diverged(&mut cluster);
    let log = cluster.brokers[2].log();
    assert!(
        !log.contains("two replicas disagree"),
        "it was open:\n{log}"
    );
    // With its real history it is.
    cluster.brokers[2].stop();
    fs::write(file, real).unwrap();
    cluster.brokers[2].restart();
    cluster.until_healthy();
}

#[test]
fn a_replica_whose_history_differs_takes_no_entry_of_the_leader() {
    let (mut cluster, ..) = forged();
    cluster.brokers[2].restart();
    produce(&cluster, 1);
    assert_diverged(&mut cluster);
}

#[test]
fn what_a_killed_broker_had_not_synced_is_cut_off_and_all_that_it_acknowledged_is_there() {
    let home = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(&program!(), home.path(), &[]);
    broker.run(&["topic", "create", "t", "-p", "1"]).ok();
    for round in 0..3 {
        let there = read_all(&broker).len();
        let mut producing = broker.run(&["produce", "t", "-o", "jsonl"]).converse();
        let lines: String = (0..40_000).map(|n| format!("{round} {n:0100}\n")).collect();
        producing.write(&lines);
        let acknowledged = producing.read(1_000).len();
        broker.kill();
        producing.signal(Signal::KILL);
        producing.end();

        // Behind the last frame is what a sync that never ended may have left.
        let file = segments(&partition_dir(broker.data_dir())).pop().unwrap();
        change(&file, |bytes| {
            // A record without headers ends with one zero.
            let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 2;
            let torn = end.next_multiple_of(8);
            let left = (bytes.len() - torn).min(5_000);
            bytes[torn..torn + left].fill(0xa5);
        });
        broker.restart();
        let after = read_all(&broker);
        let written = &after[there..];
        assert!(written.len() >= acknowledged, "{acknowledged} acknowledged");
        assert!(lines.lines().zip(written).all(|(sent, is)| sent == is));
    }
}

fn read_all(broker: &Broker) -> Vec<String> {
    let read = broker.run(&["consume", "t", "--exit-at-end"]).ok();
    read.lines().into_iter().map(str::to_owned).collect()
}
