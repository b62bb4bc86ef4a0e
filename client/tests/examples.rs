//! Every example runs against a broker and does what it says.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use highwater_broker::testing::Broker;
use highwater_client::{Client, NewTopic, Record};

/// An example has fewer lines.
const LINES: usize = 60;
/// How long something may take that comes in any case.
const PATIENCE: Duration = Duration::from_secs(30);

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

/// The first lines that the example prints, which is then killed.
async fn killed_after(lines: usize, mut resume: Command) -> Vec<String> {
    let mut child = resume.stdout(Stdio::piped()).spawn().unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let read = tokio::task::spawn_blocking(move || {
        let read = stdout.lines().take(lines);
        read.map(|line| line.unwrap()).collect()
    });
    let read = tokio::time::timeout(PATIENCE, read).await;
    child.kill().unwrap();
    child.wait().unwrap();
    read.expect("the lines come in time").unwrap()
}

#[tokio::test]
async fn a_consumer_that_was_killed_goes_on_where_it_was() {
    let (_broker, _client, address) = broker().await;
    let name = format!("resume-{}", std::process::id());
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let resume = || {
        let mut command = program("resume");
        command.args([&address, "clicks"]).arg(&file);
        command
    };
    run("produce", &[&address, "clicks"], "one\ntwo\nthree\n").await;
    let first = killed_after(3, resume()).await;
    assert_eq!(first, ["0 one", "1 two", "2 three"]);
    // It had noted the second record before it came to the third, and was killed before or after
    // it noted that one.
    let noted: usize = fs::read_to_string(&file).unwrap().parse().unwrap();
    assert!([2, 3].contains(&noted), "{noted}");
    run("produce", &[&address, "clicks"], "four\n").await;
    let expected = &["2 three", "3 four"][noted - 2..];
    assert_eq!(killed_after(expected.len(), resume()).await, expected);
    fs::remove_file(&file).unwrap();
}

#[test]
fn examples_are_short() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (folder, language, count) in [
        (package.join("examples"), "rs", 4),
        (package.join("../examples/python"), "py", 2),
    ] {
        let entries = fs::read_dir(folder).unwrap();
        let files = entries.map(|entry| entry.unwrap().path());
        let of_language = |path: &PathBuf| path.extension().is_some_and(|e| e == language);
        let files: Vec<_> = files.filter(of_language).collect();
        assert!(files.len() >= count, "{files:?}");
        for path in files {
            let lines = fs::read_to_string(&path).unwrap().lines().count();
            assert!(lines < LINES, "{} has {lines} lines", path.display());
        }
    }
}
