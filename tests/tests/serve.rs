//! Starting and stopping a broker: its one line, its exit codes, its HTTP, and input that is none.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use highwater_tests::{Broker, Metrics, SmallDisk, http, ports, program};

#[test]
fn a_broker_says_one_line_and_stops_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(&program!(), dir.path(), &[]);
    let mut keys: Vec<&String> = broker.ready().as_object().unwrap().keys().collect();
    keys.sort_unstable();
    assert_eq!(
        keys,
        ["broker", "cluster", "http", "listen", "peer", "ready"]
    );
    assert_eq!(broker.id(), 1);
    assert_eq!(broker.stop().code(), Some(0));
    let stopped = broker.log_line("this broker has stopped in ");
    assert!(stopped.contains("; nothing was handed over"), "{stopped}");
    assert_eq!(broker.further_output(), Vec::<String>::new());
}

#[test]
fn a_broker_that_is_not_let_in_says_whom_it_asks_and_why_it_waits() {
    let dir = tempfile::tempdir().unwrap();
    let nobody = format!("127.0.0.1:{}", ports::in_a_row(1));
    let joiner = Broker::launch_astray(&program!(), dir.path(), &nobody);
    let line = joiner.log_line("not let in yet; asking again");
    assert!(line.contains(&nobody), "{line}");
    assert!(
        line.contains("cannot be reached") || line.contains("refused"),
        "{line}"
    );
}

#[test]
fn a_broker_told_to_join_at_a_port_for_clients_says_that_it_is_no_peer_port() {
    let dir = tempfile::tempdir().unwrap();
    let member = Broker::start(&program!(), &dir.path().join("1"), &[]);
    let joiner = dir.path().join("2");
    let joiner = Broker::launch_astray(&program!(), &joiner, member.listen());
    // Whoever is slow to answer is said to be so before.
    let line = joiner.log_line("it is no peer port");
    assert!(line.contains("not let in yet; asking again"), "{line}");
}

#[test]
fn sigint_stops_a_broker_in_order_even_with_a_consumer_at_its_stream() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(&program!(), dir.path(), &[]);
    broker.run(&["topic", "create", "t", "-p", "1"]).ok();
    broker.run(&["produce", "t"]).stdin("x\n").ok();
    let mut following = broker.run(&["consume", "t"]).converse();
    following.read(1);
    broker.signal(rustix::process::Signal::INT);
    assert_eq!(broker.stop().code(), Some(0));
    following.signal(rustix::process::Signal::INT);
    following.end().exited(130);
}

#[test]
fn a_broker_takes_as_many_open_files_as_it_may_have_and_warns_when_that_is_little() {
    let dir = tempfile::tempdir().unwrap();
    let limited = "ulimit -Sn 200; ulimit -Hn 400; exec \"$@\"";
    let program = program!().through(&["sh", "-c", limited, "sh"]);
    let broker = Broker::start(&program, dir.path(), &[]);
    let limit = Metrics::of(broker.http()).value("highwater_open_files_limit");
    assert_eq!(limit, 400.0);
    broker.log_line("only 400 files may be open");
}

#[test]
fn a_broker_warns_at_its_start_when_little_of_its_disk_is_free() {
    let disk = SmallDisk::new(24);
    let dir = disk.data_dir();
    let broker = Broker::start(&disk.program(&program!()), &dir, &[]);
    let warning = broker.log_line("MiB free, below 1 GiB or 5 %: ");
    assert!(warning.contains(" WARN "), "{warning}");
    let named = format!("the disk of {} has ", dir.display());
    assert!(warning.contains(&named), "{warning}");
    let (_, free) = warning.split_once(" has ").unwrap();
    let (mib, _) = free.split_once(" MiB ").unwrap();
    assert!((1..24).contains(&mib.parse().unwrap()), "{warning}");
}

#[test]
fn probes_are_answered() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&program!(), dir.path(), &[]);
    let status = |path| http::get(broker.http(), path).head;
    assert!(status("/healthz").starts_with("HTTP/1.1 200 OK"));
    assert!(status("/readyz").starts_with("HTTP/1.1 200 OK"));
    assert!(status("/nothing").starts_with("HTTP/1.1 404 "));
}

#[test]
fn a_broker_that_waits_for_its_cluster_is_alive_and_not_ready() {
    let dir = tempfile::tempdir().unwrap();
    let nobody = format!("127.0.0.1:{}", ports::in_a_row(1));
    let joiner = Broker::launch_astray(&program!(), dir.path(), &nobody);
    joiner.log_line("not let in yet; asking again");
    let answer = |path| http::get(&joiner.http(), path);
    assert!(answer("/healthz").head.starts_with("HTTP/1.1 200 OK"));
    let ready = answer("/readyz");
    assert!(ready.head.starts_with("HTTP/1.1 503 "), "{ready:?}");
    assert!(ready.body.contains("joining its cluster"), "{ready:?}");
    assert!(answer("/metrics").head.starts_with("HTTP/1.1 503 "));
}

#[test]
fn a_join_that_was_begun_is_not_ended_by_founding_a_cluster() {
    let dir = tempfile::tempdir().unwrap();
    let nobody = format!("127.0.0.1:{}", ports::in_a_row(1));
    let joiner = Broker::launch_astray(&program!(), dir.path(), &nobody);
    joiner.log_line("not let in yet; asking again");
    drop(joiner);
    let data = dir.path().to_str().unwrap();
    let alone = program!().run(["serve", "--data-dir", data, "--listen", "127.0.0.1:0"]);
    let ended = alone.end().exited(1).says("START");
    assert!(ended.stderr.contains("--join"), "{ended}");
}

