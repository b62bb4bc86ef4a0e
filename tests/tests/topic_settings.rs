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
fn a_lower_limit_says_how_much_it_deletes_and_where() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&program!(), dir.path(), &[]);
    let create = [
        "topic",
        "create",
        "t",
        "-p",
        "2",
        "-c",
        "max.batch.bytes=16KiB",
    ];
    broker.run(&create).ok();
    let records = format!("{}\n", "x".repeat(1000)).repeat(2000);
    let produce = ["produce", "t", "-p", "1", "-z", "none"];
    broker.run(&produce).stdin(records).ok();
    let alter = |setting| {
        let args = ["-o", "json", "topic", "alter", "t", "-c", setting];
        broker.run(&args).ok()
    };
    let altered = alter("retention.bytes=1MiB");
    let says = "this deletes the oldest records, within seconds and for good: up to ";
    assert!(altered.stderr.contains(says), "{altered}");
    let json = altered.json();
    let deletes = json["deletes"].as_array().unwrap();
    assert_eq!(deletes.len(), 1, "the other one is empty: {json}");
    assert_eq!(deletes[0]["partition"], 1);
    assert!(deletes[0]["bytes"].as_u64().unwrap() > 0, "{json}");
    // A higher limit deletes nothing.
    let altered = alter("retention.bytes=100MiB");
    assert!(!altered.stderr.contains(says), "{altered}");
    assert_eq!(altered.json()["deletes"], serde_json::json!([]));
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
