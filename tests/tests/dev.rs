//! `highwater dev`: a cluster in the background, stopped and started again with its data.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::time::{Duration, Instant};

use highwater_tests::{Ended, Program, ports, program};
use serde_json::Value;

/// A development cluster on free ports, stopped whatever becomes of the test.
struct Dev {
    program: Program,
    outer: tempfile::TempDir,
    base_port: u16,
}

impl Dev {
    fn new() -> Self {
        Self {
            program: program!(),
            outer: tempfile::tempdir().unwrap(),
            base_port: ports::in_a_row(30),
        }
    }

    fn dir(&self) -> std::path::PathBuf {
        self.outer.path().join("dev")
    }

    fn run(&self, args: &[&str]) -> Ended {
        let dir = self.dir();
        let args = [&["dev"], args, &["--dir", dir.to_str().unwrap()]].concat();
        self.program
            .run(args)
            .within(Duration::from_secs(120))
            .end()
    }

    fn up(&self, nodes: &str) {
        let port = self.base_port.to_string();
        let up = [
            "up",
            "--nodes",
            nodes,
            "--base-port",
            &port,
            "--wait",
            "60s",
        ];
        self.run(&up).exited(0);
    }

    fn status(&self) -> Vec<Value> {
        let status = self.run(&["status", "-o", "json"]).exited(0).json();
        status.as_array().unwrap().clone()
    }

    fn client(&self, args: &[&str]) -> Ended {
        let status = self.status();
        let brokers: Vec<&str> = status
            .iter()
            .map(|row| row["listen"].as_str().unwrap())
            .collect();
        self.program
            .run(args)
            .env("HIGHWATER_BROKERS", brokers.join(","))
            .end()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        if self.dir().exists() {
            self.run(&["down"]);
        }
    }
}

#[test]
fn a_cluster_comes_up_keeps_its_data_and_goes() {
    let dev = Dev::new();
    dev.up("3");
    let status = dev.status();
    let mut keys: Vec<&String> = status[0].as_object().unwrap().keys().collect();
    keys.sort_unstable();
    assert_eq!(
        keys,
        [
            "broker", "data_dir", "http", "listen", "peer", "pid", "state"
        ]
    );
    assert!(
        status
            .iter()
            .all(|row| row["state"] == "running" && row["pid"].is_u64())
    );
    let mut ids: Vec<u64> = status
        .iter()
        .map(|row| row["broker"].as_u64().unwrap())
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, [1, 2, 3]);
    dev.client(&["topic", "create", "t", "-p", "2", "-r", "3"])
        .exited(0);
    let produced = dev.program.run(["produce", "t"]).stdin("kept\n");
    let addresses = status[0]["listen"].as_str().unwrap();
    produced.env("HIGHWATER_BROKERS", addresses).ok();

    dev.run(&["down"]).exited(0);
    let stopped = dev.status();
    assert!(
        stopped
            .iter()
            .all(|row| row["state"] == "stopped" && row["pid"].is_null())
    );
    assert!(Path::new(stopped[0]["data_dir"].as_str().unwrap()).is_dir());

    dev.run(&["up", "--wait", "60s"]).exited(0);
    let again = dev.status();
    assert_eq!(
        again[0]["listen"], status[0]["listen"],
        "the addresses stay"
    );
    let kept = dev.client(&["consume", "t", "--exit-at-end"]).exited(0);
    assert_eq!(kept.lines(), ["kept"]);

    dev.run(&["down", "--purge"]).exited(0);
    assert!(!dev.dir().exists());
    dev.run(&["status"]).exited(3).says("DEV");
}

#[test]
fn up_starts_what_does_not_run() {
    let dev = Dev::new();
    dev.up("1");
    let before = dev.status();
    let pid = i32::try_from(before[0]["pid"].as_i64().unwrap()).unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while dev.status()[0]["state"] == "running" {
        assert!(Instant::now() < deadline, "a killed broker still runs");
    }
    dev.up("3");
    let after = dev.status();
    assert_eq!(after.len(), 3);
    assert!(after.iter().all(|row| row["state"] == "running"));
    assert_ne!(after[0]["pid"], before[0]["pid"]);
    assert_eq!(after[0]["broker"], before[0]["broker"]);
    dev.up("3");
    assert_eq!(dev.status(), after, "what runs is left alone");
}

#[test]
fn what_an_impatient_up_left_becomes_one_cluster() {
    let dev = Dev::new();
    let port = dev.base_port.to_string();
    let up = ["up", "--nodes", "3", "--base-port", &port];
    // Whether the first broker is ready in time or not: in the end there is one cluster of all.
    dev.run(&[&up[..], &["--wait", "1ms"]].concat());
    dev.run(&["up", "--wait", "60s"]).exited(0);
    let brokers = dev.client(&["cluster", "brokers", "-o", "json"]).json();
    assert_eq!(brokers.as_array().unwrap().len(), 3, "{brokers}");
    let listens: Vec<String> = (0..3)
        .map(|n| format!("127.0.0.1:{}", dev.base_port + 10 * n))
        .collect();
    let status = dev.status();
    let kept: Vec<&str> = status
        .iter()
        .map(|row| row["listen"].as_str().unwrap())
        .collect();
    assert_eq!(kept, listens, "the ports that were asked for first");
}

#[test]
fn one_command_at_a_time_changes_a_cluster() {
    let dev = Dev::new();
    std::fs::create_dir_all(dev.dir()).unwrap();
    let held = std::fs::File::open(dev.dir()).unwrap();
    held.try_lock().unwrap();
    let refused = dev.run(&["up", "--nodes", "1", "--base-port", "0"]);
    let refused = refused.exited(1).says("DEV");
    assert!(
        refused.stderr.contains("another `highwater dev up`"),
        "{refused}"
    );
    drop(held);
    dev.run(&["status"]).exited(3);
}

#[test]
fn a_broker_that_could_not_start_tries_other_ports() {
    let dev = Dev::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let refused = dev.run(&["up", "--nodes", "1", "--base-port", &port]);
    let refused = refused.exited(1).says("DEV");
    let hints = refused
        .stderr
        .lines()
        .filter(|line| line.starts_with("hint: "));
    let hints: Vec<&str> = hints.collect();
    assert!(
        hints.len() == 1 && hints[0].contains("--base-port"),
        "{refused}"
    );
    dev.run(&["up", "--base-port", "0", "--wait", "60s"])
        .exited(0);
    assert_ne!(dev.status()[0]["listen"], format!("127.0.0.1:{port}"));
}
