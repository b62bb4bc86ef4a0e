//! What becomes of a record: one completion for all records of a batch, awaited by any number of
//! them at the cost of an index each.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use highwater_proto::{Offset, PartitionIndex, Timestamp};

use crate::error::Result;

/// Where a record is, now that it is durable.
///
/// `offset`, `append_time` and `leader_epoch` are missing only when a batch had to be sent again so
/// late that the broker still knew *that* it has the batch, but no longer where
/// (`DUPLICATE_SEQUENCE`). The record is in the log, once, all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ack {
    /// The partition.
    pub partition: PartitionIndex,
    /// The record's offset.
    pub offset: Option<Offset>,
    /// When the leader appended it.
    pub append_time: Option<Timestamp>,
    /// The epoch of the leader.
    pub leader_epoch: Option<i32>,
    /// True when the batch was sent more than once and this is its original place.
    pub duplicate: bool,
}

/// The future of one record: ready when it is durable as the topic's level says, or has failed.
///
/// An error says by its [`outcome`](crate::Error::outcome) whether the record may be in the log. Sent
/// again by the program it is another record: only where the outcome is not `Unknown` can that not
/// write it twice.
///
/// May be dropped; the record is delivered all the same, and if it fails, the next
/// [`Producer::flush`](crate::Producer::flush) tells. Deliveries of one partition become ready
/// in the order in which the records were sent. Cancel-safe.
#[derive(Debug)]
#[must_use = "without it only the next flush tells that the record failed, and not which"]
pub struct Delivery {
    pub(super) slot: Arc<BatchSlot>,
    pub(super) index: u32,
    waker: Option<usize>,
}

impl Delivery {
    pub(crate) fn new(slot: Arc<BatchSlot>, index: u32) -> Self {
        Self {
            slot,
            index,
            waker: None,
        }
    }

    /// The partition that the record went to.
    pub fn partition(&self) -> PartitionIndex {
        self.slot.partition
    }

    /// What became of the record, if that is known already. It does not change any more then.
    pub fn outcome(&self) -> Option<Result<Ack>> {
        let outcome = self.slot.outcome.get()?;
        Some(outcome.clone().map(|ack| ack.of_record(self.index)))
    }
}

impl Future for Delivery {
    type Output = Result<Ack>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(outcome) = self.outcome() {
            return Poll::Ready(outcome);
        }
        let place = self.waker;
        self.waker = Some(self.slot.register(place, cx.waker()));
        // The batch may have completed before the waker was in place.
        self.outcome().map_or(Poll::Pending, Poll::Ready)
    }
}

/// The outcome of a batch and who waits for it.
#[derive(Debug)]
pub(crate) struct BatchSlot {
    partition: PartitionIndex,
    /// The number of the last flush before it; see [`super::failures`].
    era: u64,
    outcome: OnceLock<Result<Ack>>,
    // guards: who waits; emptied once, when the outcome is set.
    waiters: Mutex<Vec<Waiter>>,
}

/// A task to wake, and how many deliveries count on that.
#[derive(Debug)]
struct Waiter {
    waker: Waker,
    deliveries: usize,
}

impl BatchSlot {
    pub(crate) fn new(partition: PartitionIndex, era: u64) -> Arc<Self> {
        Arc::new(Self {
            partition,
            era,
            outcome: OnceLock::new(),
            waiters: Mutex::default(),
        })
    }

    /// Which flushes tell if it fails: those with a higher number.
    pub(crate) fn era(&self) -> u64 {
        self.era
    }

    /// Sets the outcome, that of the first record in case of success, and wakes all who wait.
    pub(crate) fn complete(&self, outcome: Result<Ack>) {
        if self.outcome.set(outcome).is_err() {
            return;
        }
        let mut waiters = self.lock_waiters();
        let waiting = std::mem::take(&mut *waiters);
        drop(waiters);
        waiting.into_iter().for_each(|waiter| waiter.waker.wake());
    }

    /// Has `waker` woken for a delivery that had this `place` so far; gives its place now.
    ///
    /// Every delivery has the waker of its latest poll at its place: one that changes its task leaves
    /// the waker it had to those that share it.
    fn register(&self, place: Option<usize>, waker: &Waker) -> usize {
        let mut waiters = self.lock_waiters();
        if let Some((place, mine)) = place.and_then(|i| Some((i, waiters.get_mut(i)?))) {
            if mine.waker.will_wake(waker) {
                return place;
            }
            if mine.deliveries == 1 {
                mine.waker.clone_from(waker);
                return place;
            }
            mine.deliveries -= 1;
        }
        // One task often awaits many records of a batch, one after another.
        match waiters.last_mut() {
            Some(last) if last.waker.will_wake(waker) => last.deliveries += 1,
            _ => waiters.push(Waiter {
                waker: waker.clone(),
                deliveries: 1,
            }),
        }
        waiters.len() - 1
    }

