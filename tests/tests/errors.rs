//! Bad input: a typed error with a reason, an exit code that says its kind, and nothing written.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use highwater_tests::{Broker, Ended, Program, program};
use rustix::process::Signal;

struct Fixture {
    broker: Broker,
    dir: tempfile::TempDir,
}

impl Fixture {
    /// A broker with the topic `changes` of 2 partitions.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(&program!(), &dir.path().join("data"), &[]);
        broker.run(&["topic", "create", "changes", "-p", "2"]).ok();
        Self { broker, dir }
    }

    fn run(&self, args: &[&str]) -> Ended {
        self.broker.run(args).end()
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn records(&self) -> usize {
        self.broker
            .run(&["consume", "changes", "--exit-at-end"])
            .ok()
            .lines()
            .len()
    }
}

#[test]
fn a_topic_that_is_not_there_is_named_with_the_nearest() {
    let fixture = Fixture::new();
    for args in [
        &["topic", "describe", "chnages"][..],
        &["topic", "delete", "chnages", "-y"],
        &["consume", "chnages"],
        &["produce", "chnages"],
    ] {
        let ended = fixture.run(args).exited(3).says("TOPIC_NOT_FOUND");
        assert!(
            ended.stderr.contains("did you mean \"changes\"?"),
            "{ended}"
        );
    }
}

#[test]
fn a_partition_that_is_not_there_is_refused() {
    let fixture = Fixture::new();
    fixture
        .run(&["consume", "changes", "-p", "0,2"])
        .exited(3)
        .says("PARTITION_NOT_FOUND");
    let produced = fixture
        .broker
        .run(&["produce", "changes", "-p", "2"])
        .stdin("x\n")
        .end();
    produced.exited(3).says("PARTITION_NOT_FOUND");
    assert_eq!(fixture.records(), 0);
}

#[test]
fn topics_that_cannot_be_are_refused_with_the_reason() {
    let fixture = Fixture::new();
    let long = "n".repeat(250);
    let create = |args: &[&str]| fixture.run(&[&["topic", "create"], args].concat());
    for name in ["../x", "a/b", "", "..", "__system", long.as_str()] {
        create(&[name, "-p", "1"])
            .exited(2)
            .says("INVALID_TOPIC_NAME");
    }
    create(&["t", "-p", "0"]).exited(2).says("INVALID_REQUEST");
    create(&["t", "-p", "1", "-r", "2"])
        .exited(2)
        .says("INVALID_REPLICATION");
    let unknown = create(&["t", "-p", "1", "-c", "retention.sm=1"])
        .exited(2)
        .says("INVALID_CONFIG");
    assert!(unknown.stderr.contains("retention.ms"), "{unknown}");
    create(&["t", "-p", "1", "-c", "retention.ms=soon"])
        .exited(2)
        .says("INVALID_CONFIG");
    create(&["t", "-p", "1", "-c", "durability=leader-memory"])
        .exited(2)
        .says("INVALID_CONFIG");
    create(&["changes", "-p", "2"])
        .exited(4)
        .says("TOPIC_EXISTS");
    let there = create(&["changes", "-p", "5", "--if-not-exists"]).exited(0);
    assert!(
        there.stderr.contains("changes has 2 partitions, not 5"),
        "{there}"
    );
    let setting = "retention.ms=86400001";
    let there = create(&["changes", "-p", "2", "-c", setting, "--if-not-exists"]).exited(0);
    assert!(
        there.stderr.contains("not 86400001; it was not changed"),
        "{there}"
    );
    let topics = fixture
        .run(&["topic", "list", "-o", "json"])
        .exited(0)
        .json();
    assert_eq!(topics.as_array().unwrap().len(), 1, "{topics}");
}

#[test]
fn a_port_that_is_not_for_clients_is_named() {
    let fixture = Fixture::new();
    for port in [fixture.broker.http(), fixture.broker.peer()] {
        let ended = program!().run(["-b", port, "topic", "list"]).end();
        let ended = ended.exited(5).says("UNREACHABLE");
        assert!(ended.stderr.contains("no port for clients"), "{ended}");
    }
}

#[test]
fn an_offset_that_cannot_be_read_is_answered_with_the_range() {
    let fixture = Fixture::new();
    fixture
        .broker
        .run(&["produce", "changes", "-p", "0"])
        .stdin("a\nb\n")
        .ok();
    let ended = fixture
        .run(&["consume", "changes", "-p", "0", "--from", "17"])
        .exited(1)
        .says("OFFSET_OUT_OF_RANGE");
    for part in ["changes/0: offset 17", "0 to 2"] {
        assert!(ended.stderr.contains(part), "{ended}");
    }
}

