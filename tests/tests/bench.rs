//! `highwater bench`: tiny runs against one broker, verified, and refused where others have data.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Read;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use highwater_client::{Client, Record, Until};
use highwater_tests::{Broker, program};
use rustix::process::Signal;
use serde_json::Value;
use tokio::runtime::Runtime;

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    keys.sort_unstable();
    keys
}

fn bench(broker: &Broker, args: &[&str]) -> Value {
    let args = [&["bench"], args, &["-o", "json"]].concat();
    broker.run(&args).ok().json()
}

#[test]
fn each_kind_of_run_verifies_every_record_and_leaves_no_topic() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&program!(), dir.path(), &[]);
    for kind in ["produce", "consume", "e2e"] {
        let args = [kind, "-p", "3", "--records", "5000", "--clients", "2"];
        let report = bench(&broker, &args);
        assert_eq!(
            keys(&report),
            [
                "calibration",
                "cpu_seconds",
                "errors",
                "latency_ms",
                "mb_per_second",
                "records",
                "records_per_second",
                "seconds",
                "verified"
            ]
        );
        assert_eq!(keys(&report["latency_ms"]), ["max", "p50", "p99", "p999"]);
        assert_eq!(keys(&report["cpu_seconds"]), ["client"]);
        assert_eq!(
            keys(&report["calibration"]),
            [
                "fdatasync_us_p50",
                "fdatasync_us_p99",
                "memcpy_gb_per_second",
                "synced_write_mb_per_second",
                "tcp_gb_per_second"
            ]
        );
        for (key, expected) in [("records", 5000), ("verified", 5000), ("errors", 0)] {
            assert_eq!(report[key], expected, "{kind}: {report}");
        }
        assert!(report["records_per_second"].as_f64().unwrap() > 0.0);
    }
    let topics = broker.run(&["topic", "list", "-o", "json"]).ok().json();
    assert_eq!(topics, Value::Array(Vec::new()));
}

#[test]
fn a_fixed_rate_takes_its_time_and_a_named_topic_stays() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&program!(), dir.path(), &[]);
    broker.run(&["topic", "create", "t", "-p", "2"]).ok();
    let args = ["e2e", "--topic", "t", "--rate", "1000", "--records", "500"];
    let report = bench(&broker, &args);
    assert_eq!(report["verified"], 500, "{report}");
    assert!(report["seconds"].as_f64().unwrap() >= 0.499, "{report}");
    bench(&broker, &["produce", "--topic", "t", "--records", "10"]);
    let read = bench(&broker, &["consume", "--topic", "t"]);
    assert_eq!(read["verified"], 510, "{read}");
}

/// Latency is counted from when a record was due, not from when it could be sent.
#[test]
fn a_broker_that_stands_still_shows_in_the_latencies_of_a_fixed_rate() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&program!(), dir.path(), &[]);
    let kind = ["bench", "e2e", "--rate", "1000", "--duration", "20s"];
    let args = [&kind[..], &["-r", "1", "--size", "300", "-o", "json"]].concat();
    let run = broker.run(&args).within(Duration::from_secs(100)).start();
    under_way(&broker);
    broker.signal(Signal::STOP);
    let waits = broker.run(&["topic", "list", "--timeout", "2s"]).end();
    broker.signal(Signal::CONT);
    waits.exited(5).says("TIMED_OUT");
    let report = run.end().exited(0).json();
    assert_eq!(report["verified"], 20_000, "{report}");
    let longest = report["latency_ms"]["max"].as_f64().unwrap();
    assert!(longest >= 950.0, "{report}");
    // A tenth of all was due in those two seconds.
    let slow = report["latency_ms"]["p99"].as_f64().unwrap();
    assert!(slow >= 800.0, "{report}");
    let sizes = report["mb_per_second"].as_f64().unwrap() * 1e6;
    let records = report["records_per_second"].as_f64().unwrap();
    assert!((sizes / records - 300.0).abs() < 10.0, "{report}");
}

#[test]
fn a_topic_with_records_of_others_is_refused_and_not_written_to() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&program!(), dir.path(), &[]);
    broker.run(&["topic", "create", "used", "-p", "1"]).ok();
    broker.run(&["produce", "used"]).stdin("precious\n").ok();
    for kind in ["produce", "consume", "e2e"] {
        let refused = broker
            .run(&["bench", kind, "--topic", "used", "--records", "10"])
            .end();
        let refused = refused.exited(4).says("BENCH");
        assert!(refused.stderr.contains("nothing was written"), "{refused}");
        assert_eq!(refused.text(), "", "nothing is reported as verified");
    }
    let all = broker.run(&["consume", "used", "--exit-at-end"]).ok();
    assert_eq!(all.lines(), ["precious"]);
    let missing = ["bench", "e2e", "--topic", "none", "--records", "10"];
    broker.run(&missing).end().exited(3).says("TOPIC_NOT_FOUND");
}

#[test]
fn records_of_others_behind_those_of_a_run_are_noticed_before_the_next_one_writes() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&program!(), dir.path(), &[]);
    broker.run(&["topic", "create", "t", "-p", "2"]).ok();
    let run = ["produce", "--topic", "t", "--records", "10"];
    bench(&broker, &run);
    let others = ["produce", "t", "-p", "1"];
    broker.run(&others).stdin("precious\n").ok();
    let before = ends_of(&broker, "t");
    broker.run(&[&["bench"][..], &run].concat()).end().exited(4);
    assert_eq!(ends_of(&broker, "t"), before);
}

/// Where the partitions of a topic end.
fn ends_of(broker: &Broker, topic: &str) -> Vec<Value> {
    let described = broker.run(&["topic", "describe", topic, "-o", "json"]);
    let described = described.ok().json();
    let partitions = described["partitions"].as_array().unwrap().iter();
    partitions.map(|p| p["high_watermark"].clone()).collect()
}