    fn lock_waiters(&self) -> MutexGuard<'_, Vec<Waiter>> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ack {
    /// An acknowledgement with a place and nothing else, for tests of programs that take one. Its
    /// fields may be set after that.
    pub fn new(partition: PartitionIndex, offset: Offset) -> Self {
        Self {
            partition,
            offset: Some(offset),
            append_time: None,
            leader_epoch: None,
            duplicate: false,
        }
    }

    fn of_record(mut self, index: u32) -> Self {
        self.offset = self.offset.map(|base| base.plus(u64::from(index)));
        self
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use highwater_proto::Reason;

    use super::*;
    use crate::error::Error;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn ack(offset: u64) -> Ack {
        Ack {
            append_time: Some(Timestamp(5)),
            leader_epoch: Some(1),
            ..Ack::new(PartitionIndex(2), Offset(offset))
        }
    }

    #[test]
    fn every_record_of_a_batch_gets_its_own_offset() {
        let slot = BatchSlot::new(PartitionIndex(2), 0);
        let deliveries: Vec<_> = (0..3)
            .map(|i| Delivery::new(Arc::clone(&slot), i))
            .collect();
        assert!(deliveries[0].outcome().is_none());
        slot.complete(Ok(ack(40)));
        for (i, delivery) in deliveries.iter().enumerate() {
            let offset = delivery.outcome().unwrap().unwrap().offset;
            assert_eq!(offset, Some(Offset(40 + i as u64)));
        }
    }

    /// Two tasks and how often each was woken.
    fn tasks() -> ([Waker; 2], impl Fn() -> [usize; 2]) {
        let counts = [Arc::new(Count::default()), Arc::new(Count::default())];
        let wakers = counts.each_ref().map(|count| Arc::clone(count).into());
        let woken = move || {
            counts
                .each_ref()
                .map(|count| count.0.load(Ordering::SeqCst))
        };
        (wakers, woken)
    }

    fn poll(deliveries: &mut [Delivery], waker: &Waker) {
        for delivery in deliveries {
            let polled = Pin::new(delivery).poll(&mut Context::from_waker(waker));
            assert!(polled.is_pending());
        }
    }

    #[test]
    fn completion_wakes_every_task_that_waits_and_only_once() {
        let slot = BatchSlot::new(PartitionIndex(2), 0);
        let (wakers, woken) = tasks();
        for waker in &wakers {
            for index in 0..3 {
                let mut delivery = [Delivery::new(Arc::clone(&slot), index)];
                poll(&mut delivery, waker);
                poll(&mut delivery, waker);
            }
        }
        slot.complete(Ok(ack(0)));
        slot.complete(Ok(ack(9)));
        assert_eq!(woken(), [1, 1]);
        let first = Delivery::new(slot, 0).outcome().unwrap().unwrap();
        assert_eq!(first.offset, Some(Offset(0)), "the first outcome stays");
    }

    #[test]
    fn a_delivery_that_goes_to_another_task_leaves_the_others_theirs() {
        let slot = BatchSlot::new(PartitionIndex(2), 0);
        let ([stays, takes], woken) = tasks();
        let mut deliveries = [0, 1].map(|index| Delivery::new(Arc::clone(&slot), index));
        poll(&mut deliveries, &stays);
        for _ in 0..3 {
            poll(&mut deliveries[1..], &takes);
        }
        slot.complete(Ok(ack(0)));
        assert_eq!(woken(), [1, 1]);
    }

    #[test]
    fn deliveries_that_all_go_to_another_task_wake_only_that_one() {
        let slot = BatchSlot::new(PartitionIndex(2), 0);
        let ([before, after], woken) = tasks();
        let mut deliveries = [0, 1].map(|index| Delivery::new(Arc::clone(&slot), index));
        poll(&mut deliveries, &before);
        poll(&mut deliveries, &after);
        // However often they change, there is no more to wake than there are deliveries.
        for waker in [&before, &after].repeat(10) {
            poll(&mut deliveries, waker);
        }
        assert!(slot.lock_waiters().len() <= 2);
        slot.complete(Ok(ack(0)));
        assert_eq!(woken()[0], 0);
        assert!(woken()[1] > 0);
    }

    #[test]
    fn a_failed_batch_fails_each_of_its_records() {
        let slot = BatchSlot::new(PartitionIndex(2), 0);
        slot.complete(Err(Error::new(Reason::BadBatch, "m")));
        let error = Delivery::new(slot, 7).outcome().unwrap().unwrap_err();
        assert_eq!(error.reason(), Some(Reason::BadBatch));
    }
}
