//! How soon a broker serves: on an empty directory, and after a kill with nothing of its log in memory.
//!
//! `HIGHWATER_RECOVERY_MIB` is how much of a log it has, 64 without it; docs/testing.md has the long form.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking and shows its figures"
)]

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use highwater_tests::{Broker, figure, long_form, may_take, program};
use rustix::fs::{Advice, fadvise, fsync};

const BUSY: Duration = Duration::from_secs(30);
const SERVES: Duration = may_take(Duration::from_millis(500), BUSY);
const RECOVERS: Duration = may_take(Duration::from_secs(1), BUSY);
const ROUNDS: usize = 3;
/// Of a value, without what a batch adds.
const SIZE: u64 = 1_000;

/// The first of some rounds that takes less than this; what else the machine does can only add to it.
#[track_caller]
fn assert_within(limit: Duration, what: &str, round: impl FnMut() -> Duration) {
    let times: Vec<Duration> = std::iter::repeat_with(round).take(ROUNDS).collect();
    figure(&format!("{what} after {times:?}"));
    assert!(times.iter().any(|time| *time < limit), "{times:?}");
}

/// Writes back what the files below a directory have in the page cache, and takes it out.
fn cool(dir: &Path) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            cool(&path);
        } else {
            let file = File::open(&path).unwrap();
            fsync(&file).unwrap();
            fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        }
    }
}

#[test]
fn a_broker_serves_at_once_on_an_empty_directory() {
    assert_within(SERVES, "ready on an empty directory", || {
        let dir = tempfile::tempdir().unwrap();
        let began = Instant::now();
        let broker = Broker::start(&program!(), dir.path(), &[]);
        let took = began.elapsed();
        broker.run(&["topic", "create", "t", "-p", "1"]).ok();
        took
    });
}

#[test]
fn a_killed_broker_serves_soon_with_a_long_log_that_is_only_on_the_disk() {
    let mib = long_form("HIGHWATER_RECOVERY_MIB", 64);
    let records = (mib << 20).div_ceil(SIZE).to_string();
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(&program!(), dir.path(), &[]);
    broker.run(&["topic", "create", "t", "-p", "1"]).ok();
    let produce = ["bench", "produce", "--topic", "t", "--records", &records];
    let size = SIZE.to_string();
    let produce = broker.run(&[&produce[..], &["--size", &size, "-o", "json"]].concat());
    let produced = produce.within(Duration::from_secs(300)).ok().json();
    assert_within(
        RECOVERS,
        &format!("ready with {mib} MiB of a log in one partition"),
        || {
            broker.kill();
            cool(broker.data_dir());
            let began = Instant::now();
            broker.restart();
            began.elapsed()
        },
    );
    let consume = broker.run(&["bench", "consume", "--topic", "t", "-o", "json"]);
    let consumed = consume.within(Duration::from_secs(300)).ok().json();
    assert_eq!(consumed["verified"], produced["records"], "{consumed}");
}
