//! A consumer that follows a load live: each record once, in order, and when it came.

use std::time::Duration;

use highwater_client::{Client, Consumer};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::moments::Moments;
use super::value;

/// After the last record of a load, a repeated one has this long to come.
const AFTERWARDS: Duration = Duration::from_millis(100);

/// A consumer that reads from the first record on until it is told how many there are.
#[derive(Debug)]
pub(super) struct Follower {
    following: JoinHandle<Result<Moments, String>>,
    seen: watch::Receiver<u64>,
    sent: watch::Sender<Option<u64>>,
}

impl Follower {
    #[track_caller]
    pub(super) fn start(runtime: &Runtime, client: &Client, topic: &str) -> Self {
        let consumer = runtime.block_on(async { client.consumer(topic).build().await });
        let consumer = consumer.expect("the topic can be read");
        let (count, seen) = watch::channel(0);
        let (sent, told) = watch::channel(None);
        let following = runtime.spawn(follow(consumer, count, told));
        Self {
            following,
            seen,
            sent,
        }
    }

    /// Waits until it has seen so many records, or something that is wrong.
    pub(super) async fn until_seen(&mut self, count: u64) {
        drop(self.seen.wait_for(|seen| *seen >= count).await);
    }

    /// Waits until it has seen all of the records that were sent, and nothing else; gives when they
    /// came, or the first thing that was wrong.
    pub(super) async fn end(self, sent: u64) -> Result<Moments, String> {
        self.sent.send_replace(Some(sent));
        self.following.await.expect("the follower does not panic")
    }
}

async fn follow(
    mut consumer: Consumer,
    count: watch::Sender<u64>,
    mut sent: watch::Receiver<Option<u64>>,
) -> Result<Moments, String> {
    let mut moments = Moments::default();
    let mut number = 0;
    loop {
        let all = sent.borrow().is_some_and(|sent| number >= sent);
        let next = match all {
            true => match tokio::time::timeout(AFTERWARDS, consumer.next()).await {
                Ok(next) => next,
                Err(_) => return Ok(moments),
            },
            false => tokio::select! {
                next = consumer.next() => next,
                Ok(()) = sent.changed() => continue,
            },
        };
        let record = match next {
            Some(Ok(record)) => record,
            Some(Err(error)) => return Err(format!("the follower at {number}: {error}")),
            None => return Err(format!("the follower ends at {number}")),
        };
        let (offset, found) = (record.offset().0, record.value_bytes().unwrap_or_default());
        if offset != number || found != value(number) {
            let found = String::from_utf8_lossy(&found);
            return Err(format!("the follower at {number}: {found:?} at {offset}"));
        }
        number += 1;
        moments.note();
        count.send_replace(number);
    }
}
