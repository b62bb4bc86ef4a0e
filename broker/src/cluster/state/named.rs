//! Named producers: a name stands for one producer id, whoever asks for the name gets the id's next
//! epoch, and the partitions that an epoch may have written to are known, so that they can be told
//! when it ends.
//!
//! A name is forgotten [`EXPIRY`] after it was last heard of. Leaders touch the names that write
//! every [`TOUCH_EVERY`] at least, and partitions forget a producer much earlier, so a name that is
//! forgotten has long had no epoch that any partition would take up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use highwater_proto::pb::peer::{NamedProducerState, ProducerPartition};
use highwater_proto::{
    PartitionIndex, ProducerEpoch, ProducerId, ProducerName, Reason, Timestamp, TopicId,
};

use super::apply::exhausted;
use super::error::RestoreError;
use crate::cluster::command::{
    ProducerIncarnation, incarnation_of, read_producer_name, read_topic_id,
};
use crate::cluster::refusal::Refusal;

/// The first id of a named producer.
const FIRST: u64 = ProducerId::FIRST_NAMED.0;
/// The most names.
const MAX_NAMES: usize = 10_000;
/// The most partitions of all names together.
const MAX_REGISTERED: usize = 100_000;
/// How long after it was last heard of a name is kept.
const EXPIRY: Duration = Duration::from_hours(28 * 24);
/// How old the last word of a name may be when a batch of it is appended.
pub const TOUCH_EVERY: Duration = Duration::from_hours(24);
/// So many takings of a name that were followed by another are known as such: a copy of such a call
/// that is late by more is taken for a new one.
const MAX_PAST: usize = 8;
/// Above every epoch that a batch can have: what fences a producer id for good.
pub const RETIRED: ProducerEpoch = ProducerEpoch(u16::MAX);

/// A named producer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedProducer {
    /// Its current life.
    pub incarnation: ProducerIncarnation,
    /// The id it had before the epochs of that one ran out.
    pub previous: Option<ProducerId>,
    /// When it was last heard of.
    pub touched: Timestamp,
    /// The partitions it may have written to, under this epoch or an earlier one.
    pub partitions: BTreeSet<(TopicId, PartitionIndex)>,
    attempt: u64,
    /// The attempts before it, oldest first.
    past: Vec<u64>,
}

/// All named producers. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct NamedProducers {
    producers: Arc<BTreeMap<ProducerName, NamedProducer>>,
    ids: Arc<BTreeMap<ProducerId, ProducerName>>,
    given_out: u64,
}

impl NamedProducers {
    pub(super) fn get(&self, id: ProducerId) -> Option<&NamedProducer> {
        self.producers.get(self.ids.get(&id)?)
    }

    pub(super) fn given_out(&self) -> u64 {
        self.given_out
    }

    /// The next epoch of `name`. Repeated under the same `attempt`, it is the same one, and once another
    /// attempt has taken the name, a late copy of an earlier one does not take it back.
    pub(super) fn init(
        &mut self,
        name: ProducerName,
        held: Option<ProducerIncarnation>,
        attempt: u64,
        now: Timestamp,
    ) -> Result<ProducerIncarnation, Refusal> {
        let over = self.expired(now);
        let known = self.producers.get(&name).filter(|_| !over.contains(&name));
        if let Some(known) = known
            && attempt != 0
            && known.attempt == attempt
        {
            return Ok(known.incarnation);
        }
        if let Some(known) = known
            && known.past.contains(&attempt)
        {
            return Err(overtaken(known.incarnation));
        }
        match (known, held) {
            (None, Some(held)) => return Err(forgotten(held.id)),
            (None, None) if self.producers.len() - over.len() >= MAX_NAMES => {
                return Err(too_many("names"));
            }
            (Some(known), Some(held)) if held != known.incarnation => {
                return Err(fenced(held, known.incarnation));
            }
            (Some(_) | None, _) => {}
        }
        let known = known.cloned();
        let next = known.as_ref().and_then(NamedProducer::next);
        let (incarnation, previous) = match (&known, next) {
            (Some(known), Some(next)) => (next, known.previous),
            (known, _) => {
                let previous = known.as_ref().map(|known| known.incarnation.id);
                (self.fresh()?, previous)
            }
        };
        over.iter().for_each(|name| self.remove(name));
        let past = known
            .as_ref()
            .map_or_else(Vec::new, NamedProducer::attempts);
        let producer = NamedProducer {
            incarnation,
            previous,
            touched: now,
            partitions: known.map_or_else(BTreeSet::new, |known| known.partitions),
            attempt,
            past,
        };
        Ok(self.put(name, producer))
    }

