//! The Python examples, which know the `.proto` files and nothing else, against real brokers.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::time::Duration;

use highwater_tests::python::Python;
use highwater_tests::{Cluster, program};
use rustix::process::Signal;

#[test]
fn python_produces_and_subscribes_through_the_loss_of_the_leader() {
    let python = Python::set_up(Path::new(env!("CARGO_TARGET_TMPDIR")));
    let mut cluster = Cluster::start(&program!(), 3);
    cluster
        .run(&["topic", "create", "clicks", "-p", "1", "-r", "3"])
        .ok();
    cluster.until_healthy();
    let addresses = cluster.addresses();

    let any = cluster.brokers[0].listen();
    let produced = python
        .example("produce.py", [any, "clicks"])
        .stdin("alice\tone\ntwo\n")
        .ok();
    assert_eq!(produced.lines(), ["0:0", "0:1"]);

    let subscribe = [addresses.as_str(), "clicks", "0", "0", "3"];
    let mut subscribed = python.example("subscribe.py", subscribe).converse();
    assert_eq!(subscribed.read(2), ["0\talice\tone", "1\t\ttwo"]);

    // Stands still until the topic is another one.
    let mut left_behind = python
        .example("subscribe.py", [addresses.as_str(), "clicks", "0"])
        .converse();
    assert_eq!(left_behind.read(2), ["0\talice\tone", "1\t\ttwo"]);
    left_behind.signal(Signal::STOP);

    let leader = cluster.leader_of("clicks", 0);
    cluster.brokers[leader].kill();
    let other = cluster.brokers[(leader + 1) % 3].listen();
    let produced = python
        .example("produce.py", [other, "clicks"])
        .stdin("bob\tthree\n")
        .within(Duration::from_secs(60))
        .ok();
    assert_eq!(produced.lines(), ["0:2"]);
    assert_eq!(subscribed.read(1), ["2\tbob\tthree"]);
    subscribed.end().exited(0);

    for (example, args) in [
        ("produce.py", &[other, "nothing"][..]),
        ("subscribe.py", &[other, "nothing", "0"]),
    ] {
        let unknown = python.example(example, args.iter().copied());
        let unknown = unknown.stdin("x\n").end().exited(1);
        assert!(unknown.stderr.starts_with("TOPIC_NOT_FOUND: "), "{unknown}");
    }

    // Both stay with the topic that they began with.
    let mut producing = python.example("produce.py", [other, "clicks"]).converse();
    producing.write("four\n");
    assert_eq!(producing.read(1), ["0:3"]);
    cluster.run(&["topic", "delete", "clicks", "-y"]).ok();
    let again = ["topic", "create", "clicks", "-p", "1", "-r", "3"];
    cluster.run(&again).ok();
    let values = "five\nsix\nseven\neight\n";
    cluster.run(&["produce", "clicks"]).stdin(values).ok();
    producing.write("nine\n");
    left_behind.signal(Signal::CONT);
    for (which, run) in [("produce", producing), ("subscribe", left_behind)] {
        let ended = run.end().exited(1);
        assert_eq!(ended.text(), "", "{which} goes on in another topic");
        assert!(ended.stderr.starts_with("TOPIC_ID_MISMATCH: "), "{ended}");
    }
}
