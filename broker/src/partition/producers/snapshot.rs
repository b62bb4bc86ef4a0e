//! What was applied, as messages and back. What is in flight is the leader's own and is not saved.

use highwater_proto::pb::peer::{ForgottenProducers, ProducerBatch, ProducerState};
use highwater_proto::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

use super::forgotten::Forgotten;
use super::window::{Appended, REMEMBERED, Window};
use super::{MAX_PRODUCERS, Producer, Producers, advance};

/// The messages are not a table that this version could have saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the saved producers are damaged: {0}")]
pub struct ProducersError(pub(super) &'static str);

impl Producers {
    /// What was applied, by producer id: equal on replicas that applied the same entries.
    pub fn snapshot(&self) -> Vec<ProducerState> {
        let message = |(id, producer): (&ProducerId, &Producer)| ProducerState {
            producer_id: id.0,
            epoch: producer.epoch.0.into(),
            record_count: producer.records,
            last_time: producer.last_time.0,
            batches: producer.window.iter().map(batch_message).collect(),
        };
        self.applied.iter().map(message).collect()
    }

    /// What is left of those that were forgotten; equal in the same way.
    pub fn forgotten(&self) -> ForgottenProducers {
        self.forgotten.snapshot()
    }

    /// The table that `messages` and what is left of the `forgotten` hold, with nothing in flight.
    pub fn restore(
        messages: &[ProducerState],
        forgotten: &ForgottenProducers,
    ) -> Result<Self, ProducersError> {
        if messages.len() > MAX_PRODUCERS {
            return Err(ProducersError("more producers than a partition remembers"));
        }
        let mut producers = Self::new();
        producers.forgotten = Forgotten::restore(forgotten)?;
        for message in messages {
            let id = ProducerId(message.producer_id);
            let producer = read_producer(message)?;
            producers.ages.insert((producer.last_time, id));
            if producers.applied.insert(id, producer).is_some() {
                return Err(ProducersError("a producer is there twice"));
            }
            producers.forgotten.recall(id);
        }
        Ok(producers)
    }
}

fn batch_message(batch: &Appended) -> ProducerBatch {
    ProducerBatch {
        base_sequence: batch.base.0,
        record_count: batch.count,
        base_offset: batch.base_offset.0,
        append_time: batch.append_time.0,
    }
}

fn read_producer(message: &ProducerState) -> Result<Producer, ProducersError> {
    let epoch = u16::try_from(message.epoch)
        .map_err(|_| ProducersError("an epoch is beyond the largest"))?;
    if message.batches.len() > REMEMBERED {
        return Err(ProducersError("a producer has too many batches"));
    }
    let mut window = Window::default();
    for batch in &message.batches {
        let batch = read_batch(batch)?;
        let follows = |last: &Appended| batch.base == advance(last.base, last.count);
        if !window.last().is_none_or(follows) {
            return Err(ProducersError("the batches of a producer have a gap"));
        }
        window.push(batch);
    }
    let kept = window.iter().map(|batch| u64::from(batch.count)).sum();
    if message.record_count < kept {
        return Err(ProducersError(
            "a producer has fewer records than its batches",
        ));
    }
    // A state saved before fences were known has the time in its batches alone.
    let appended = window.last().map_or(i64::MIN, |last| last.append_time.0);
    Ok(Producer {
        epoch: ProducerEpoch(epoch),
        records: message.record_count,
        last_time: Timestamp(message.last_time.max(appended)),
        window,
    })
}

fn read_batch(message: &ProducerBatch) -> Result<Appended, ProducersError> {
    let fits = i32::try_from(message.record_count).is_ok_and(|count| count > 0);
    if !fits || message.base_sequence < 0 {
        return Err(ProducersError("a batch has a number that it cannot have"));
    }
    Ok(Appended {
        base: Sequence(message.base_sequence),
        count: message.record_count,
        base_offset: Offset(message.base_offset),
        append_time: Timestamp(message.append_time),
    })
}