    /// A life of an id that was never given out.
    fn fresh(&mut self) -> Result<ProducerIncarnation, Refusal> {
        let id = FIRST.checked_add(self.given_out);
        let id = id.filter(|id| *id < i64::MAX.unsigned_abs());
        let id = ProducerId(id.ok_or_else(exhausted)?);
        self.given_out += 1;
        let epoch = ProducerEpoch(0);
        Ok(ProducerIncarnation { id, epoch })
    }

    fn put(&mut self, name: ProducerName, producer: NamedProducer) -> ProducerIncarnation {
        let incarnation = producer.incarnation;
        Arc::make_mut(&mut self.ids).insert(incarnation.id, name.clone());
        if let Some(previous) = producer.previous {
            Arc::make_mut(&mut self.ids).remove(&previous);
        }
        Arc::make_mut(&mut self.producers).insert(name, producer);
        incarnation
    }

    fn remove(&mut self, name: &ProducerName) {
        if let Some(producer) = Arc::make_mut(&mut self.producers).remove(name) {
            Arc::make_mut(&mut self.ids).remove(&producer.incarnation.id);
        }
    }

    fn expired(&self, now: Timestamp) -> BTreeSet<ProducerName> {
        let expiry = i64::try_from(EXPIRY.as_millis()).unwrap_or(i64::MAX);
        let over = |producer: &NamedProducer| now.0.saturating_sub(producer.touched.0) > expiry;
        let over = self.producers.iter().filter(|(_, producer)| over(producer));
        over.map(|(name, _)| name.clone()).collect()
    }

    /// Notes that the producer may write to a partition from now on, if it is in its current epoch.
    pub(super) fn register(
        &mut self,
        producer: ProducerIncarnation,
        partition: (TopicId, PartitionIndex),
        now: Timestamp,
    ) -> Result<(), Refusal> {
        if producer.id.0 >= FIRST.saturating_add(self.given_out) {
            let message = format!("producer id {} was never given out", producer.id);
            return Err(Refusal::new(Reason::UnknownProducer, message));
        }
        let name = self.ids.get(&producer.id).cloned();
        let name = name.ok_or_else(|| forgotten(producer.id))?;
        let known = self.producers.get(&name);
        let known = known.ok_or_else(|| forgotten(producer.id))?;
        let current = known.incarnation;
        if producer.epoch < current.epoch {
            return Err(fenced(producer, current));
        }
        if producer.epoch > current.epoch {
            let message = format!(
                "epoch {} of producer {} was never given out",
                producer.epoch, producer.id
            );
            return Err(Refusal::new(Reason::UnknownProducer, message));
        }
        if !known.partitions.contains(&partition) {
            let registered = self.producers.values();
            let registered: usize = registered.map(|producer| producer.partitions.len()).sum();
            if registered >= MAX_REGISTERED {
                return Err(too_many("partitions of names"));
            }
        }
        if let Some(known) = Arc::make_mut(&mut self.producers).get_mut(&name) {
            known.partitions.insert(partition);
            known.touched = known.touched.max(now);
        }
        Ok(())
    }

    /// A topic is gone, and with it everything that could be fenced there.
    pub(super) fn forget_topic(&mut self, topic: TopicId) {
        let here = |(other, _): &(TopicId, PartitionIndex)| *other == topic;
        let affected = |producer: &NamedProducer| producer.partitions.iter().any(here);
        if self.producers.values().any(affected) {
            for producer in Arc::make_mut(&mut self.producers).values_mut() {
                producer.partitions.retain(|partition| !here(partition));
            }
        }
    }

