//! The bound on what a producer holds in memory: bytes of records that are not yet acknowledged.
//! First come, first served: a record that waits is not overtaken by smaller ones.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::{Mutex, Notify};

/// A step is at most this, and all partitions together hold at most this part of the limit that they do
/// not need.
const LARGEST_STEP: usize = 8 << 10;
const STEPS: usize = 64;

/// Bytes that records may still take.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: usize,
    step: usize,
    used: AtomicUsize,
    waiting: AtomicUsize,
    closed: AtomicBool,
    // guards: the turn of the first in the queue.
    turn: Mutex<()>,
    space: Notify,
}

/// The producer was closed while a record waited for space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Closed;

/// Counts one waiter for as long as its future lives.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Budget {
    /// A budget of `limit` bytes from which so many partitions take.
    pub(crate) fn new(limit: usize, partitions: usize) -> Self {
        Self {
            limit,
            step: (limit / STEPS / partitions.max(1)).min(LARGEST_STEP),
            used: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            turn: Mutex::new(()),
            space: Notify::new(),
        }
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// What is taken at once for small records: each partition may hold so much that it does not need.
    pub(crate) fn step(&self) -> usize {
        self.step
    }

    /// Whether somebody waits for bytes.
    #[inline]
    pub(crate) fn is_awaited(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Bytes taken and not given back.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::SeqCst)
    }

    /// Takes `bytes` if they are free and nobody waits.
    pub(crate) fn try_take(&self, bytes: usize) -> bool {
        !self.is_awaited() && self.grab(bytes)
    }

    /// Takes `bytes`, waiting in turn until they are free. Cancel-safe: nothing is taken then.
    pub(crate) async fn take(&self, bytes: usize) -> Result<(), Closed> {
        if self.try_take(bytes) {
            return Ok(());
        }
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let _waiting = Waiting(&self.waiting);
        let _turn = self.turn.lock().await;
        loop {
            if self.closed.load(Ordering::SeqCst) {
                return Err(Closed);
            }
            if self.grab(bytes) {
                return Ok(());
            }
            self.space.notified().await;
        }
    }

    /// Gives `bytes` back.
    pub(crate) fn give(&self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        self.used.fetch_sub(bytes, Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.space.notify_one();
        }
    }

    /// Ends all waiting.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.space.notify_one();
    }

    fn grab(&self, bytes: usize) -> bool {
        let more = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= self.limit);
        self.used
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, more)
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::poll;

    use super::*;

    #[tokio::test]
    async fn a_large_record_waits_for_space_and_is_not_overtaken() {
        let budget = Budget::new(10, 1);
        assert!(budget.try_take(6));
        let mut large = pin!(budget.take(8));
        assert!(poll!(&mut large).is_pending());
        assert!(!budget.try_take(1), "somebody waits");
        let mut small = pin!(budget.take(1));
        assert!(poll!(&mut small).is_pending());
        budget.give(6);
        assert!(poll!(&mut large).is_ready());
        assert!(poll!(&mut small).is_ready());
        assert_eq!(budget.used(), 9);
    }

    #[tokio::test]
    async fn a_waiter_that_is_dropped_takes_nothing_and_lets_the_next_one_in() {
        let budget = Budget::new(10, 1);
        assert!(budget.try_take(10));
        {
            let mut dropped = pin!(budget.take(5));
            assert!(poll!(&mut dropped).is_pending());
        }
        let mut next = pin!(budget.take(5));
        assert!(poll!(&mut next).is_pending());
        budget.give(5);
        assert!(poll!(&mut next).is_ready());
        assert_eq!(budget.used(), 10);
        assert!(!budget.try_take(1));
        budget.give(10);
        assert!(budget.try_take(1), "nobody waits any more");
    }

    #[tokio::test]
    async fn closing_ends_every_wait() {
        let budget = Budget::new(1, 1);
        assert!(budget.try_take(1));
        let mut waits = [Box::pin(budget.take(1)), Box::pin(budget.take(1))];
        for wait in &mut waits {
            assert!(poll!(wait).is_pending());
        }
        budget.close();
        for wait in &mut waits {
            assert_eq!(wait.await, Err(Closed));
        }
    }
}