#[test]
fn a_line_that_is_no_record_is_named_and_those_before_it_are_kept() {
    let fixture = Fixture::new();
    let file = fixture.file(
        "bad.jsonl",
        "{\"k\":\"a\"}\n{\"k\":\"b\"}\n{\"k\":\n{\"k\":\"d\"}\n",
    );
    let args = [
        "produce",
        "changes",
        &file,
        "-f",
        "json",
        "--key-field",
        "k",
    ];
    let ended = fixture.run(&args).exited(7).says("INPUT");
    assert!(ended.stderr.contains("bad.jsonl:3"), "{ended}");
    assert!(ended.stderr.contains("2 records acknowledged"), "{ended}");
    assert_eq!(fixture.records(), 2);

    let produce = |args: &[&str], text: &str| {
        fixture
            .broker
            .run(&[&["produce", "changes"], args].concat())
            .stdin(text)
            .end()
    };
    let ended = produce(&["-f", "json"], "nonsense\n")
        .exited(1)
        .says("INPUT");
    assert!(ended.stderr.contains("stdin:1"), "{ended}");
    let ended = produce(&["-f", "kv"], "no separator\n")
        .exited(1)
        .says("INPUT");
    assert!(ended.stderr.contains("stdin:1"), "{ended}");
    let ended = produce(&["-f", "json", "--key-field", "k"], "{\"x\":1}\n")
        .exited(1)
        .says("INPUT");
    assert!(ended.stderr.contains("\"k\""), "{ended}");
    produce(&["-f", "json", "--key-field", "k"], "{\"k\":null}\n")
        .exited(1)
        .says("INPUT");
    produce(&["no/such/file"], "").exited(1).says("IO");
    assert_eq!(fixture.records(), 2);
}

#[test]
fn a_record_that_no_batch_holds_is_refused_and_named() {
    let fixture = Fixture::new();
    let text = format!("small\n{}\n", "x".repeat(2 << 20));
    let ended = fixture
        .broker
        .run(&["produce", "changes", "-p", "0"])
        .stdin(text)
        .end();
    let ended = ended.exited(7).says("BATCH_TOO_LARGE");
    assert!(ended.stderr.contains("stdin:2"), "{ended}");
    assert_eq!(fixture.records(), 1);
    let endless = "y".repeat(5 << 20);
    let ended = fixture
        .broker
        .run(&["produce", "changes"])
        .stdin(endless)
        .end();
    ended.exited(1).says("INPUT");
}

#[test]
fn deleting_needs_a_yes_and_takes_the_records() {
    let fixture = Fixture::new();
    fixture
        .run(&["topic", "delete", "changes"])
        .exited(2)
        .says("USAGE");
    fixture
        .broker
        .run(&["produce", "changes"])
        .stdin("x\n")
        .ok();
    let partial = fixture.run(&["topic", "delete", "changes", "none", "-y", "-o", "json"]);
    assert_eq!(
        partial.clone().exited(7).json(),
        serde_json::json!([{"name": "changes"}])
    );
    partial.says("TOPIC_NOT_FOUND");
    fixture
        .broker
        .run(&["topic", "create", "changes", "-p", "1"])
        .ok();
    assert_eq!(
        fixture.records(),
        0,
        "a topic of the same name inherits nothing"
    );
}

#[test]
fn nobody_there_is_unreachable() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let nobody = nobody.to_string();
    let run = |args: &[&str]| {
        let args = [args, &["-b", &nobody, "--timeout", "2s"]].concat();
        program!().run(args).end()
    };
    run(&["topic", "list"]).exited(5).says("UNREACHABLE");
    run(&["cluster", "health"]).exited(5).says("UNREACHABLE");
    run(&["cluster", "health", "--wait", "300ms"])
        .exited(5)
        .says("UNREACHABLE");
    run(&["consume", "t"]).exited(5).says("UNREACHABLE");
    run(&["produce", "t"]).exited(5).says("UNREACHABLE");
}

