//! What a connection is set up with, seen from outside: the frames it takes, and no Nagle delay.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use highwater_tests::{Broker, program};
use rustix::net::sockopt::tcp_nodelay;

/// How an HTTP/2 client begins (RFC 9113, section 3.4), with an empty SETTINGS frame.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const SETTINGS: u8 = 4;
const INITIAL_WINDOW_SIZE: u16 = 4;
const MAX_FRAME_SIZE: u16 = 5;

fn connected(address: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    stream.write_all(PREFACE).unwrap();
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

#[test]
fn clients_and_brokers_get_frames_of_256_kib_wide_windows_and_no_nagle_delay() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&program!(), dir.path(), &[]);
    for address in [broker.listen(), broker.peer()] {
        let mut stream = connected(address);
        let settings = settings(&mut stream);
        assert_eq!(
            settings.get(&MAX_FRAME_SIZE),
            Some(&(256 << 10)),
            "{address}"
        );
        let window = settings.get(&INITIAL_WINDOW_SIZE);
        assert!(
            window.is_some_and(|bytes| *bytes >= 1 << 20),
            "{settings:?}"
        );
        let socket = broker.socket(stream.local_addr().unwrap());
        assert!(tcp_nodelay(&socket).unwrap(), "{address}");
    }
}