#[test]
fn a_port_in_use_is_named_and_the_broker_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let data = dir.path().join("data");
    let ended = program!()
        .run([
            "serve",
            "--data-dir",
            data.to_str().unwrap(),
            "--listen",
            &address,
        ])
        .end()
        .exited(1)
        .says("START");
    assert!(ended.stderr.contains(&address), "{ended}");
    assert_eq!(ended.text(), "");
}

#[test]
fn a_data_directory_serves_one_broker_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let _first = Broker::start(&program!(), dir.path(), &[]);
    let data = dir.path().to_str().unwrap();
    let second = program!().run(["serve", "--data-dir", data, "--listen", "127.0.0.1:0"]);
    let ended = second.end().exited(1).says("START");
    assert!(ended.stderr.contains(data), "{ended}");
}

#[test]
fn an_address_for_everybody_needs_insecure() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    let ended = program!()
        .run(["serve", "--data-dir", data, "--listen", "0.0.0.0:0"])
        .end();
    assert!(
        ended.clone().exited(2).stderr.contains("--insecure"),
        "{ended}"
    );
}

#[test]
fn settings_that_are_none_are_refused_with_the_nearest() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("highwater.toml");
    std::fs::write(&config, "data_dri = 'x'\n").unwrap();
    let config = config.to_str().unwrap();
    let ended = program!()
        .run(["serve", "--config", config])
        .end()
        .exited(2)
        .says("CONFIG");
    assert!(
        ended.stderr.contains("did you mean \"data_dir\"?"),
        "{ended}"
    );
    let ended = program!()
        .run(["serve", "--set", "rak=1"])
        .end()
        .exited(2)
        .says("CONFIG");
    assert!(ended.stderr.contains("\"rack\""), "{ended}");
    let serve = program!()
        .run(["serve"])
        .env("HIGHWATER__INSECURE", "perhaps");
    serve.end().exited(2).says("CONFIG");
}

#[test]
fn values_that_cannot_be_are_refused_before_anything_is_made_and_are_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    for set in [
        "advertise=",
        "advertise=a b",
        "advertise=host:1",
        "join=127.0.0.1:0",
        "listen=foo",
        "listen=127.0.0.1:99999",
        "peer_listen=127.0.0.1:7654",
        "data_dir=",
    ] {
        let name = set.split('=').next().unwrap();
        for command in [&["serve"][..], &["config", "show"]] {
            let run = program!().run([command, &["--set", set]].concat());
            let ended = run.in_dir(dir.path()).end().exited(2).says("CONFIG");
            assert!(ended.stderr.contains(name), "{ended}");
        }
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn settings_come_from_file_environment_and_flags() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("highwater.toml");
    std::fs::write(&config, "rack = 'from-file'\nlisten = '127.0.0.1:1'\n").unwrap();
    let data = dir.path().join("data");
    let broker = Broker::start(&program!(), &data, &["--config", config.to_str().unwrap()]);
    let brokers = broker
        .run(&["cluster", "brokers", "-o", "json"])
        .ok()
        .json();
    assert_eq!(brokers[0]["rack"], "from-file");
    assert_eq!(brokers[0]["listen"], broker.listen());
}

#[test]
fn the_settings_of_a_broker_are_shown_with_their_origin() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("highwater.toml");
    std::fs::write(&config, "rack = 'from-file'\n").unwrap();
    let config = config.to_str().unwrap();
    let show = |more: &[&str]| {
        let args = [&["config", "show", "--config", config, "--insecure"], more].concat();
        program!().run(args).env("HIGHWATER__LOG_FORMAT", "json")
    };
    let shown = show(&["-o", "json"]).ok().json();
    let setting = |name: &str| {
        let all = shown.as_array().unwrap();
        all.iter().find(|setting| setting["name"] == name).unwrap()
    };
    assert_eq!(setting("rack")["place"], config);
    assert_eq!(setting("log_format")["origin"], "environment");
    assert_eq!(setting("insecure")["value"], true);
    let text = show(&["--origin"]).ok();
    assert!(text.text().contains("HIGHWATER__LOG_FORMAT"), "{text}");
    show(&["--set", "rak=1"]).end().exited(2).says("CONFIG");
}

#[test]
fn the_log_can_be_json_and_warns_of_a_file_system_in_memory() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let broker = Broker::start(&program!(), dir.path(), &["--log-format", "json"]);
    let warning = broker.log_line("is on tmpfs");
    let warning: serde_json::Value = serde_json::from_str(&warning).unwrap();
    assert_eq!(warning["level"], "WARN");
    let message = warning["message"].as_str().unwrap();
    assert!(
        message.starts_with(dir.path().to_str().unwrap()),
        "{message}"
    );
}

#[test]
fn the_log_shows_no_more_than_its_level() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let mut broker = Broker::start(&program!(), dir.path(), &["--set", "log_level=error"]);
    assert_eq!(broker.stop().code(), Some(0));
    assert_eq!(broker.log(), "");
}

#[test]
fn bytes_that_are_not_http_2_disturb_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&program!(), dir.path(), &[]);
    for bytes in [
        &b"GET / HTTP/1.0\r\n\r\n"[..],
        &[0; 4096],
        b"PRI * HTTP/2.0\r\n\r\nnonsense",
    ] {
        for address in [broker.listen(), broker.peer(), broker.http()] {
            let mut stream = TcpStream::connect(address).unwrap();
            stream
                .set_read_timeout(Some(Duration::from_secs(10)))
                .unwrap();
            // The broker may close the connection before it has read everything.
            if stream.write_all(bytes).is_ok() {
                drop(stream.shutdown(std::net::Shutdown::Write));
                drop(stream.read_to_end(&mut Vec::new()));
            }
        }
    }
    broker.run(&["topic", "create", "t", "-p", "1"]).ok();
    broker.run(&["produce", "t"]).stdin("x\n").ok();
}
