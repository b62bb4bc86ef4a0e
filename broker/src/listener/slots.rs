//! How many connections there may be. Segments and connections are open files of one process:
//! connections may have half of them, so that storage never lacks one because of what comes in from
//! the network. Whoever has one can be cut off, with everybody else.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::clock;
use crate::log::dir::usage;

/// Without descriptors or memory for a connection it is tried again after this long.
const REST: Duration = Duration::from_millis(50);
/// Refused connections are logged no more often than this.
const WARN_EVERY: Duration = Duration::from_secs(10);
/// Of the limit of open files: one in so many for clients, for brokers, for HTTP.
const SHARES: [u64; 3] = [4, 8, 8];
/// Fewer connections than this are of no use.
const LEAST: u64 = 4;

/// Room for the connections of one listener.
#[derive(Debug, Clone)]
pub struct Slots {
    whom: &'static str,
    most: usize,
    free: Arc<Semaphore>,
    // guards: when it was last said that no slot is free.
    warned: Arc<Mutex<Option<Instant>>>,
    cut: CancellationToken,
}

/// A connection's place, free again when it is dropped.
#[derive(Debug)]
pub struct Slot {
    _permit: OwnedSemaphorePermit,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Slot {
    /// Ready when the connection is to end at once.
    pub(super) fn poll_cut(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.cut.as_mut().poll(context)
    }
}

/// The slots of all listeners.
#[derive(Debug, Clone)]
pub struct AllSlots {
    /// Of the listener for clients.
    pub clients: Slots,
    /// Of the listener for other brokers.
    pub peers: Slots,
    /// Of the HTTP listener.
    pub http: Slots,
}

impl AllSlots {
    /// Half of the files that this process may have open, shared out.
    pub fn of_process() -> Self {
        Self::of_files(usage::file_limit())
    }

    fn of_files(limit: u64) -> Self {
        let [clients, peers, http] = SHARES.map(|share| (limit / share).max(LEAST));
        let cut = CancellationToken::new();
        Self {
            clients: Slots::new("clients", clients, &cut),
            peers: Slots::new("brokers", peers, &cut),
            http: Slots::new("HTTP", http, &cut),
        }
    }

    /// Ends every connection at once, whatever is under way on it, as the end of the process does.
    pub fn cut(&self) {
        self.clients.cut.cancel();
    }
}

impl Slots {
    fn new(whom: &'static str, most: u64, cut: &CancellationToken) -> Self {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let most = most.min(Semaphore::MAX_PERMITS);
        Self {
            whom,
            most,
            free: Arc::new(Semaphore::new(most)),
            warned: Arc::default(),
            cut: cut.clone(),
        }
    }

    /// The next connection that there is room for; those that there is none for are closed.
    /// Cancel-safe.
    pub(super) async fn accept(&self, listener: &TcpListener) -> (TcpStream, Slot) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => match self.take() {
                    Some(slot) => return (stream, slot),
                    None => drop(stream),
                },
                Err(error) => {
                    if self.may_warn() {
                        tracing::warn!(%error, "a connection of {} was not accepted", self.whom);
                    }
                    tokio::time::sleep_until(clock::monotonic() + REST).await;
                }
            }
        }
    }

    fn take(&self) -> Option<Slot> {
        let permit = Arc::clone(&self.free).try_acquire_owned().ok();
        if permit.is_none() && self.may_warn() {
            tracing::warn!(
                most = self.most,
                "connections of {} are refused: all that the limit of open files leaves room for \
                 are open; raise the limit (ulimit -n, LimitNOFILE), or find out who opens them",
                self.whom
            );
        }
        permit.map(|permit| Slot {
            _permit: permit,
            // A token of its own, so that connections do not meet at one lock.
            cut: Box::pin(self.cut.child_token().cancelled_owned()),
        })
    }

    fn may_warn(&self) -> bool {
        let now = clock::monotonic();
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.is_some_and(|last| now.saturating_duration_since(last) < WARN_EVERY) {
            return false;
        }
        *warned = Some(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_take_half_of_the_open_files() {
        for limit in [64, 200, 1024, 1 << 20] {
            let all = AllSlots::of_files(limit);
            let sum = all.clients.most + all.peers.most + all.http.most;
            assert!(sum as u64 <= limit / 2, "{sum} of {limit}");
            assert!(sum as u64 >= limit / 3, "{sum} of {limit}");
        }
        assert!(AllSlots::of_files(u64::MAX).clients.take().is_some());
    }

    #[tokio::test]
    async fn a_connection_without_a_slot_is_closed_and_a_slot_that_is_given_back_is_taken_again() {
        let slots = Slots::new("clients", 1, &CancellationToken::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connect = async || TcpStream::connect(address).await.unwrap();
        let _first = connect().await;
        let (_stream, slot) = slots.accept(&listener).await;
        let mut second = connect().await;
        let closed = async {
            let mut byte = [0];
            tokio::io::AsyncReadExt::read(&mut second, &mut byte).await
        };
        tokio::select! {
            _ = slots.accept(&listener) => panic!("there was no slot"),
            closed = closed => assert_eq!(closed.unwrap(), 0),
        }
        drop(slot);
        let _third = connect().await;
        slots.accept(&listener).await;
    }
}
