//! Which batches of a producer are new: the idempotence table of one partition.
//!
//! The table has two layers. What was *applied* is replicated: every replica that applied the same
//! entries has the same. On top lies what the leader has *in flight*: proposed, in order, and not
//! yet applied; it is judged as if it were applied, and forgotten when leadership is lost.
//!
//! The table keeps the last [`REMEMBERED`] batches of at most [`MAX_PRODUCERS`] producers. A producer
//! is forgotten [`EXPIRY`] after its last append, and when one producer too many appends, the one
//! whose last append is the oldest is. Time is the append time of entries, so every replica forgets
//! alike. A forgotten producer that goes on is told so and needs a new id or epoch. So is one that sends
//! its first batch again: what is left of the forgotten (`forgotten`) says that it may be in the log.
//! Whatever is forgotten, no batch is judged fresh twice.
//!
//! A **fence** ends the epochs of a producer below one, without a record of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use highwater_proto::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

use super::sequence::{Sequenced, advance, distance};

mod forgotten;
mod judge;
mod snapshot;
mod window;

pub use forgotten::MAX_FORGOTTEN;
pub use judge::Judgement;
pub use snapshot::ProducersError;
pub use window::REMEMBERED;

use forgotten::{Forgotten, Trace};
use window::{Appended, Window};

/// The most producers that a partition remembers.
pub const MAX_PRODUCERS: usize = 4096;
/// How long after its last append a producer is remembered.
pub const EXPIRY: Duration = Duration::from_hours(7 * 24);

/// The number under which the append loop proposed a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Proposal(pub u64);

/// The idempotence table of a partition.
#[derive(Debug, Clone)]
pub struct Producers {
    applied: BTreeMap<ProducerId, Producer>,
    /// The same producers by the time of their last append.
    ages: BTreeSet<(Timestamp, ProducerId)>,
    forgotten: Forgotten,
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
        Self::with_capacity(MAX_PRODUCERS, MAX_FORGOTTEN)
    }

    /// A table that remembers at most `capacity` (at least 1) producers, and the last epoch of so many
    /// `forgotten` named ones. Replicas of a partition must have the same: it decides who is evicted.
    fn with_capacity(capacity: usize, forgotten: usize) -> Self {
        Self {
            applied: BTreeMap::new(),
            ages: BTreeSet::new(),
            forgotten: Forgotten::with_capacity(forgotten),
            in_flight: BTreeMap::new(),
            capacity: capacity.max(1),
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

    /// True when an entry is applied that refuses everything below `epoch`, for ever.
    pub fn is_fenced(&self, producer: ProducerId, epoch: ProducerEpoch) -> bool {
        match self.applied.get(&producer) {
            Some(known) => known.epoch >= epoch,
            None => self.forgotten.has_ended(producer, epoch),
        }
    }

    /// Puts a fence that is being proposed on top, unless it ends nothing.
    pub fn propose_fence(&mut self, producer: ProducerId, epoch: ProducerEpoch) {
        let in_flight = self.in_flight.get(&producer).and_then(|queue| queue.back());
        let is_over = match in_flight {
            Some(last) => last.epoch() >= epoch,
            None => self.is_fenced(producer, epoch),
        };
        if !is_over {
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
        let mut producer = match self.take(batch.producer()) {
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
        let mut producer = match self.take(id) {
            Some(known) if known.epoch >= epoch => known,
            // What is left of it refuses more than the fence would.
            None if self.forgotten.has_ended(id, epoch) => return,
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

    /// Takes a producer out of the table.
    fn take(&mut self, id: ProducerId) -> Option<Producer> {
        let producer = self.applied.remove(&id)?;
        self.ages.remove(&(producer.last_time, id));
        Some(producer)
    }

    /// Takes it out and keeps what must be left of it.
    fn forget(&mut self, id: ProducerId) {
        if let Some(producer) = self.take(id) {
            self.forgotten.note(id, producer.epoch);
        }
    }

    /// Keeps a producer that is not in the table, and makes room for it.
    fn remember(&mut self, id: ProducerId, producer: Producer) {
        self.forgotten.recall(id);
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

    /// What is left of a producer that is not remembered. One that nobody had reason to take out of
    /// the table yet is over all the same.
    fn trace(&self, id: ProducerId) -> Trace {
        match self.applied.get(&id) {
            Some(_) if !id.is_named() => Trace::Any,
            Some(over) => Trace::UpTo(over.epoch),
            None => self.forgotten.trace(id),
        }
    }

    fn remembered(&self, id: ProducerId, now: Timestamp) -> Option<&Producer> {
        let known = self.applied.get(&id);
        known.filter(|producer| !is_over(producer.last_time, now))
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
