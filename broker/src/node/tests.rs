//! A broker inside a test.

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use highwater_proto::Timestamp;
use highwater_proto::pb::peer::PingRequest;
use tokio::runtime::{Builder, Runtime};

use super::{Broker, BrokerConfig, start};
use crate::clock::{Clock, SystemClock};
use crate::log::MemDir;
use crate::peer;
use crate::service::Context;

mod asking;
mod cold_reads;
mod drains;
mod every_operation;
mod failing_write;
mod held_up;
mod no_copy;
mod removals;

const LIMIT: Duration = Duration::from_secs(30);
/// Long enough for an answer to come that is not held up.
const HELD_UP: Duration = Duration::from_millis(300);
const WORKERS: usize = 2;

/// That of a caller who may do everything.
fn context() -> Context {
    Context {
        principal: "anonymous".to_owned(),
        deadline: LIMIT,
        may_forward: false,
    }
}

/// Keeps every worker of a runtime busy with one call that does not return, as a write to a disk
/// that is stuck would, until the result is dropped.
fn block(runtime: &Runtime) -> mpsc::Sender<()> {
    let (release, released) = mpsc::channel();
    let released = Arc::new(Mutex::new(released));
    let (began, begun) = mpsc::channel();
    for _ in 0..WORKERS {
        let (began, released) = (began.clone(), Arc::clone(&released));
        runtime.spawn(async move {
            began.send(()).unwrap();
            let _ = released.lock().unwrap().recv();
        });
    }
    for _ in 0..WORKERS {
        begun.recv_timeout(LIMIT).unwrap();
    }
    release
}

#[test]
fn pings_are_answered_while_all_other_work_stands_still() {
    let dir = tempfile::tempdir().unwrap();
    let config = BrokerConfig {
        data_dir: dir.path().to_owned(),
        listen: "127.0.0.1:0".to_owned(),
        ..BrokerConfig::default()
    };
    let busy = Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .unwrap();
    let broker = busy.block_on(Broker::start(config)).unwrap();
    let address = broker.peer_addr().to_string();
    let ping = || PingRequest {
        hello: Some(broker.services.me.hello()),
        ..PingRequest::default()
    };
    let asking = Builder::new_current_thread().enable_all().build().unwrap();

    let release = block(&busy);
    asking.block_on(async {
        let mut ordinary = peer::client(peer::connect(&address).unwrap());
        let held_up = peer::call(HELD_UP, ordinary.ping(ping())).await;
        assert!(held_up.is_err(), "the workers are not blocked");
        let mut control = peer::client(peer::connect_control(&address).unwrap());
        peer::call(LIMIT, control.ping(ping())).await.unwrap();
    });
    drop(release);
    asking.block_on(async {
        let mut ordinary = peer::client(peer::connect(&address).unwrap());
        peer::call(LIMIT, ordinary.ping(ping())).await.unwrap();
    });
    busy.block_on(broker.shutdown());
}

/// A machine whose wall clock is ahead.
#[derive(Debug)]
struct Ahead(i64);

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        Timestamp(SystemClock.now().0 + self.0)
    }

    fn uptime(&self) -> i64 {
        SystemClock.uptime()
    }
}

const DAY: i64 = 24 * 60 * 60 * 1000;

/// A broker on `disk` whose machine was just started, with its clock `ahead` of the real time.
async fn start_ahead(disk: &MemDir, join: &[String], ahead: i64, boot: &[u8]) -> Broker {
    let config = BrokerConfig {
        listen: "127.0.0.1:0".to_owned(),
        join: join.to_vec(),
        data_dir: std::path::PathBuf::new(),
        ..BrokerConfig::default()
    };
    let storage = start::Storage::Memory(disk.next_process());
    let started = start::start(config, storage, Arc::new(Ahead(ahead)), boot.to_vec());
    tokio::time::timeout(LIMIT, started).await.unwrap().unwrap()
}

/// Waits until the broker's clock shows the real time.
async fn is_right(broker: &Broker) {
    let clock = broker.services.liveness.clock();
    let mut shifts = clock.shifts();
    let far = || (clock.now().0 - SystemClock.now().0).abs() > DAY / 2;
    while far() {
        let shifted = tokio::time::timeout(LIMIT, shifts.changed()).await;
        shifted.expect("it takes the others' time").unwrap();
    }
}

/// Waits until another broker knows that the clock of this one's machine is ahead.
async fn is_known_to_be_ahead(broker: &Broker, other: &Broker, ahead: i64) {
    let me = broker.services.me.broker;
    let is_so = |ms: i64| (ms - ahead).abs() < DAY / 2;
    let gauges = broker.services.gauges(false);
    assert!(is_so(gauges.clock_offset_ms), "{gauges:?}");
    let (address, hello) = (broker.peer_addr().to_string(), other.services.me.hello());
    let mut peer = peer::client(peer::connect_control(&address).unwrap());
    let heard = async {
        while !is_so(other.services.liveness.clock_ahead_ms(me)) {
            let ping = PingRequest {
                hello: Some(hello.clone()),
                ..PingRequest::default()
            };
            let answer = peer::call(LIMIT, peer.ping(ping)).await.unwrap();
            assert!(is_so(answer.clock_ahead), "{answer:?}");
        }
    };
    tokio::time::timeout(LIMIT, heard).await.unwrap();
    assert_eq!(other.services.gauges(false).clock_offset_ms, 0);
}

#[tokio::test]
async fn a_broker_whose_clock_is_a_day_off_takes_the_time_of_the_others() {
    let disks = [MemDir::new(), MemDir::new(), MemDir::new()];
    let first = start_ahead(&disks[0], &[], 0, b"first").await;
    let join = [first.peer_addr().to_string()];
    let second = start_ahead(&disks[1], &join, -DAY, b"second").await;
    is_right(&second).await;
    let mut third = start_ahead(&disks[2], &join, DAY, b"third").await;
    is_right(&third).await;
    for (boot, ahead) in [(b"3.1", 2 * DAY), (b"3.2", -DAY)] {
        third.shutdown().await;
        third = start_ahead(&disks[2], &[], ahead, boot).await;
        is_right(&third).await;
        is_right(&first).await;
        is_right(&second).await;
        is_known_to_be_ahead(&third, &first, ahead).await;
    }
    for broker in [first, second, third] {
        broker.abandon().await;
    }
}

#[tokio::test]
async fn the_clock_of_one_broker_goes_on_through_a_restart_of_its_machine() {
    let disk = MemDir::new();
    let begun = SystemClock.now().0;
    let mut broker = start_ahead(&disk, &[], 0, b"first").await;
    broker.shutdown().await;
    broker = start_ahead(&disk, &[], -DAY, b"second").await;
    assert!(broker.services.clock.now().0 >= begun, "it went back");
    broker.shutdown().await;
    broker = start_ahead(&disk, &[], DAY, b"third").await;
    let ages = broker.services.clock.ages();
    let age = ages.now.0 - ages.counted_from(Timestamp(begun)).0;
    assert!(age < DAY / 2, "{age} ms");
    broker.abandon().await;
}
