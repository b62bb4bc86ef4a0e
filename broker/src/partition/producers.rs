//! Which batches of a producer are new: the idempotence table of one partition.
//!
//! The table has two layers. What was *applied* is replicated: every replica that applied the same
//! entries has the same. On top lies what the leader has *in flight*: proposed, in order, and not
//! yet applied; it is judged as if it were applied, and forgotten when leadership is lost.
//!
//! The table keeps the last [`REMEMBERED`] batches of at most [`MAX_PRODUCERS`] producers. When one
//! more producer appends, the one whose last append is the oldest is evicted, on every replica
//! alike. An evicted producer that goes on is told that sequence 0 is expected, so it needs a new
//! id; and a repetition of its very first batch would be taken for a new one. That takes
//! [`MAX_PRODUCERS`] other producers on one partition between a batch and its repetition.

use std::collections::{BTreeMap, VecDeque};

use highwater_proto::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

use super::sequence::{Sequenced, advance, distance};

mod snapshot;
mod window;

pub use snapshot::ProducersError;
pub use window::REMEMBERED;

use window::{Appended, Window};

/// The most producers that a partition remembers.
pub const MAX_PRODUCERS: usize = 4096;

/// The number under which the append loop proposed a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Proposal(pub u64);

/// What the table says of a batch that wants to be appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// It continues its producer: append it.
    Fresh,
    /// It is in the log already: acknowledge it with its original place.
    Duplicate {
        /// The offset of its first record.
        base_offset: Offset,
        /// When it was appended.
        append_time: Timestamp,
    },
    /// It is on its way into the log: acknowledge it together with this proposal.
    DuplicateInFlight(Proposal),
    /// All its records are in the log, but where is no longer known (`DUPLICATE_SEQUENCE`).
    OldDuplicate,
    /// It does not continue its producer (`SEQUENCE_GAP`). A producer that the table does not
    /// know, or that begins a new epoch, must begin at 0.
    Gap {
        /// The sequence that would continue it.
        expected: Sequence,
    },
    /// A newer incarnation of the producer has taken over (`PRODUCER_FENCED`).
    Fenced {
        /// The epoch of the newer incarnation.
        current: ProducerEpoch,
    },
}

/// The idempotence table of a partition.
#[derive(Debug, Clone)]
pub struct Producers {
    applied: BTreeMap<ProducerId, Producer>,
    in_flight: BTreeMap<ProducerId, VecDeque<InFlight>>,
    capacity: usize,
}

/// What was applied of one producer.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Producer {
    epoch: ProducerEpoch,
    /// How many records of this epoch are known to be in the log: what lies further back than this
    /// was never seen, so it cannot be called a duplicate.
    records: u64,
    window: Window,
}

#[derive(Debug, Clone, Copy)]
struct InFlight {
    batch: Sequenced,
    proposal: Proposal,
}

/// The end of what a producer appended so far.
struct Tail {
    epoch: ProducerEpoch,
    next: Sequence,
}

impl Default for Producers {
    fn default() -> Self {
        Self::new()
    }
}

impl Producers {
    /// A table without producers.
    pub fn new() -> Self {
        Self::with_capacity(MAX_PRODUCERS)
    }

    /// A table that remembers at most `capacity` (at least 1) producers. Replicas of a partition
    /// must have the same capacity: it decides who is evicted.
    fn with_capacity(capacity: usize) -> Self {
        Self {
            applied: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            capacity: capacity.max(1),
        }
    }

    /// Judges a batch on everything applied and in flight. Only the leader may act on it, and only
    /// once it has applied an entry of its own term.
    pub fn judge(&self, batch: &Sequenced) -> Judgement {
        const START: Sequence = Sequence(0);
        let Some(tail) = self.tail(batch.producer()) else {
            return fresh_from(START, batch);
        };
        if batch.epoch() < tail.epoch {
            Judgement::Fenced {
                current: tail.epoch,
            }
        } else if batch.epoch() > tail.epoch {
            fresh_from(START, batch)
        } else {
            match fresh_from(tail.next, batch) {
                Judgement::Gap { expected } => {
                    self.repeated(batch).unwrap_or(Judgement::Gap { expected })
                }
                fresh => fresh,
            }
        }
    }

    /// Puts a batch that was judged [`Fresh`](Judgement::Fresh) and is being proposed on top.
    pub fn propose(&mut self, batch: Sequenced, proposal: Proposal) {
        let queue = self.in_flight.entry(batch.producer()).or_default();
        queue.push_back(InFlight { batch, proposal });
    }

