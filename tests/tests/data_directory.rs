//! Data directories that somebody has meddled with: what is damaged is named, never served, and
//! never taken for something smaller.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use highwater_tests::files::{partition_dir, segments};
use highwater_tests::{Broker, Cluster, program};

/// A broker with 2 MB in one partition, stopped by SIGKILL.
fn filled(data_dir: &Path) -> Broker {
    let mut broker = Broker::start(&program!(), data_dir, &[]);
    broker.run(&["topic", "create", "t", "-p", "1"]).ok();
    let line = format!("{}\n", "x".repeat(999));
    let input = line.repeat(2_000);
    broker.run(&["produce", "t"]).stdin(input).ok();
    broker.kill();
    broker
}

/// Starts the broker again; the partition must neither be read nor written, and the log must say
/// why.
#[track_caller]
fn assert_stays_closed(broker: &mut Broker, why: &str) {
    broker.restart();
    broker.log_line(why);
    broker.unhealthy(&["no leader"]);
    let read = ["consume", "t", "--exit-at-end", "--timeout", "1s"];
    let read = broker.run(&read).end().exited(5);
    assert_eq!(read.text(), "", "nothing is served");
}

#[test]
fn a_partition_whose_files_are_gone_is_not_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = filled(dir.path());
    let partition = partition_dir(dir.path());
    for file in fs::read_dir(&partition).unwrap() {
        fs::remove_file(file.unwrap().path()).unwrap();
    }
    assert_stays_closed(&mut broker, "the file is missing");
}

#[test]
fn a_partition_whose_newest_file_is_gone_is_not_taken_for_a_shorter_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = filled(dir.path());
    let segments = segments(&partition_dir(dir.path()));
    assert!(segments.len() > 1, "{segments:?}");
    let newest = segments.last().unwrap();
    let kept = fs::read(newest).unwrap();
    fs::remove_file(newest).unwrap();
    assert_stays_closed(&mut broker, "the file is missing");

    broker.kill();
    fs::write(newest, kept).unwrap();
    broker.restart();
    let read = broker.run(&["consume", "t", "--exit-at-end"]).ok();
    assert_eq!(read.text().lines().count(), 2_000);
}

/// Copies a directory with all in it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}

#[test]
fn a_copy_of_a_directory_does_not_run_beside_the_original() {
    let mut cluster = Cluster::start(&program!(), 3);
    cluster.run(&["topic", "create", "t", "-p", "3"]).ok();
    let place = tempfile::tempdir().unwrap();
    let copied = place.path().join("copy");
    cluster.brokers[1].stop();
    copy(cluster.brokers[1].data_dir(), &copied);
    cluster.brokers[1].restart();

    let dir = copied.to_str().unwrap();
    let serve = ["serve", "--data-dir", dir, "--listen", "127.0.0.1:0"];
    let refused = program!().run(serve).end().exited(1).says("START");
    assert!(
        refused.stderr.contains("is a copy of its data"),
        "{refused}"
    );
    cluster.until_healthy();
}

#[test]
fn a_broker_stops_when_a_copy_of_its_directory_has_taken_its_place() {
    let mut cluster = Cluster::start(&program!(), 3);
    let place = tempfile::tempdir().unwrap();
    let copied = place.path().join("copy");
    cluster.brokers[2].stop();
    copy(cluster.brokers[2].data_dir(), &copied);
    // Elsewhere, so that the copy does not find it where it was.
    let mut first = Broker::start(&program!(), cluster.brokers[2].data_dir(), &[]);
    // It registers; what it lacks of what its place has acknowledged since it is not given.
    let copied = copied.to_str().unwrap();
    let serve = ["serve", "--data-dir", copied, "--listen", "127.0.0.1:0"];
    let second = program!().run(serve).converse();
    assert_eq!(first.ended().code(), Some(1));
    assert!(first.log().contains("another process runs as broker"));
    second.signal(rustix::process::Signal::KILL);
    assert_eq!(second.end().code, None);
}

#[test]
fn a_broker_alone_does_not_say_that_a_topic_is_not_there() {
    let mut cluster = Cluster::start(&program!(), 3);
    cluster
        .run(&["topic", "create", "t", "-p", "1", "-r", "3"])
        .ok();
    cluster.brokers.iter_mut().for_each(Broker::kill);
    let alone = cluster.brokers[1].relaunch();
    let address = cluster.brokers[1].listen().to_owned();
    let run = |args: &[&str]| {
        let run = program!().run(args).env("HIGHWATER_BROKERS", &address);
        run.end().exited(5)
    };
    run(&["topic", "list", "--timeout", "2s"]);
    run(&["topic", "describe", "t", "--timeout", "2s"]);
    run(&["consume", "t", "--exit-at-end", "--timeout", "2s"]);
    run(&["cluster", "health"]);
    drop(alone);
}
