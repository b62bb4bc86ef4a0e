//! Who was remembered once: what is left of a producer when its batches are forgotten, so that its
//! first batch is not taken for a new one when it comes again.
//!
//! Ids without a name have one epoch, and only rise: of them the highest that was forgotten is enough.
//! A lower one that never wrote here is refused, too; whoever has it takes another id, which is higher
//! than all that were given out before. The id of a named producer lives on in its next epoch, so of
//! those the last epoch is kept, one by one; who has it goes on in the next.

use std::collections::BTreeMap;

use highwater_proto::pb::peer::{ForgottenProducer, ForgottenProducers};
use highwater_proto::{ProducerEpoch, ProducerId};

use super::ProducersError;

/// Of so many forgotten named producers the epoch is kept: of as many as there are names. Beyond that
/// the lowest ids are merged into one mark, like those without a name.
pub const MAX_FORGOTTEN: usize = 10_000;

/// What is left of the forgotten producers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Forgotten {
    /// Ids without a name below this one may have written.
    below: u64,
    /// Ids of named producers below this one may have written, also where nothing is in `named`.
    named_below: u64,
    /// The last epoch of named producers.
    pub(super) named: BTreeMap<ProducerId, ProducerEpoch>,
    capacity: usize,
}

/// What is left of one producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trace {
    /// It never wrote.
    None,
    /// It may have written in any epoch.
    Any,
    /// It may have written in this epoch, and in none after it.
    UpTo(ProducerEpoch),
}

impl Forgotten {
    /// Nobody was forgotten. Keeps the epochs of `capacity` named producers; replicas of a partition
    /// must have the same.
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self {
            below: 0,
            named_below: 0,
            named: BTreeMap::new(),
            capacity,
        }
    }

    /// What is left of `id`, if it is not remembered.
    pub(super) fn trace(&self, id: ProducerId) -> Trace {
        let below = match id.is_named() {
            true => self.named_below,
            false => self.below,
        };
        match self.named.get(&id) {
            Some(epoch) => Trace::UpTo(*epoch),
            None if id.0 < below => Trace::Any,
            None => Trace::None,
        }
    }

    /// True if nothing of `id` below `epoch` is ever fresh again. Not for named producers of which only
    /// the mark is left: those go on from a fence.
    pub(super) fn has_ended(&self, id: ProducerId, epoch: ProducerEpoch) -> bool {
        match self.trace(id) {
            Trace::None => false,
            Trace::Any => !id.is_named(),
            Trace::UpTo(last) => last >= epoch,
        }
    }

    /// A producer whose last epoch was `epoch` is not remembered any more.
    pub(super) fn note(&mut self, id: ProducerId, epoch: ProducerEpoch) {
        if !id.is_named() {
            self.below = self.below.max(id.0.saturating_add(1));
            return;
        }
        self.named.insert(id, epoch);
        if self.named.len() > self.capacity
            && let Some((lowest, _)) = self.named.pop_first()
        {
            self.named_below = self.named_below.max(lowest.0.saturating_add(1));
        }
    }

    /// The producer is remembered again.
    pub(super) fn recall(&mut self, id: ProducerId) {
        self.named.remove(&id);
    }

    pub(super) fn snapshot(&self) -> ForgottenProducers {
        let named = |(id, epoch): (&ProducerId, &ProducerEpoch)| ForgottenProducer {
            producer_id: id.0,
            epoch: epoch.0.into(),
        };
        ForgottenProducers {
            below: self.below,
            named_below: self.named_below,
            named: self.named.iter().map(named).collect(),
        }
    }

    pub(super) fn restore(message: &ForgottenProducers) -> Result<Self, ProducersError> {
        let named_below = message.named_below;
        if message.below > ProducerId::FIRST_NAMED.0
            || (named_below != 0 && !ProducerId(named_below - 1).is_named())
        {
            return Err(ProducersError("a mark is not among the ids it is for"));
        }
        if message.named.len() > MAX_FORGOTTEN {
            return Err(ProducersError("more forgotten producers than are kept"));
        }
        let mut state = Self {
            below: message.below,
            named_below,
            ..Self::with_capacity(MAX_FORGOTTEN)
        };
        for forgotten in &message.named {
            let id = ProducerId(forgotten.producer_id);
            let epoch = u16::try_from(forgotten.epoch)
                .map_err(|_| ProducersError("an epoch is beyond the largest"))?;
            let before = state.named.insert(id, ProducerEpoch(epoch));
            if before.is_some() || !id.is_named() {
                return Err(ProducersError(
                    "a forgotten producer is there twice, or has no name",
                ));
            }
        }
        Ok(state)
    }
}
