//! A replica that lost something while it was stopped repairs itself while a producer never pauses: it is
//! in sync again soon, nobody else notices, and all records are there once.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use highwater_tests::files::{FIRST_FRAME, partition_dir, segments, until_equal};
use highwater_tests::{Cluster, Load, figure, may_take, program};

const RATE: u32 = 5_000;
/// From the start of the broker that lost something until it is in sync.
const IN_SYNC: Duration = may_take(Duration::from_secs(10), Duration::from_secs(30));
/// Without an acknowledgement, and without a record for who follows.
const LONGEST: Duration = may_take(Duration::from_millis(300), Duration::from_secs(5));
/// The same in one of the repairs: what a machine does beside can only add to a silence.
const SHORTEST: Duration = may_take(Duration::from_millis(300), Duration::from_secs(2));
const REPAIRED: &str = "a damaged file was repaired from another replica";

fn dir(cluster: &Cluster, broker: usize) -> PathBuf {
    partition_dir(cluster.brokers[broker].data_dir())
}

/// Garbles some frames in the middle of a file.
fn garble(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    for byte in &mut bytes[middle..middle + FIRST_FRAME] {
        *byte = byte.wrapping_mul(31).wrapping_add(7);
    }
    fs::write(file, bytes).unwrap();
}

#[test]
fn a_replica_repairs_itself_while_a_producer_never_pauses() {
    let mut cluster = Cluster::start(&program!(), 3);
    cluster
        .run(&["topic", "create", "t", "-p", "1", "-r", "3"])
        .ok();
    cluster.until_healthy();
    let mut load = Load::start_followed(&cluster.addresses(), "t", RATE);
    let mut repairs = Vec::new();
    let damages: [fn(&[PathBuf]); 2] = [
        |files| garble(&files[0]),
        |files| fs::remove_file(files.last().unwrap()).unwrap(),
    ];
    for damage in damages {
        let victim = (cluster.leader_of("t", 0) + 1) % 3;
        // A first file of 1 MiB is full.
        while segments(&dir(&cluster, victim)).len() < 2 {
            load.until_acknowledged(u64::from(RATE), Instant::now());
        }
        cluster.brokers[victim].stop();
        damage(&segments(&dir(&cluster, victim)));
        let began = Instant::now();
        cluster.brokers[victim].restart();
        cluster.brokers[victim].log_line(REPAIRED);
        cluster.until_healthy();
        let took = began.elapsed();
        repairs.push((took, load.until_acknowledged(u64::from(RATE), began)));
    }
    let outcome = load.end();
    assert_eq!(outcome.errors, Vec::<String>::new());
    let mut longest = Vec::new();
    for (took, repair) in &repairs {
        let silences = [outcome.silence(repair), outcome.unseen(repair)];
        figure(&format!(
            "in sync after {took:.1?}; at most {:.0?} without an acknowledgement, {:.0?} without a record",
            silences[0], silences[1]
        ));
        assert!(*took < IN_SYNC, "{took:?}");
        longest.push(silences.into_iter().max().unwrap());
    }
    assert!(longest.iter().max() < Some(&LONGEST), "{longest:?}");
    assert!(longest.iter().min() < Some(&SHORTEST), "{longest:?}");
    let dirs: Vec<_> = (0..3).map(|broker| dir(&cluster, broker)).collect();
    until_equal(&dirs);
}
