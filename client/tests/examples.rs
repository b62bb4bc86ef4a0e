//! Every example runs against a broker and does what it says.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use highwater_broker::testing::Broker;
use highwater_client::{Client, NewTopic, Record};

/// The most lines that an example may have.
const LINES: usize = 60;

/// Cargo builds the examples of a package before it runs all of its tests, beside the tests' folder.
fn program(name: &str) -> Command {
    let me = std::env::current_exe().unwrap();
    let built = me.parent().and_then(|deps| deps.parent()).unwrap();
    let example = built.join("examples").join(name);
    assert!(
        example.exists(),
        "{} is not built; where not all tests are run, `cargo build -p highwater-client --examples` \
         builds it",
        example.display()
    );
    Command::new(example)
}

/// Runs an example to its end on a thread of its own: the broker needs this one.
async fn run(name: &str, args: &[&str], input: &str) -> String {
    let mut command = program(name);
    command.args(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let ended = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap());
    let Output { status, stdout, .. } = ended.await.unwrap();
    assert!(status.success(), "{name}: {status}");
    String::from_utf8(stdout).unwrap()
}

async fn broker() -> (Broker, Client, String) {
    let broker = Broker::start().await.unwrap();
    let client = Client::connect(broker.address()).await.unwrap();
    client.create_topic(NewTopic::new("clicks")).await.unwrap();
    let address = broker.address();
    (broker, client, address)
}

#[tokio::test]
async fn what_is_produced_is_consumed() {
    let (_broker, _client, address) = broker().await;
    let said = run("produce", &[&address, "clicks"], "one\ntwo\n").await;
    assert_eq!(said, "0 Some(0)\n0 Some(1)\n");
    let consumed = run("consume", &[&address, "clicks"], "").await;
    assert_eq!(consumed, "0/0 one\n0/1 two\n");
}

#[tokio::test]
async fn what_came_lately_is_read_again() {
    let (_broker, client, address) = broker().await;
    let producer = client.producer("clicks").build().await.unwrap();
    for key in ["alice", "bob", "alice"] {
        let delivery = producer.send(Record::new("x").key(key)).await.unwrap();
        delivery.await.unwrap();
    }
    let counts = run("replay", &[&address, "clicks", "3600"], "").await;
    assert_eq!(counts, "alice 2\nbob 1\n");
}

#[tokio::test]
async fn a_consumer_that_was_killed_goes_on_where_it_was() {
    let (_broker, _client, address) = broker().await;
    run("produce", &[&address, "clicks"], "one\ntwo\nthree\n").await;
    let file = std::env::temp_dir().join(format!("highwater-resume-{}", std::process::id()));
    let mut lines = Vec::new();
    // It is killed after its second line, and the third may come before it is.
    for stop_after in [2, 1] {
        let mut command = program("resume");
        command.args([&address, "clicks"]).arg(&file);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let read = tokio::task::spawn_blocking(move || {
            let reader = std::io::BufReader::new(stdout);
            let read = std::io::BufRead::lines(reader).take(stop_after);
            read.map(|line| line.unwrap()).collect::<Vec<_>>()
        });
        lines.extend(read.await.unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
        // What the second run does must not depend on how far the first came after our two lines.
        std::fs::write(&file, "2").unwrap();
    }
    std::fs::remove_file(&file).unwrap();
    assert_eq!(lines, ["0 one", "1 two", "2 three"]);
}

#[test]
fn examples_are_short() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let lines = std::fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= LINES, "{} has {lines} lines", path.display());
    }
}
