//! One broker does the main job on real input and keeps it through SIGKILL.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, thread};

use highwater_tests::{Broker, input, program};
use rustix::fs::{CWD, FileType, Mode, mknodat};

/// The records that `consume -f '%p:%o %k %v\n'` printed, by partition in the order of printing.
fn offsets_by_partition(lines: &[&str]) -> std::collections::BTreeMap<u32, Vec<u64>> {
    let mut partitions = std::collections::BTreeMap::<u32, Vec<u64>>::new();
    for line in lines {
        let (place, _) = line.split_once(' ').unwrap();
        let (partition, offset) = place.split_once(':').unwrap();
        partitions
            .entry(partition.parse().unwrap())
            .or_default()
            .push(offset.parse().unwrap());
    }
    partitions
}

#[track_caller]
fn assert_all_there(broker: &Broker, topic: &str, text: &str) {
    let consumed = broker
        .run(&["consume", topic, "--from", "start", "--exit-at-end"])
        .ok();
    assert_eq!(input::sorted(consumed.text()), input::sorted(text));
    assert_eq!(
        input::by_path(consumed.text()),
        input::by_path(text),
        "the order of each path"
    );
}

#[test]
fn what_was_produced_is_consumed_again_also_after_sigkill() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(&program!(), &dir.path().join("data"), &[]);
    let text = input::changes(20_000);
    let file = dir.path().join("changes.jsonl");
    fs::write(&file, &text).unwrap();
    let file = file.to_str().unwrap();

    broker.run(&["topic", "create", "changes", "-p", "6"]).ok();
    let produced = broker
        .run(&[
            "produce",
            "changes",
            file,
            "-f",
            "json",
            "--key-field",
            "path",
        ])
        .ok();
    assert_eq!(produced.text(), "", "stdout is empty");
    assert!(
        produced.stderr.contains("20000 records acknowledged"),
        "{produced}"
    );
    assert_all_there(&broker, "changes", &text);

    broker.kill();
    broker.restart();
    assert_all_there(&broker, "changes", &text);

    let placed = broker
        .run(&[
            "consume",
            "changes",
            "--exit-at-end",
            "-f",
            r"%p:%o %k %v\n",
        ])
        .ok();
    let partitions = offsets_by_partition(&placed.lines());
    assert_eq!(partitions.len(), 6);
    for (partition, offsets) in partitions {
        let dense: Vec<u64> = (0..offsets.len() as u64).collect();
        assert_eq!(offsets, dense, "partition {partition}");
    }
}

#[test]
fn a_restarted_broker_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(&program!(), dir.path(), &[]);
    let (id, cluster) = (broker.id(), broker.ready()["cluster"].clone());
    broker.run(&["topic", "create", "t", "-p", "1"]).ok();
    for round in 0..3 {
        let line = format!("round {round}\n");
        let acked = broker
            .run(&["produce", "t", "-o", "jsonl"])
            .stdin(line)
            .ok();
        assert_eq!(acked.jsonl()[0]["offset"], round);
        broker.kill();
        broker.restart();
        assert_eq!((broker.id(), &broker.ready()["cluster"]), (id, &cluster));
    }
    let all = broker.run(&["consume", "t", "--exit-at-end"]).ok();
    assert_eq!(all.lines(), ["round 0", "round 1", "round 2"]);
}

#[test]
fn values_are_the_bytes_of_the_lines() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&program!(), dir.path(), &[]);
    broker.run(&["topic", "create", "t", "-p", "1"]).ok();
    let bytes = b"plain\n\ncarriage\r\n\xff\xfe\n{\"a\": 1}  \nlast without newline";
    broker.run(&["produce", "t"]).stdin(*bytes).ok();
    let consumed = broker
        .run(&["consume", "t", "--exit-at-end", "-f", r"%v\n"])
        .ok();
    let mut expected = bytes.to_vec();
    expected.push(b'\n');
    assert_eq!(consumed.stdout, expected);
    let json = broker
        .run(&["consume", "t", "--exit-at-end", "-o", "jsonl"])
        .ok()
        .jsonl();
    assert_eq!(json[3]["value_base64"], "//4=");
    assert_eq!(json[2]["value"], "carriage\r");
    assert_eq!(json[0]["key"], serde_json::Value::Null);
}

