//! Settings of topics, from the command line.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use highwater_tests::{Broker, program};
use rustix::process::Signal;

#[test]
fn a_setting_can_be_changed_and_returned_to_its_default() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&program!(), dir.path(), &[]);
    broker.run(&["topic", "create", "t", "-p", "1"]).ok();
    let alter =
        |args: &[&str]| broker.run(&[&["-o", "json", "topic", "alter", "t"], args].concat());

    let altered = alter(&["-c", "retention.ms=7d", "-c", "max.batch.bytes=2MiB"])
        .ok()
        .json();
    assert_eq!(altered["name"], "t");
    assert_eq!(altered["config"]["retention.ms"], "604800000");
    assert_eq!(altered["config"]["max.batch.bytes"], "2097152");

    let altered = alter(&["--unset", "retention.ms"]).ok().json();
    assert_eq!(altered["config"]["retention.ms"], "-1");
    assert_eq!(altered["config"]["max.batch.bytes"], "2097152");
    let described = broker
        .run(&["topic", "describe", "t", "-o", "json"])
        .ok()
        .json();
    assert_eq!(described["config"], altered["config"]);
}

#[test]
fn changes_that_cannot_be_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&program!(), dir.path(), &[]);
    broker.run(&["topic", "create", "orders", "-p", "1"]).ok();
    let alter = |args: &[&str]| broker.run(&[&["topic", "alter"], args].concat()).end();

    alter(&["orders"]).exited(2).says("USAGE");
    let slip = alter(&["orders", "-c", "retention.msec=7d"])
        .exited(2)
        .says("INVALID_CONFIG");
    assert!(slip.stderr.contains("retention.ms"), "{slip}");
    alter(&["orders", "-c", "retention.ms=soon"])
        .exited(2)
        .says("INVALID_CONFIG");
    for (setting, says) in [
        ("retention.bytes=2MiB", "max.batch.bytes"),
        ("max.batch.bytes=3MiB", "segment.bytes"),
    ] {
        let refused = alter(&["orders", "-c", "segment.bytes=2MiB", "-c", setting])
            .exited(2)
            .says("INVALID_CONFIG");
        assert!(refused.stderr.contains(says), "{refused}");
    }
    let create = [
        "topic",
        "create",
        "u",
        "-p",
        "1",
        "-c",
        "retention.bytes=2MiB",
    ];
    let refused = broker.run(&create).end().exited(2).says("INVALID_CONFIG");
    assert!(refused.stderr.contains("10 times"), "{refused}");
    let missing = alter(&["order", "--unset", "retention.ms"])
        .exited(3)
        .says("TOPIC_NOT_FOUND");
    assert!(missing.stderr.contains("\"orders\""), "{missing}");
}

#[test]
fn watching_a_topic_looks_until_it_is_interrupted() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&program!(), dir.path(), &[]);
    broker.run(&["topic", "create", "t", "-p", "1"]).ok();
    let look = ["topic", "describe", "t", "--watch=20ms", "-o", "jsonl"];
    let mut watching = broker.run(&look).converse();
    let high_watermark = |line: &str| {
        let look: serde_json::Value = serde_json::from_str(line).unwrap();
        look["partitions"][0]["high_watermark"].as_u64().unwrap()
    };
    assert_eq!(high_watermark(&watching.read(1)[0]), 0);
    broker.run(&["produce", "t"]).stdin("a\nb\n").ok();
    // Looks come again and again, so the records show after some of them.
    let shown = (0..1000).any(|_| high_watermark(&watching.read(1)[0]) == 2);
    assert!(shown);
    watching.signal(Signal::INT);
    watching.end().exited(130);
}

#[test]
fn watching_ends_when_the_topic_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&program!(), dir.path(), &[]);
    broker.run(&["topic", "create", "t", "-p", "1"]).ok();
    let look = ["topic", "describe", "t", "--watch=20ms", "-o", "jsonl"];
    let mut watching = broker.run(&look).converse();
    watching.read(1);
    broker.run(&["topic", "delete", "t", "-y"]).ok();
    watching.end().exited(3).says("TOPIC_NOT_FOUND");
}
