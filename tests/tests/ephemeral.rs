//! `serve --ephemeral`: a broker for tests in any language, that leaves nothing behind.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use highwater_tests::{Conversation, program};
use rustix::process::Signal;
use serde_json::Value;

/// A broker whose stdin we hold, and its line of JSON.
fn start(dir: &tempfile::TempDir) -> (Conversation, Value) {
    let program = program!();
    let run = program.run(["serve", "--ephemeral"]);
    let mut broker = run.in_dir(dir.path()).converse();
    let ready = serde_json::from_str(&broker.read(1)[0]).unwrap();
    (broker, ready)
}

fn files_in(dir: &tempfile::TempDir) -> usize {
    std::fs::read_dir(dir.path()).unwrap().count()
}

#[test]
fn it_takes_free_ports_writes_no_file_and_ends_when_its_stdin_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut one, ready) = start(&dir);
    let (other, ready_too) = start(&dir);
    for address in ["listen", "peer", "http"] {
        assert_ne!(ready[address], ready_too[address]);
    }
    let command = |args: &[&str]| {
        let listen = ready["listen"].as_str().unwrap();
        program!().run(args).env("HIGHWATER_BROKERS", listen)
    };
    command(&["topic", "create", "t", "-p", "3"]).ok();
    command(&["produce", "t"]).stdin("one\ntwo\n").ok();
    let consumed = command(&["consume", "t", "--from", "start", "--exit-at-end"]).ok();
    assert_eq!(consumed.lines().len(), 2);

    one.write("what comes in means nothing\n");
    one.end_input();
    let ended = one.end().exited(0);
    assert!(ended.stderr.contains("kept in memory"), "{ended}");
    assert!(ended.stderr.contains("stdin was closed"), "{ended}");
    other.signal(Signal::TERM);
    other.end().exited(0);
    assert_eq!(files_in(&dir), 0);
}

#[test]
fn a_stdin_that_nobody_held_does_not_end_it() {
    let dir = tempfile::tempdir().unwrap();
    let run = program!().run(["serve", "--ephemeral"]);
    let mut broker = run.in_dir(dir.path()).listen();
    let ready: Value = serde_json::from_str(&broker.read(1)[0]).unwrap();
    let listen = ready["listen"].as_str().unwrap();
    let asked = program!().run(["cluster", "info"]);
    asked.env("HIGHWATER_BROKERS", listen).ok();
    broker.signal(Signal::INT);
    broker.end().exited(0);
}

#[test]
fn a_place_for_data_or_a_cluster_to_join_is_refused() {
    for args in [["--data-dir", "d"], ["--join", "127.0.0.1:1"]] {
        let run = program!().run(["serve", "--ephemeral"].into_iter().chain(args));
        let ended = run.end().exited(2).says("CONFIG");
        assert!(ended.stderr.contains(args[0]), "{ended}");
    }
}

#[test]
fn a_log_that_cannot_be_written_ends_no_broker() {
    let program = program!();
    let deaf = program.through(&["sh", "-c", "exec \"$@\" 2>/dev/full", "sh"]);
    for form in ["text", "json"] {
        let args = ["serve", "--ephemeral", "--log-level=debug", "--log-format"];
        let mut broker = deaf.run(args.into_iter().chain([form])).listen();
        let ready: Value = serde_json::from_str(&broker.read(1)[0]).unwrap();
        let listen = ready["listen"].as_str().unwrap();
        let command = |args: &[&str]| program.run(args).env("HIGHWATER_BROKERS", listen);
        command(&["topic", "create", "t", "-p", "1"]).ok();
        command(&["produce", "t"]).stdin("one\n").ok();
        broker.signal(Signal::TERM);
        broker.end().exited(0);
    }
}
