//! A broker inside a test.

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use highwater_proto::pb::peer::PingRequest;
use tokio::runtime::{Builder, Runtime};

use super::{Broker, BrokerConfig};
use crate::peer;

mod removals;

const LIMIT: Duration = Duration::from_secs(30);
/// Long enough for an answer to come that is not held up.
const HELD_UP: Duration = Duration::from_millis(300);
const WORKERS: usize = 2;

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