    pub(super) fn snapshot(&self) -> Vec<NamedProducerState> {
        let partition = |(topic, partition): &(TopicId, PartitionIndex)| ProducerPartition {
            topic_id: topic.to_bytes().to_vec().into(),
            partition: partition.0,
        };
        let message = |(name, producer): (&ProducerName, &NamedProducer)| NamedProducerState {
            name: name.to_string(),
            producer_id: producer.incarnation.id.0,
            epoch: producer.incarnation.epoch.0.into(),
            attempt: producer.attempt,
            past_attempts: producer.past.clone(),
            touched: producer.touched.0,
            previous_id: producer.previous.map_or(0, |id| id.0),
            partitions: producer.partitions.iter().map(partition).collect(),
        };
        self.producers.iter().map(message).collect()
    }

    pub(super) fn restore(
        messages: &[NamedProducerState],
        given_out: u64,
    ) -> Result<Self, RestoreError> {
        let mut state = Self {
            given_out,
            ..Self::default()
        };
        let damaged = |what: &str| RestoreError(what.to_owned());
        for message in messages {
            let incarnation = incarnation_of(message.producer_id, message.epoch)?;
            let given = incarnation.id.0.checked_sub(FIRST);
            if given.is_none_or(|number| number >= given_out) {
                return Err(damaged(
                    "a named producer has an id that was never given out",
                ));
            }
            let partition = |partition: &ProducerPartition| {
                let topic = read_topic_id(&partition.topic_id)?;
                Ok((topic, PartitionIndex(partition.partition)))
            };
            let partitions = message.partitions.iter().map(partition);
            let producer = NamedProducer {
                incarnation,
                previous: (message.previous_id != 0).then_some(ProducerId(message.previous_id)),
                touched: Timestamp(message.touched),
                partitions: partitions.collect::<Result<_, RestoreError>>()?,
                attempt: message.attempt,
                past: message.past_attempts.clone(),
            };
            if producer.past.len() > MAX_PAST {
                return Err(damaged("a named producer has too many attempts"));
            }
            state.put(read_producer_name(&message.name)?, producer);
        }
        match state.producers.len() == messages.len() && state.ids.len() == messages.len() {
            true => Ok(state),
            false => Err(damaged("a named producer or its id is there twice")),
        }
    }
}

impl NamedProducer {
    /// Its attempts as those of the past: when another one has taken the name.
    fn attempts(&self) -> Vec<u64> {
        let mut past = self.past.clone();
        // 0 is no number of an attempt.
        past.extend(Some(self.attempt).filter(|attempt| *attempt != 0));
        past.drain(..past.len().saturating_sub(MAX_PAST));
        past
    }

    /// The next life under the same id; `None` when the epochs have run out.
    fn next(&self) -> Option<ProducerIncarnation> {
        let ProducerIncarnation { id, epoch } = self.incarnation;
        let next = epoch.0.checked_add(1);
        let next = next.filter(|next| i16::try_from(*next).is_ok());
        next.map(|epoch| ProducerIncarnation {
            id,
            epoch: ProducerEpoch(epoch),
        })
    }
}

fn forgotten(id: ProducerId) -> Refusal {
    let message = format!(
        "producer {id} has no name any more: it was not heard of for {} days, or its name went on \
         with another id",
        EXPIRY.as_secs() / 86_400
    );
    Refusal::new(Reason::UnknownProducer, message)
}

fn fenced(producer: ProducerIncarnation, current: ProducerIncarnation) -> Refusal {
    let ProducerIncarnation { id, epoch } = producer;
    let message = format!(
        "producer {id} with epoch {epoch} is over: its name went on with producer {} and epoch {}",
        current.id, current.epoch
    );
    Refusal::new(Reason::ProducerFenced, message)
}

fn overtaken(current: ProducerIncarnation) -> Refusal {
    let message = format!(
        "this taking of the name was followed by another one: it went on with producer {} and epoch {}",
        current.id, current.epoch
    );
    Refusal::new(Reason::ProducerFenced, message)
}

fn too_many(what: &str) -> Refusal {
    let message = format!(
        "the cluster keeps at most {MAX_NAMES} names of producers with {MAX_REGISTERED} partitions \
         in all, and there is no room for more {what}; names are forgotten {} days after their \
         last use",
        EXPIRY.as_secs() / 86_400
    );
    Refusal::new(Reason::TooManyProducers, message)
}

#[cfg(test)]
mod tests;
