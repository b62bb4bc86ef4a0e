//! PURE. Runs of acknowledgements. Batches that came one after another to a partition, on one session,
//! and lie one after another in its log, are answered by one ack if they are durable at the same time.
//!
//! A run is tied together by its batches, each of which knows the one before it: what was refused,
//! was answered before, or is not answered yet stands between its neighbours. So an answer that is
//! lost on the way is never implied by another one.

use std::collections::HashMap;
use std::hash::Hash;

use highwater_proto::pb::v1;

use crate::partition::Appended;

/// The most partitions of which a session knows what came last: as many as it can have batches
/// under way to.
const MAX_LINES: usize = 4096;

/// Where a batch stands among those that its session brought for the same partition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// Tells partitions apart, for sorting alone.
    line: usize,
    /// The number of the batch before it; 0 when that is not known.
    previous: u64,
}

/// What came last to each partition.
#[derive(Debug)]
pub(super) struct Lines<K> {
    latest: HashMap<K, Place>,
}

/// A batch that is durable, or a run of them: the last one then.
#[derive(Debug, Clone, Copy)]
pub(super) struct Durable {
    first: u64,
    number: u64,
    place: Place,
    appended: Appended,
}

impl<K> Default for Lines<K> {
    fn default() -> Self {
        Self {
            latest: HashMap::new(),
        }
    }
}

impl<K: Eq + Hash> Lines<K> {
    /// The place of the next batch, which came for `partition`.
    pub(super) fn next(&mut self, partition: K, number: u64) -> Place {
        if self.latest.len() >= MAX_LINES && !self.latest.contains_key(&partition) {
            self.forget();
        }
        let line = self.latest.len();
        let previous = number;
        let latest = Place { line, previous };
        let Some(known) = self.latest.get_mut(&partition) else {
            self.latest.insert(partition, latest);
            return Place { line, previous: 0 };
        };
        let place = *known;
        known.previous = number;
        place
    }

    /// A batch came for a partition that is not known: no run goes past it.
    pub(super) fn forget(&mut self) {
        self.latest.clear();
    }
}

impl Durable {
    pub(super) fn new(number: u64, place: Place, appended: Appended) -> Self {
        Self {
            first: number,
            number,
            place,
            appended,
        }
    }

    /// Takes up `next` if that continues the run.
    fn take_up(&mut self, next: &Self) -> bool {
        let (mine, its) = (&self.appended, &next.appended);
        let continues = next.place.previous == self.number
            && mine.base_offset.checked_add(mine.record_count) == Some(its.base_offset)
            && (mine.append_time, mine.term) == (its.append_time, its.term)
            && mine.duplicate == its.duplicate;
        if continues {
            let first = self.first;
            *self = Self { first, ..*next };
        }
        continues
    }

    fn ack(&self) -> v1::BatchAck {
        let alone = self.first == self.number;
        v1::BatchAck {
            number: self.number,
            base_offset: self.appended.base_offset.to_i64(),
            append_time: self.appended.append_time.0,
            leader_epoch: self.appended.term.to_epoch(),
            duplicate: self.appended.duplicate,
            first_number: if alone { 0 } else { self.first },
        }
    }
}

/// The acks of what is durable, as few as may be; leaves `durable` empty.
pub(super) fn acks(durable: &mut Vec<Durable>) -> Vec<v1::BatchAck> {
    durable.sort_unstable_by_key(|batch| (batch.place.line, batch.number));
    durable.dedup_by(|next, run| run.take_up(next));
    let acks = durable.iter().map(Durable::ack).collect();
    durable.clear();
    acks
}

#[cfg(test)]
mod tests;