    /// Forgets what is in flight: leadership was lost, and who leads next decides about it.
    pub fn reset_in_flight(&mut self) {
        self.in_flight.clear();
    }

    /// How many producers are remembered.
    pub fn len(&self) -> usize {
        self.applied.len()
    }

    /// True when no producer is remembered.
    pub fn is_empty(&self) -> bool {
        self.applied.is_empty()
    }

    /// Records a batch of an applied entry. The log decides: a batch that does not continue what
    /// is known (its producer was evicted meanwhile) begins anew.
    pub(super) fn applied(
        &mut self,
        batch: &Sequenced,
        base_offset: Offset,
        append_time: Timestamp,
    ) {
        self.land(batch);
        let appended = Appended {
            base: batch.base(),
            count: batch.count(),
            base_offset,
            append_time,
        };
        match self.applied.get_mut(&batch.producer()) {
            Some(producer) if producer.continues(batch) => {
                producer.records = producer.records.saturating_add(batch.count().into());
                producer.window.push(appended);
            }
            _ => {
                let producer = Producer {
                    epoch: batch.epoch(),
                    records: batch.count().into(),
                    window: Window::new(appended),
                };
                self.applied.insert(batch.producer(), producer);
                self.evict(batch.producer());
            }
        }
    }

    /// Takes a batch that was applied out of the flight. Anything else at its place is a proposal
    /// of a leadership that ended, and so is all that follows it.
    fn land(&mut self, batch: &Sequenced) {
        let Some(queue) = self.in_flight.get_mut(&batch.producer()) else {
            return;
        };
        match queue.pop_front() {
            Some(first) if first.batch == *batch => {}
            _ => queue.clear(),
        }
        if queue.is_empty() {
            self.in_flight.remove(&batch.producer());
        }
    }

    /// Makes room again, for the producer that came last.
    fn evict(&mut self, newcomer: ProducerId) {
        if self.applied.len() <= self.capacity {
            return;
        }
        let others = self.applied.iter().filter(|(id, _)| **id != newcomer);
        let oldest = others.min_by_key(|(id, producer)| (producer.window.last().append_time, **id));
        if let Some(id) = oldest.map(|(id, _)| *id) {
            self.applied.remove(&id);
        }
    }

    fn tail(&self, id: ProducerId) -> Option<Tail> {
        let last = self.in_flight.get(&id).and_then(|queue| queue.back());
        if let Some(InFlight { batch, .. }) = last {
            return Some(Tail {
                epoch: batch.epoch(),
                next: batch.next(),
            });
        }
        self.applied.get(&id).map(|producer| Tail {
            epoch: producer.epoch,
            next: producer.next(),
        })
    }

    /// What a batch repeats, if it repeats anything.
    fn repeated(&self, batch: &Sequenced) -> Option<Judgement> {
        let mut in_flight = self.in_flight.get(&batch.producer()).into_iter().flatten();
        if let Some(same) = in_flight.find(|in_flight| in_flight.batch == *batch) {
            return Some(Judgement::DuplicateInFlight(same.proposal));
        }
        let producer = self.applied.get(&batch.producer())?;
        if producer.epoch != batch.epoch() {
            return None;
        }
        if let Some(same) = producer.window.find(batch.base(), batch.count()) {
            return Some(Judgement::Duplicate {
                base_offset: same.base_offset,
                append_time: same.append_time,
            });
        }
        producer
            .has_all_of(batch)
            .then_some(Judgement::OldDuplicate)
    }
}

fn fresh_from(expected: Sequence, batch: &Sequenced) -> Judgement {
    if batch.base() == expected {
        Judgement::Fresh
    } else {
        Judgement::Gap { expected }
    }
}

impl Producer {
    fn next(&self) -> Sequence {
        let last = self.window.last();
        advance(last.base, last.count)
    }

    fn continues(&self, batch: &Sequenced) -> bool {
        batch.epoch() == self.epoch && batch.base() == self.next()
    }

    /// True when every record of the batch is known to be in the log. What lies further back than
    /// half of the number space is ahead, not behind.
    fn has_all_of(&self, batch: &Sequenced) -> bool {
        let behind = distance(batch.base(), self.next());
        batch.count() <= behind && behind <= 1 << 30 && u64::from(behind) <= self.records
    }
}

#[cfg(test)]
mod tests;
