//! One partition's batches on their way: sequences, attempts and their outcomes. Pure.
//!
//! Invariants:
//! - the batches are in the order of their sequences, without a gap;
//! - they are sent, and after trouble sent again, in that order and byte for byte the same;
//! - they complete in that order;
//! - a batch counts as not written only if every attempt was answered and none left it unknown.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use highwater_proto::batch::{ProducerStamp, restamped};
use highwater_proto::{Reason, Sequence};
use tokio::time::Instant;

use super::delivery::{Ack, BatchSlot};
use super::identity::Identity;
use crate::error::{Error, Outcome, Result};

mod pending;

pub(crate) use pending::{Attempt, Done, Pending, Serial, SessionId};

/// What an error of an attempt means for the lane.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing now: it belongs to an earlier attempt, or batches before it come first.
    Wait,
    /// Send everything again, in order.
    Again,
    /// The partition has forgotten the producer, and nothing of what is here can be in its log:
    /// [`Lane::renew`], and send everything again under another identity.
    Renew,
    /// The first batch cannot be written; nothing after it may go on as if it had been.
    Fail,
}

/// The batches of a partition that are not yet acknowledged.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    identity: Option<Identity>,
    /// The identity that failed, which must not begin again at sequence 0.
    spent: Option<Identity>,
    /// The partition says that it does not know the identity; nothing is sent before it is known
    /// of every batch whether it was written.
    forgotten: bool,
    next_sequence: i32,
    next_serial: Serial,
    batches: VecDeque<Pending>,
}

impl Lane {
    /// How many batches are not yet done.
    pub(crate) fn len(&self) -> usize {
        self.batches.len()
    }

    /// Takes an identity if the lane needs one and this one is fresh. True if it has one then.
    /// What the lane holds is numbered anew.
    pub(crate) fn adopt(&mut self, identity: Option<Identity>) -> bool {
        let fresh = identity.filter(|fresh| Some(*fresh) != self.spent);
        if self.identity.is_none() && fresh.is_some() {
            self.identity = fresh;
            self.renumber();
        }
        self.identity.is_some()
    }

    fn renumber(&mut self) {
        self.next_sequence = 0;
        for number in 0..self.batches.len() {
            let stamp = self.stamp();
            let batch = &mut self.batches[number];
            if let Some(stamp) = stamp.filter(|_| batch.unbuilt.is_none()) {
                match restamped(batch.bytes.clone(), stamp) {
                    Ok(bytes) => batch.bytes = bytes,
                    Err(error) => {
                        let error = Error::new(Reason::Internal, error.to_string());
                        batch.refused = Some(error);
                    }
                }
            }
            self.next_sequence = advance(self.next_sequence, batch.records);
        }
    }

    /// True if this identity is in use here.
    pub(crate) fn is_busy_as(&self, identity: Option<Identity>) -> bool {
        identity.is_some() && self.identity == identity && !self.batches.is_empty()
    }

    /// Gives the identity up; what is here waits for another one. Only for batches of which none
    /// can be in the log.
    pub(crate) fn renew(&mut self) {
        self.rewind();
        self.spent = self.identity.take().or(self.spent);
    }

    /// The stamp of the next new batch.
    pub(crate) fn stamp(&self) -> Option<ProducerStamp> {
        let Identity { id, epoch } = self.identity?;
        let base_sequence = Sequence(self.next_sequence);
        Some(ProducerStamp {
            id,
            epoch,
            base_sequence,
        })
    }

    /// Adds a batch that carries [`Lane::stamp`], or the error of one that could not be built. Gives
    /// what is done thereby.
    pub(crate) fn push(
        &mut self,
        built: Result<Bytes>,
        records: u32,
        slot: Arc<BatchSlot>,
        opened: Instant,
        charge: usize,
    ) -> Vec<Done> {
        let (bytes, records, unbuilt) = match built {
            Ok(bytes) => (bytes, records, None),
            Err(error) => (Bytes::new(), 0, Some(error)),
        };
        self.batches.push_back(Pending {
            serial: self.next_serial,
            bytes,
            slot,
            opened,
            charge,
            records,
            attempt: None,
            unanswered: 0,
            unknown: false,
            acked: None,
            refused: None,
            unbuilt,
        });
        self.next_serial += 1;
        self.next_sequence = advance(self.next_sequence, records);
        self.take_done()
    }

    /// The next batch to send (again), in order; none beyond one that cannot be written.
    pub(crate) fn unsent(&self) -> Option<&Pending> {
        if self.forgotten {
            return None;
        }
        let sound = self.batches.iter().take_while(|b| b.refused.is_none());
        sound.into_iter().find(|batch| batch.waits())
    }

    /// True if new batches may follow those that are on their way.
    pub(crate) fn is_sound(&self) -> bool {
        !self.forgotten && self.batches.iter().all(|batch| batch.refused.is_none())
    }

    /// Why the first batch cannot be written: it is time to [`Lane::fail`].
    pub(crate) fn doom(&self) -> Option<&Error> {
        self.batches.front()?.refused.as_ref()
    }

    /// Notes that the batch was handed to a session.
    pub(crate) fn sent(&mut self, serial: Serial, attempt: Attempt) {
        if let Some(batch) = self.find(serial) {
            batch.attempt = Some(attempt);
            batch.unanswered += 1;
        }
    }

    /// The session on which batches are on their way.
    pub(crate) fn session(&self) -> Option<SessionId> {
        let attempts = self.batches.iter().filter(|batch| batch.acked.is_none());
        attempts
            .filter_map(|batch| batch.attempt)
            .map(|attempt| attempt.session)
            .next()
    }