/// They can be there when somebody wrote while a run wrote. Before a run nobody looks for them.
#[test]
fn records_of_others_between_those_of_a_run_are_counted_when_they_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&program!(), dir.path(), &[]);
    for topic in ["whole", "mixed"] {
        broker.run(&["topic", "create", topic, "-p", "1"]).ok();
    }
    bench(&broker, &["produce", "--topic", "whole", "--records", "10"]);
    let mixed = mix(&broker, "whole", "mixed");
    Runtime::new().unwrap().block_on(mixed);
    let read = ["bench", "consume", "--topic", "mixed", "-o", "json"];
    let read = broker.run(&read).end().exited(4).says("BENCH");
    assert!(read.stderr.contains("2 records of others"), "{read}");
    assert_eq!(read.text(), "", "nothing is reported as verified");
    let written = bench(&broker, &["produce", "--topic", "mixed", "--records", "10"]);
    assert_eq!(written["verified"], 10, "{written}");
}

/// Copies the records of a topic to another one, with two of somebody else in the middle.
async fn mix(broker: &Broker, from: &str, to: &str) {
    let client = Client::connect(broker.listen()).await.unwrap();
    let producer = client.producer(to).build().await.unwrap();
    let mut whole = client
        .consumer(from)
        .until(Until::Latest)
        .build()
        .await
        .unwrap();
    let mut values = Vec::new();
    while let Some(record) = whole.next().await {
        values.push(record.unwrap().value_bytes().unwrap());
    }
    let middle = values.len() / 2;
    values.splice(middle..middle, ["precious".into(), "data".into()]);
    for value in values {
        // One at a time, so that each is a batch of its own.
        producer
            .send(Record::new(value))
            .await
            .unwrap()
            .await
            .unwrap();
    }
}

/// The topic of a run that is under way, once it has records.
fn under_way(broker: &Broker) -> String {
    let deadline = Instant::now() + Duration::from_secs(50);
    loop {
        let topics = broker.run(&["topic", "list", "-o", "json"]).ok().json();
        if let Some(name) = topics[0]["name"].as_str() {
            let described = broker.run(&["topic", "describe", name, "-o", "json"]).end();
            if described.code == Some(0)
                && described.json()["partitions"][0]["high_watermark"].as_u64() > Some(100)
            {
                return name.to_owned();
            }
        }
        assert!(Instant::now() < deadline, "the run does not begin");
    }
}

#[test]
fn a_run_that_is_ended_with_sigterm_leaves_no_topic() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&program!(), dir.path(), &[]);
    let args = ["bench", "produce", "--duration", "60s", "--rate", "2000"];
    let run = broker.run(&args).within(Duration::from_secs(100)).start();
    under_way(&broker);
    run.signal(Signal::TERM);
    run.end().exited(130);
    let topics = broker.run(&["topic", "list", "-o", "json"]).ok().json();
    assert_eq!(topics, Value::Array(Vec::new()));
}

#[test]
fn a_run_that_is_interrupted_while_nobody_answers_ends_at_once() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let args = ["bench", "produce", "-b", &address];
    let ended_in = || {
        let run = program!().run(args).start();
        // It has begun to talk, and nobody says anything.
        let (mut connection, _) = silent.accept().unwrap();
        connection.read_exact(&mut [0]).unwrap();
        let signalled = Instant::now();
        run.signal(Signal::INT);
        run.end().exited(130);
        signalled.elapsed()
    };
    // Whatever it does, it ends 5 s after the signal. A machine that stands still only adds to the time.
    let ends_soon = || ended_in() < Duration::from_secs(4);
    assert!((0..3).any(|_| ends_soon()), "it waits for an answer");
}

#[test]
fn a_run_whose_broker_dies_ends_at_its_timeout_with_a_report() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(&program!(), dir.path(), &[]);
    let kind = ["bench", "produce", "--duration", "20s", "--rate", "2000"];
    let args = [&kind[..], &["--timeout", "1s", "-o", "json"]].concat();
    let run = broker.run(&args).within(Duration::from_secs(100)).start();
    under_way(&broker);
    broker.kill();
    let ended = run.end().exited(1).says("BENCH");
    assert!(ended.json()["errors"].as_u64() > Some(0), "{ended}");
    assert!(ended.stderr.contains("were not acknowledged"), "{ended}");
}

#[test]
fn a_named_topic_without_records_cannot_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&program!(), dir.path(), &[]);
    broker.run(&["topic", "create", "empty", "-p", "1"]).ok();
    let refused = broker.run(&["bench", "consume", "--topic", "empty"]).end();
    refused.exited(2).says("INVALID_REQUEST");
}

#[test]
fn as_many_records_of_a_named_topic_are_read_as_were_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&program!(), dir.path(), &[]);
    broker.run(&["topic", "create", "t", "-p", "2"]).ok();
    bench(&broker, &["produce", "--topic", "t", "--records", "1000"]);
    for wanted in [1, 999] {
        for clients in ["1", "2"] {
            let records = wanted.to_string();
            let args = ["consume", "--topic", "t", "--records", &records];
            let read = bench(&broker, &[&args[..], &["--clients", clients]].concat());
            assert_eq!(read["records"], wanted, "{read}");
            assert_eq!(read["verified"], wanted, "{read}");
        }
    }
    let args = ["bench", "consume", "--topic", "t", "--records", "1001"];
    let all = broker.run(&args).ok();
    let told = "topic t has 1000 records to read, not 1001";
    assert!(all.stderr.contains(told), "{all}");
}
