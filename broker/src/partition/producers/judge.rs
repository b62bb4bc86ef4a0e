//! What the table says of a batch.

use highwater_proto::{Offset, ProducerEpoch, Sequence, Timestamp};

use super::forgotten::Trace;
use super::{InFlight, Producers, Proposal};
use crate::partition::sequence::Sequenced;

/// Where every epoch begins.
const START: Sequence = Sequence(0);

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
    /// It continues a producer that the table does not know, or no more, or begins one that may have
    /// written before it was forgotten (`UNKNOWN_PRODUCER`).
    Unknown,
    /// A newer incarnation of the producer has taken over (`PRODUCER_FENCED`).
    Fenced {
        /// The epoch of the newer incarnation.
        current: ProducerEpoch,
    },
}

impl Producers {
    /// Judges a batch that comes at `now` on everything applied and in flight. Only the leader may
    /// act on it, and only once it has applied an entry of its own term.
    pub fn judge(&self, batch: &Sequenced, now: Timestamp) -> Judgement {
        let Some(tail) = self.tail(batch.producer(), now) else {
            return self.judge_unremembered(batch);
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

    /// Judges a batch of a producer that is not remembered: fresh is only what begins an epoch in which
    /// nothing can have been written.
    fn judge_unremembered(&self, batch: &Sequenced) -> Judgement {
        let begins = match self.trace(batch.producer()) {
            Trace::UpTo(current) if batch.epoch() < current => {
                return Judgement::Fenced { current };
            }
            Trace::UpTo(current) => batch.epoch() > current,
            Trace::Any => false,
            Trace::None => true,
        };
        match begins && batch.base() == START {
            true => Judgement::Fresh,
            false => Judgement::Unknown,
        }
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
