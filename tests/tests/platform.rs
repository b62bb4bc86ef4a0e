//! What a connection is set up with at both ends, seen from outside: the frames it takes, and no Nagle
//! delay.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use highwater_client::{Client, Record};
use highwater_tests::sockets::connected;
use highwater_tests::{Broker, Cluster, program};
use rustix::net::sockopt::tcp_nodelay;
use rustix::process::getpid;

/// How an HTTP/2 client begins (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How a control connection of a broker begins: with this, and then as any other.
const CONTROL: &[u8; 8] = b"HWCTRL1\n";
const EMPTY_SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
const SETTINGS: u8 = 4;
const INITIAL_WINDOW_SIZE: u16 = 4;
const MAX_FRAME_SIZE: u16 = 5;

const LIMIT: Duration = Duration::from_secs(30);

fn begun(address: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(PREFACE).unwrap();
    stream.write_all(EMPTY_SETTINGS).unwrap();
    stream
}

/// The first connection that is made, behind the bytes with which clients begin, whichever kind of
/// connection it is.
#[track_caller]
fn accepted(listening: &TcpListener) -> TcpStream {
    listening.set_nonblocking(true).unwrap();
    let deadline = Instant::now() + LIMIT;
    let (mut stream, _) = loop {
        match listening.accept() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::yield_now(),
            accepted => break accepted.unwrap(),
        }
        assert!(Instant::now() < deadline, "nobody connects");
    };
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let mut first = *CONTROL;
    stream.read_exact(&mut first).unwrap();
    let mut preface = first.to_vec();
    if first == *CONTROL {
        preface.clear();
    }
    let mut rest = vec![0; PREFACE.len() - preface.len()];
    stream.read_exact(&mut rest).unwrap();
    preface.extend(rest);
    assert_eq!(preface, PREFACE);
    stream
}

/// What the other end's first frame, SETTINGS, says.
fn settings(stream: &mut TcpStream) -> BTreeMap<u16, u32> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).unwrap();
    let len = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    assert_eq!(head[3], SETTINGS);
    let mut body = vec![0; len as usize];
    stream.read_exact(&mut body).unwrap();
    let setting = |bytes: &[u8]| {
        let id = u16::from_be_bytes([bytes[0], bytes[1]]);
        let value = u32::from_be_bytes([bytes[2], bytes[3], bytes[4], bytes[5]]);
        (id, value)
    };
    body.chunks_exact(6).map(setting).collect()
}

/// The other end takes frames of 256 KiB and has a wide window.
#[track_caller]
fn assert_set_up(who: &str, stream: &mut TcpStream) {
    let settings = settings(stream);
    let frame = settings.get(&MAX_FRAME_SIZE);
    assert_eq!(frame, Some(&(256 << 10)), "{who}");
    let window = settings.get(&INITIAL_WINDOW_SIZE);
    assert!(
        window.is_some_and(|bytes| *bytes >= 1 << 20),
        "{who}: {settings:?}"
    );
}

#[track_caller]
fn assert_no_delay(who: &str, sockets: &[OwnedFd]) {
    let delays = sockets.iter().map(|socket| !tcp_nodelay(socket).unwrap());
    let delays: Vec<bool> = delays.collect();
    assert!(!delays.contains(&true), "{who}: delayed {delays:?}");
}

#[test]
fn clients_and_brokers_get_frames_of_256_kib_wide_windows_and_no_nagle_delay() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&program!(), dir.path(), &[]);
    for address in [broker.listen(), broker.peer()] {
        let mut stream = begun(address);
        assert_set_up(address, &mut stream);
        let sockets = broker.sockets(stream.local_addr().unwrap(), 1);
        assert_no_delay(address, &sockets);
    }
}

#[test]
fn a_client_takes_frames_of_256_kib_and_has_a_wide_window() {
    let fake = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = fake.local_addr().unwrap().to_string();
    let list = program!().run(["-b", &address, "topic", "list", "--timeout", "10s"]);
    let asking = list.start();
    let mut stream = accepted(&fake);
    assert_set_up("the client", &mut stream);
    drop((stream, fake));
    asking.end().exited(5);
}

#[test]
fn a_broker_takes_such_frames_of_the_brokers_that_it_calls() {
    let fake = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = fake.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    let joining = Broker::launch_astray(&program!(), dir.path(), &address);
    let mut stream = accepted(&fake);
    assert_set_up("the broker", &mut stream);
    drop(joining);
}

#[tokio::test]
async fn no_connection_that_a_client_makes_has_a_nagle_delay() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&program!(), dir.path(), &[]);
    broker.run(&["topic", "create", "t", "-p", "1"]).ok();
    let client = Client::connect(broker.listen()).await.unwrap();
    let producer = client.producer("t").build().await.unwrap();
    let mut consumer = client.consumer("t").build().await.unwrap();
    let sent = producer.send(Record::new("x")).await.unwrap();
    sent.await.unwrap();
    consumer.next().await.unwrap().unwrap();
    // What it asks with, what it produces with, and what it consumes with.
    let sockets = connected(getpid(), broker.listen().parse().unwrap(), 3);
    assert_no_delay("the client", &sockets);
}

#[test]
fn no_connection_between_brokers_has_a_nagle_delay() {
    let cluster = Cluster::start(&program!(), 2);
    cluster
        .run(&["topic", "create", "t", "-p", "1", "-r", "2"])
        .ok();
    cluster.until_healthy();
    for [from, to] in [[0, 1], [1, 0]] {
        // Who leads acknowledges once the other has it: the entries went over its append lane. It sends
        // pings and heartbeats over control connections.
        let drained = cluster.brokers[to].id().to_string();
        cluster.run(&["cluster", "drain", &drained]).ok();
        cluster.leader_but("t", 0, to);
        cluster.run(&["produce", "t"]).stdin("x\n").ok();
        let (from, to) = (&cluster.brokers[from], &cluster.brokers[to]);
        let sockets = from.sockets(to.peer().parse().unwrap(), 3);
        assert_no_delay(from.peer(), &sockets);
        cluster
            .run(&["cluster", "drain", &drained, "--cancel"])
            .ok();
    }
}