    /// The oldest batch if it waits for an answer although a later one has its own.
    pub(crate) fn overtaken(&self) -> Option<Serial> {
        let first = self.batches.front()?;
        let later = self.batches.iter().any(|batch| batch.acked.is_some());
        (later && first.attempt.is_some()).then_some(first.serial)
    }

    /// An attempt was acknowledged; which one does not matter, their bytes are the same. Gives the
    /// batches that are done thereby.
    pub(crate) fn acked(&mut self, serial: Serial, ack: Ack) -> Vec<Done> {
        if let Some(batch) = self.find(serial) {
            batch.unanswered = batch.unanswered.saturating_sub(1);
            batch.acked.get_or_insert(ack);
        }
        self.take_done()
    }

    fn take_done(&mut self) -> Vec<Done> {
        let mut done = Vec::new();
        while let Some(outcome) = self.batches.front().and_then(Pending::outcome) {
            done.extend(self.batches.pop_front().map(|batch| batch.done(outcome)));
        }
        done
    }

    /// An attempt was answered with an error.
    pub(crate) fn refused(&mut self, serial: Serial, attempt: Attempt, error: &Error) -> Verdict {
        let first = self.batches.front().map(|batch| batch.serial);
        let Some(batch) = self.find(serial) else {
            return Verdict::Wait;
        };
        batch.unanswered = batch.unanswered.saturating_sub(1);
        batch.unknown |= error.outcome() == Outcome::Unknown;
        if batch.acked.is_some() || batch.attempt != Some(attempt) {
            return match self.is_stuck() {
                true => Verdict::Again,
                false => Verdict::Wait,
            };
        }
        match error.reason() {
            // An earlier batch has trouble whose answer is still on its way.
            Some(Reason::SequenceGap) if first != Some(serial) => Verdict::Again,
            Some(Reason::UnknownProducer) => self.unknown(serial, error),
            // It may have to learn of the topic too; the cluster will tell.
            _ if error.is_missing_topic() => Verdict::Again,
            _ if error.outcome() == Outcome::Refused => {
                batch.refused = Some(error.clone());
                match first == Some(serial) {
                    true => Verdict::Fail,
                    false => Verdict::Wait,
                }
            }
            _ => Verdict::Again,
        }
    }

    /// The partition has forgotten the producer.
    fn unknown(&mut self, serial: Serial, error: &Error) -> Verdict {
        self.forgotten = true;
        if self.batches.iter().any(|batch| batch.unanswered > 0) {
            return Verdict::Wait;
        }
        let maybe_there = |batch: &Pending| batch.unknown || batch.acked.is_some();
        if !self.batches.iter().any(maybe_there) {
            return Verdict::Renew;
        }
        let first = self.batches.front().map(|batch| batch.serial);
        if let Some(batch) = self.find(serial) {
            batch.refused = Some(error.clone());
        }
        match first == Some(serial) || self.batches.iter().all(|b| b.acked.is_none()) {
            true => Verdict::Fail,
            false => Verdict::Wait,
        }
    }

    /// The attempt will never be answered: its session is gone. True if it is time to send everything
    /// again: it was the latest one, or the last that the lane waited for.
    pub(crate) fn lost(&mut self, serial: Serial, attempt: Attempt) -> bool {
        let Some(batch) = self.find(serial) else {
            return false;
        };
        batch.unanswered = batch.unanswered.saturating_sub(1);
        batch.unknown = true;
        let latest = batch.acked.is_none() && batch.attempt == Some(attempt);
        latest || self.is_stuck()
    }

    /// True if nothing is sent because the partition does not know the identity, and no answer is left
    /// that would decide what becomes of it. Sent again, the batches are refused once more, and then
    /// it is decided.
    fn is_stuck(&self) -> bool {
        self.forgotten && self.batches.iter().all(|batch| batch.unanswered == 0)
    }

    /// Everything that is not acknowledged is to be sent again, in order.
    pub(crate) fn rewind(&mut self) {
        self.forgotten = false;
        for batch in &mut self.batches {
            batch.attempt = None;
        }
    }

    /// Gives up on everything: the first batch that is not acknowledged failed with `error`, and
    /// what comes after it in the sequence cannot go on. The lane needs a new identity then.
    pub(crate) fn fail(&mut self, error: &Error) -> Vec<Done> {
        let mut culprit = Some(error);
        let fail = |batch: Pending| {
            if let Some(outcome) = batch.outcome() {
                return batch.done(outcome);
            }
            let error = match culprit.take() {
                Some(error) => error.clone(),
                None => after(error),
            };
            let error = match batch.maybe_written() {
                true => error.with_outcome(Outcome::Unknown),
                false => error,
            };
            batch.done(Err(error))
        };
        let done = std::mem::take(&mut self.batches).into_iter().map(fail);
        let done = done.collect();
        self.forgotten = false;
        self.spent = self.identity.take().or(self.spent);
        done
    }

    /// When the first record of the oldest batch came.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.batches.front().map(|batch| batch.opened)
    }

    /// True if the oldest batch may be in the log.
    pub(crate) fn oldest_maybe_written(&self) -> bool {
        self.batches.front().is_some_and(Pending::maybe_written)
    }

    fn find(&mut self, serial: Serial) -> Option<&mut Pending> {
        self.batches.iter_mut().find(|batch| batch.serial == serial)
    }
}

/// What the batches after a failed one are told. They were not written unless an attempt says so.
pub(crate) fn after(error: &Error) -> Error {
    let error = error.clone().with_outcome(Outcome::Retriable);
    error.in_context("an earlier batch of the partition failed")
}

/// The sequence after `records` more; it wraps to 0 after the largest.
fn advance(sequence: i32, records: u32) -> i32 {
    let next = (i64::from(sequence) + i64::from(records)) % (i64::from(i32::MAX) + 1);
    i32::try_from(next).unwrap_or(0)
}

#[cfg(test)]
mod tests;