#[test]
fn every_acknowledged_line_is_named_once_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&program!(), &dir.path().join("data"), &[]);
    broker.run(&["topic", "create", "t", "-p", "3"]).ok();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (first, second) = (file("a", "k1\tv1\nk2\tv2\n"), file("b", "k1\tv3\n"));
    let acked = broker
        .run(&["produce", "t", &first, &second, "-f", "kv", "-o", "jsonl"])
        .ok();
    let mut lines: Vec<(u64, u64)> = acked
        .jsonl()
        .iter()
        .map(|ack| (ack["file"].as_u64().unwrap(), ack["line"].as_u64().unwrap()))
        .collect();
    lines.sort_unstable();
    assert_eq!(lines, [(0, 1), (0, 2), (1, 1)]);
    for ack in acked.jsonl() {
        let partition = ack["partition"].to_string();
        let from = ack["offset"].to_string();
        let read = broker
            .run(&[
                "consume", "t", "-p", &partition, "--from", &from, "-n", "1", "-f", "%k=%v",
            ])
            .ok();
        let expected = match (ack["file"].as_u64(), ack["line"].as_u64()) {
            (Some(0), Some(1)) => "k1=v1",
            (Some(0), Some(2)) => "k2=v2",
            _ => "k1=v3",
        };
        assert_eq!(read.text(), expected);
    }
}

#[test]
fn what_is_written_to_a_named_pipe_is_produced() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&program!(), &dir.path().join("data"), &[]);
    broker.run(&["topic", "create", "t", "-p", "1"]).ok();
    let pipe = dir.path().join("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).unwrap();
    let path = pipe.to_str().unwrap().to_owned();
    let writer = thread::spawn(move || fs::write(pipe, "one\ntwo\n"));
    let produced = broker.run(&["produce", "t", &path, "-o", "jsonl"]).ok();
    writer.join().unwrap().unwrap();
    assert_eq!(produced.jsonl().len(), 2);
    let read = broker.run(&["consume", "t", "--exit-at-end"]).ok();
    assert_eq!(read.lines(), ["one", "two"]);
}

#[test]
fn reading_begins_and_ends_where_it_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&program!(), dir.path(), &[]);
    broker.run(&["topic", "create", "t", "-p", "1"]).ok();
    broker.run(&["produce", "t"]).stdin("a\nb\nc\nd\n").ok();
    let read = |args: &[&str]| {
        let args = [&["consume", "t"], args].concat();
        broker.run(&args).ok().lines().join(" ")
    };
    assert_eq!(read(&["--from", "start", "--exit-at-end"]), "a b c d");
    assert_eq!(read(&["--from", "2", "--exit-at-end"]), "c d");
    assert_eq!(read(&["--from", "-3", "--exit-at-end"]), "b c d");
    assert_eq!(read(&["--from", "-100", "-n", "2"]), "a b");
    assert_eq!(read(&["--from", "end", "--exit-at-end"]), "");
    assert_eq!(read(&["--from", "@-1h", "--exit-at-end"]), "a b c d");
    assert_eq!(read(&["--from", "@2999-01-01", "--exit-at-end"]), "");
    assert_eq!(read(&["-n", "0"]), "");
    let json = broker
        .run(&["consume", "t", "-n", "2", "-o", "json"])
        .ok()
        .json();
    assert_eq!(json[1]["value"], "b");
    assert_eq!(json[1]["offset"], 1);
}