#[test]
fn arguments_that_make_no_sense_are_usage() {
    let program: Program = program!();
    for args in [
        &["topic", "create", "t"][..],
        &["topic", "create", "t", "-p", "x"],
        &[
            "topic",
            "create",
            "t",
            "-p",
            "1",
            "-c",
            "retention.ms=1d",
            "-c",
            "retention.ms=7d",
        ],
        &[
            "topic",
            "alter",
            "t",
            "-c",
            "retention.ms=1d",
            "-c",
            "retention.ms=7d",
        ],
        &["consume", "t", "-p", "0,x"],
        &["consume", "t", "--from", "yesterday"],
        &["consume", "t", "-f", "%z"],
        &["consume", "t", "-f", "%v", "-o", "json"],
        &["produce", "t", "--key-field", "k"],
        &["produce", "t", "--timeout", "30"],
        &["frobnicate"],
    ] {
        let ended = program.run(args).end().exited(2).says("USAGE");
        assert!(ended.text().is_empty(), "{ended}");
    }
    program.run(["--help"]).ok();
    program.run(["--version"]).ok();
}

#[test]
fn a_reader_that_goes_away_ends_a_command_quietly() {
    let fixture = Fixture::new();
    let text = "some text to fill a pipe with\n".repeat(20_000);
    fixture.broker.run(&["produce", "changes"]).stdin(text).ok();
    let consuming = fixture.broker.run(&["consume", "changes", "--exit-at-end"]);
    let ended = consuming.read_one_line_and_leave();
    assert_eq!(
        (ended.code, ended.stderr.as_str()),
        (Some(0), ""),
        "{ended}"
    );
}

#[test]
fn a_topic_whose_partitions_have_no_leader_is_told_apart_from_one_that_is_ready() {
    let dir = tempfile::tempdir().unwrap();
    // Each partition needs open files, and there are not enough for all.
    let few_files = ["sh", "-c", "ulimit -n 200; exec \"$0\" \"$@\""];
    let broker = Broker::start(&program!().through(&few_files), dir.path(), &[]);
    let create = |name, partitions| {
        let args = ["topic", "create", name, "-p", partitions, "--timeout", "5s"];
        broker.run(&[&args[..], &["-o", "json"]].concat()).end()
    };
    let ready = broker.run(&["topic", "create", "ready", "-p", "1", "-o", "json"]);
    assert_eq!(ready.ok().json()["partitions_without_leader"], 0);
    let created = create("many", "300").exited(5).says("NO_LEADER");
    assert_ne!(created.json()["partitions_without_leader"], 0, "{created}");
    assert!(created.stderr.contains("created topic many"), "{created}");
    assert!(
        created.stderr.contains("hint: highwater cluster health"),
        "{created}"
    );
}

#[test]
fn an_interrupted_produce_says_what_became_of_its_records_although_nobody_answers() {
    let fixture = Fixture::new();
    let args = ["produce", "changes", "-o", "json"];
    let mut producing = fixture.broker.run(&args).converse();
    producing.write("first\n");
    assert_eq!(producing.read(1), ["["]);
    fixture.broker.signal(Signal::STOP);
    producing.write("second\nthird\n");
    // Also when all input was read, and only answers are to come.
    producing.end_input();
    producing.signal(Signal::INT);
    let ended = producing.end().exited(130);
    fixture.broker.signal(Signal::CONT);
    let array = format!("[{}", ended.text());
    let array: serde_json::Value = serde_json::from_str(&array).unwrap();
    assert_eq!(array[0]["line"], 1, "{array}");
    assert!(ended.stderr.contains("acknowledged in"), "{ended}");
}

#[test]
fn a_drain_waits_no_longer_than_it_may_for_a_broker_that_stands_still() {
    let fixture = Fixture::new();
    fixture.broker.signal(Signal::STOP);
    let drain = ["cluster", "drain", "1", "--wait", "1s", "--timeout", "1h"];
    let refused = fixture.broker.run(&drain).end();
    fixture.broker.signal(Signal::CONT);
    refused.exited(5);
}

#[test]
fn a_command_that_fails_with_nothing_done_prints_no_json() {
    let fixture = Fixture::new();
    for args in [
        &["consume", "none"][..],
        &["produce", "none"],
        &["topic", "delete", "-y", "none"],
        &["topic", "describe", "none"],
        &["topic", "trim", "none", "-p", "all", "--to", "end", "-y"],
    ] {
        let failed = fixture.broker.run(&[args, &["-o", "json"]].concat()).end();
        assert_eq!(failed.exited(3).text(), "", "{args:?}");
    }
}
