//! The sender's alarms, in the order in which they ring.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::pin::Pin;

use highwater_proto::PartitionIndex;
use tokio::time::{Instant, Sleep, sleep_until};

/// What is to be done when its time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Alarm {
    /// A pause is over.
    Resume(PartitionIndex),
    /// An open batch has waited long enough for more records.
    Linger(PartitionIndex),
    /// Look whether a batch still waits for an answer that later ones have.
    Overtaken(PartitionIndex),
    /// Look for deadlines and for a leader that does not answer.
    Check(PartitionIndex),
}

/// Alarms and the one timer that waits for the first of them.
#[derive(Debug)]
pub(crate) struct Clock {
    alarms: BinaryHeap<Reverse<(Instant, Alarm)>>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self {
            alarms: BinaryHeap::new(),
            timer: None,
        }
    }

    pub(crate) fn set(&mut self, at: Instant, alarm: Alarm) {
        self.alarms.push(Reverse((at, alarm)));
    }

    /// Waits for the next alarm, for ever if none is set. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Alarm {
        let Some(Reverse((at, alarm))) = self.alarms.peek().copied() else {
            return std::future::pending().await;
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if timer.deadline() != at {
            timer.as_mut().reset(at);
        }
        timer.as_mut().await;
        self.alarms.pop();
        alarm
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn alarms_ring_in_order_of_their_times() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut clock = Clock::new();
        clock.set(at(20), Alarm::Check(PartitionIndex(1)));
        clock.set(at(10), Alarm::Resume(PartitionIndex(2)));
        assert_eq!(clock.next().await, Alarm::Resume(PartitionIndex(2)));
        assert_eq!(Instant::now(), at(10));
        clock.set(at(5), Alarm::Linger(PartitionIndex(3)));
        assert_eq!(clock.next().await, Alarm::Linger(PartitionIndex(3)));
        assert_eq!(clock.next().await, Alarm::Check(PartitionIndex(1)));
        assert_eq!(Instant::now(), at(20));
    }
}