#[test]
fn only_the_partitions_that_are_named_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&program!(), dir.path(), &[]);
    broker.run(&["topic", "create", "t", "-p", "3"]).ok();
    for (partition, value) in [("0", "zero\n"), ("1", "one\n"), ("2", "two\n")] {
        let produce = ["produce", "t", "-p", partition];
        broker.run(&produce).stdin(value).ok();
    }
    for (named, expected) in [
        ("0,2", &["0 zero", "2 two"][..]),
        ("1", &["1 one"]),
        ("2,1,0", &["0 zero", "1 one", "2 two"]),
    ] {
        let end = ["--exit-at-end", "-f", "%p %v\\n"];
        let args = [&["consume", "t", "-p", named], &end[..]].concat();
        let read = broker.run(&args).ok();
        let mut lines = read.lines();
        lines.sort_unstable();
        assert_eq!(lines, expected, "-p {named}");
    }
    let unknown = ["consume", "t", "-p", "0,3", "--exit-at-end"];
    let unknown = broker.run(&unknown).end().exited(3);
    let unknown = unknown.says("PARTITION_NOT_FOUND");
    assert!(unknown.stderr.contains("topic describe t\n"), "{unknown}");
    assert_eq!(unknown.text(), "");
}

#[test]
fn a_following_consumer_sees_what_comes_and_ends_by_sigint() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&program!(), dir.path(), &[]);
    broker.run(&["topic", "create", "t", "-p", "1"]).ok();
    broker.run(&["produce", "t"]).stdin("before\n").ok();
    let mut following = broker.run(&["consume", "t", "--from", "start"]).converse();
    assert_eq!(following.read(1), ["before"]);
    broker.run(&["produce", "t"]).stdin("after\n").ok();
    assert_eq!(following.read(1), ["after"]);
    following.signal(rustix::process::Signal::INT);
    following.end().exited(130);
}

#[test]
fn json_that_is_interrupted_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&program!(), dir.path(), &[]);
    broker.run(&["topic", "create", "t", "-p", "1"]).ok();
    broker.run(&["produce", "t"]).stdin("one\ntwo\n").ok();
    let mut following = broker.run(&["consume", "t", "-o", "json"]).converse();
    let mut printed = following.read(2).join("\n");
    following.signal(rustix::process::Signal::INT);
    let ended = following.end().exited(130);
    printed.push('\n');
    printed.push_str(ended.text());
    let records: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(records.as_array().unwrap().len(), 2, "{printed}");
}

#[test]
fn acknowledgements_come_while_input_is_still_open() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&program!(), dir.path(), &[]);
    broker.run(&["topic", "create", "t", "-p", "1"]).ok();
    let mut producing = broker.run(&["produce", "t", "-o", "jsonl"]).converse();
    for number in 1..=3 {
        producing.write(&format!("line {number}\n"));
        let ack: serde_json::Value = serde_json::from_str(&producing.read(1)[0]).unwrap();
        let expected = serde_json::json!(
            {"file": 0, "line": number, "partition": 0, "offset": number - 1}
        );
        assert_eq!(ack, expected);
    }
    producing.end_input();
    producing.end().exited(0);
}

#[test]
fn interrupted_producing_says_what_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&program!(), dir.path(), &[]);
    broker.run(&["topic", "create", "t", "-p", "1"]).ok();
    let mut producing = broker.run(&["produce", "t", "-o", "jsonl"]).converse();
    producing.write("one\ntwo\n");
    producing.read(2);
    producing.signal(rustix::process::Signal::INT);
    let ended = producing.end().exited(130);
    assert!(ended.stderr.contains("2 records acknowledged"), "{ended}");
}

#[test]
fn a_segment_file_is_listed_frame_by_frame() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(&program!(), dir.path(), &[]);
    broker.run(&["topic", "create", "t", "-p", "1"]).ok();
    broker.run(&["produce", "t"]).stdin("a\nb\n").ok();
    broker.kill();
    let mut folders = vec![dir.path().to_owned()];
    let mut batches = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "seg") {
                let listed = program!()
                    .run(["debug", "segment", path.to_str().unwrap()])
                    .ok();
                batches += listed
                    .lines()
                    .iter()
                    .filter(|line| line.contains(" batch "))
                    .count();
            }
        }
    }
    assert!(
        batches > 0,
        "the batch that was produced is in a segment file"
    );
    let other = dir.path().join("other");
    fs::write(&other, "something else").unwrap();
    let other = other.to_str().unwrap();
    program!()
        .run(["debug", "segment", other])
        .end()
        .exited(1)
        .says("INPUT");
    program!()
        .run(["debug", "segment", "no/such/file"])
        .end()
        .exited(1)
        .says("IO");
}
