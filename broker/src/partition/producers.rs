//! Which batches of a producer are new: the idempotence table of one partition.
//!
//! The table has two layers. What was *applied* is replicated: every replica that applied the same
//! entries has the same. On top lies what the leader has *in flight*: proposed, in order, and not
//! yet applied; it is judged as if it were applied, and forgotten when leadership is lost.
//!
//! The table keeps the last [`REMEMBERED`] batches of at most [`MAX_PRODUCERS`] producers. A producer
//! is forgotten [`EXPIRY`] after its last append, and when one producer too many appends, the one
//! whose last append is the oldest is. Time is the append time of entries, so every replica forgets
//! alike. A forgotten producer that goes on is told so and needs a new id or epoch; a repetition of
//! its very first batch would be taken for a new one, which no client sends that late.
//!
//! A **fence** ends the epochs of a producer below one, without a record of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use highwater_proto::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

use super::sequence::{Sequenced, advance, distance};

mod snapshot;
mod window;

pub use snapshot::ProducersError;
pub use window::REMEMBERED;

use window::{Appended, Window};

/// The most producers that a partition remembers.
pub const MAX_PRODUCERS: usize = 4096;
/// How long after its last append a producer is remembered.
pub const EXPIRY: Duration = Duration::from_hours(7 * 24);

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
    /// It does not continue its producer (`SEQUENCE_GAP`). A new epoch must begin at 0.
    Gap {
        /// The sequence that would continue it.
        expected: Sequence,
    },
    /// It continues a producer that the table does not know, or no more (`UNKNOWN_PRODUCER`).
    Unknown,
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
    /// The same producers by the time of their last append.
    ages: BTreeSet<(Timestamp, ProducerId)>,
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
    /// When it last appended or was fenced.
    last_time: Timestamp,
    window: Window,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InFlight {
    Batch(Sequenced, Proposal),
    /// Epochs below this one end.
    Fence(ProducerEpoch),
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
            ages: BTreeSet::new(),
            in_flight: BTreeMap::new(),
            capacity: capacity.max(1),
        }
    }

    /// Judges a batch that comes at `now` on everything applied and in flight. Only the leader may
    /// act on it, and only once it has applied an entry of its own term.
    pub fn judge(&self, batch: &Sequenced, now: Timestamp) -> Judgement {
        const START: Sequence = Sequence(0);
        let Some(tail) = self.tail(batch.producer(), now) else {
            return match fresh_from(START, batch) {
                Judgement::Gap { .. } => Judgement::Unknown,
                fresh => fresh,
            };
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
        queue.push_back(InFlight::Batch(batch, proposal));
    }

    /// The epoch of a producer as of `now`, what is in flight included.
    pub fn epoch(&self, producer: ProducerId, now: Timestamp) -> Option<ProducerEpoch> {
        self.tail(producer, now).map(|tail| tail.epoch)
    }

    /// True when an entry is applied that refuses everything below `epoch`, and remembered at `now`.
    pub fn is_fenced(&self, producer: ProducerId, epoch: ProducerEpoch, now: Timestamp) -> bool {
        let known = self.remembered(producer, now);
        known.is_some_and(|producer| producer.epoch >= epoch)
    }

    /// Puts a fence that is being proposed at `now` on top.
    pub fn propose_fence(&mut self, producer: ProducerId, epoch: ProducerEpoch, now: Timestamp) {
        let known = self.tail(producer, now);
        if known.is_none_or(|tail| tail.epoch < epoch) {
            let queue = self.in_flight.entry(producer).or_default();
            queue.push_back(InFlight::Fence(epoch));
        }
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
    /// is known (its producer was forgotten meanwhile) begins anew.
    pub(super) fn applied(
        &mut self,
        batch: &Sequenced,
        base_offset: Offset,
        append_time: Timestamp,
    ) {
        self.expire(append_time);
        self.land(batch);
        let appended = Appended {
            base: batch.base(),
            count: batch.count(),
            base_offset,
            append_time,
        };
        let mut producer = match self.forget(batch.producer()) {
            Some(known) if known.continues(batch) => known,
            _ => Producer::new(batch.epoch(), append_time),
        };
        producer.records = producer.records.saturating_add(batch.count().into());
        producer.window.push(appended);
        producer.last_time = append_time;
        self.remember(batch.producer(), producer);
    }

    /// Records a fence of an applied entry.
    pub(super) fn fenced(&mut self, id: ProducerId, epoch: ProducerEpoch, append_time: Timestamp) {
        self.expire(append_time);
        self.land_fence(id, epoch);
        let mut producer = match self.forget(id) {
            Some(known) if known.epoch >= epoch => known,
            _ => Producer::new(epoch, append_time),
        };
        producer.last_time = append_time;
        self.remember(id, producer);
    }

    /// Takes a batch that was applied out of the flight. Anything else at its place is a proposal
    /// of a leadership that ended, and so is all that follows it.
    fn land(&mut self, batch: &Sequenced) {
        let Some(queue) = self.in_flight.get_mut(&batch.producer()) else {
            return;
        };
        match queue.pop_front() {
            Some(InFlight::Batch(first, _)) if first == *batch => {}
            _ => queue.clear(),
        }
        if queue.is_empty() {
            self.in_flight.remove(&batch.producer());
        }
    }

    /// The same for a fence. One that was not needed is not in flight.
    fn land_fence(&mut self, id: ProducerId, epoch: ProducerEpoch) {
        let Some(queue) = self.in_flight.get_mut(&id) else {
            return;
        };
        if queue.front() == Some(&InFlight::Fence(epoch)) {
            queue.pop_front();
        } else if queue.back().is_some_and(|last| last.epoch() < epoch) {
            queue.clear();
        }
        if queue.is_empty() {
            self.in_flight.remove(&id);
        }
    }

    /// Forgets whoever appended longest ago, as of an entry of this time.
    fn expire(&mut self, now: Timestamp) {
        while let Some((last, id)) = self.ages.first().copied()
            && is_over(last, now)
        {
            self.forget(id);
        }
    }

    fn forget(&mut self, id: ProducerId) -> Option<Producer> {
        let producer = self.applied.remove(&id)?;
        self.ages.remove(&(producer.last_time, id));
        Some(producer)
    }

    /// Keeps a producer that is not in the table, and makes room for it.
    fn remember(&mut self, id: ProducerId, producer: Producer) {
        self.ages.insert((producer.last_time, id));
        self.applied.insert(id, producer);
        if self.applied.len() > self.capacity {
            let oldest = self.ages.iter().find(|(_, other)| *other != id);
            if let Some((_, oldest)) = oldest.copied() {
                self.forget(oldest);
            }
        }
    }

    fn tail(&self, id: ProducerId, now: Timestamp) -> Option<Tail> {
        match self.in_flight.get(&id).and_then(|queue| queue.back()) {
            Some(InFlight::Batch(batch, _)) => {
                return Some(Tail {
                    epoch: batch.epoch(),
                    next: batch.next(),
                });
            }
            Some(InFlight::Fence(epoch)) => {
                return Some(Tail {
                    epoch: *epoch,
                    next: Sequence(0),
                });
            }
            None => {}
        }
        self.remembered(id, now).map(|producer| Tail {
            epoch: producer.epoch,
            next: producer.next(),
        })
    }

    fn remembered(&self, id: ProducerId, now: Timestamp) -> Option<&Producer> {
        let known = self.applied.get(&id);
        known.filter(|producer| !is_over(producer.last_time, now))
    }

    /// What a batch repeats, if it repeats anything.
    fn repeated(&self, batch: &Sequenced) -> Option<Judgement> {
        let in_flight = self.in_flight.get(&batch.producer()).into_iter().flatten();
        let mut same = in_flight.filter_map(|in_flight| match in_flight {
            InFlight::Batch(other, proposal) if other == batch => Some(*proposal),
            InFlight::Batch(..) | InFlight::Fence(_) => None,
        });
        if let Some(proposal) = same.next() {
            return Some(Judgement::DuplicateInFlight(proposal));
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

/// Whether a producer that appended at `last` is forgotten at `now`.
fn is_over(last: Timestamp, now: Timestamp) -> bool {
    let expiry = i64::try_from(EXPIRY.as_millis()).unwrap_or(i64::MAX);
    now.0.saturating_sub(last.0) > expiry
}

impl InFlight {
    fn epoch(&self) -> ProducerEpoch {
        match self {
            Self::Batch(batch, _) => batch.epoch(),
            Self::Fence(epoch) => *epoch,
        }
    }
}

impl Producer {
    /// A producer without a batch in this epoch.
    fn new(epoch: ProducerEpoch, last_time: Timestamp) -> Self {
        Self {
            epoch,
            records: 0,
            last_time,
            window: Window::default(),
        }
    }

    fn next(&self) -> Sequence {
        let last = self.window.last();
        last.map_or(Sequence(0), |last| advance(last.base, last.count))
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
