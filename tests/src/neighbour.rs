//! A client that behaves: whatever the others do, it must not notice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use highwater_proto::pb::v1;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::api::{Api, soon, text};
use crate::batches::batch;
use crate::session::Session;

/// The topic that it writes and reads.
const TOPIC: &str = "neighbour";

/// How many rounds show that it is served.
const ENOUGH: u64 = 5;

/// Appends, reads what it appended, and begins again, until told to leave. Fails on any error and
/// on any answer that is late.
#[derive(Debug)]
pub struct Neighbour {
    rounds: watch::Receiver<u64>,
    leaving: Arc<AtomicBool>,
    living: JoinHandle<()>,
}

impl Neighbour {
    /// Begins on a broker's address, and waits until it is served. The runtime needs more than one
    /// thread, or nothing happens beside the test.
    pub async fn begin(address: &str) -> Self {
        let api = Api::connect(address).await;
        api.create(TOPIC, 1, &[]).await;
        let (done, rounds) = watch::channel(0);
        let leaving = Arc::new(AtomicBool::new(false));
        let living = live(api, done, Arc::clone(&leaving));
        let mut neighbour = Self {
            rounds,
            leaving,
            living: tokio::spawn(living),
        };
        neighbour.goes_on().await;
        neighbour
    }

    /// Waits until it has been served some more.
    pub async fn goes_on(&mut self) {
        let enough = *self.rounds.borrow_and_update() + ENOUGH;
        let waiting = self.rounds.wait_for(|rounds| *rounds >= enough);
        let served = soon("rounds of the neighbour", waiting).await.is_ok();
        assert!(served, "the neighbour was hurt");
    }

    /// Fails if it noticed anything.
    pub async fn leaves(mut self) {
        self.goes_on().await;
        self.leaving.store(true, Ordering::Relaxed);
        let left = soon("the neighbour leaves", self.living).await;
        left.expect("the neighbour noticed nothing");
    }
}

async fn live(api: Api, done: watch::Sender<u64>, leaving: Arc<AtomicBool>) {
    let mut session = Session::open(&api).await;
    let mut offset = 0;
    while !leaving.load(Ordering::Relaxed) {
        let values = [format!("{offset} a"), format!("{offset} b")];
        let number = session.send(TOPIC, 0, batch(&values));
        let ack = session.answer(number).await.expect("it is acknowledged");
        assert_eq!(ack.base_offset, offset);
        let request = v1::FetchRequest {
            topic: TOPIC.to_owned(),
            offset,
            ..v1::FetchRequest::default()
        };
        let read = api.fetch(request).await.expect("it can be read");
        let read: Vec<String> = read.records.into_iter().map(text).collect();
        assert_eq!(read, values);
        offset += 2;
        done.send_modify(|rounds| *rounds += 1);
    }
}
