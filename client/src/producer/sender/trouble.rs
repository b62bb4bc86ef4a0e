//! What to do when something fails: wait, look for the leader, send again, or give up.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use highwater_proto::{PartitionIndex, Reason};
use tokio::time::Instant;

use super::clock::Alarm;
use super::session::Opened;
use super::{Event, Sender};
use crate::channels::Address;
use crate::entropy;
use crate::error::{Error, Outcome, Result};
use crate::metadata::is_believed;
use crate::producer::lane::{Done, SessionId, after};
use crate::request::{no_leader, recreated};

/// A leader that is being looked for is asked for at least this often.
const SEEK_EVERY: Duration = Duration::from_millis(100);
/// How often a partition with batches on their way is looked at.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// The longest wait that a broker's word can impose.
const LONGEST_HINT: Duration = Duration::from_secs(5);

impl Sender {
    /// Sends the partition's batches again: at once if the error names another leader, else
    /// after a pause.
    pub(super) fn again(&mut self, partition: PartitionIndex, error: &Error) {
        let slot = &mut self.slots[partition.0 as usize];
        slot.lane.rewind();
        slot.last_error = Some(error.clone());
        self.shared.partitioner.leave(partition);
        tracing::debug!(%partition, %error, "batches will be sent again");
        let first = slot.backoff.is_fresh();
        let mut wait = slot.backoff.next(entropy::random());
        let learned = (self.metadata).learn_from(error, &self.shared.target.topic_id);
        if learned && first && self.has_new_leader(partition) {
            return self.pump(partition);
        }
        if let Some(hint) = error.retry_after() {
            wait = wait.max(hint.min(LONGEST_HINT));
        }
        match error.reason() {
            Some(Reason::Overloaded | Reason::DiskFull) => self.pause(partition, wait),
            _ => {
                self.refresh();
                self.pause(partition, wait.min(SEEK_EVERY));
            }
        }
    }

    /// Looks for the partition's leader.
    pub(super) fn seek(&mut self, partition: PartitionIndex) {
        let error = no_leader(&self.shared.target.topic, partition);
        self.again(partition, &error);
    }

    fn pause(&mut self, partition: PartitionIndex, wait: Duration) {
        let until = Instant::now() + wait;
        self.slots[partition.0 as usize].paused = Some(until);
        self.clock.set(until, Alarm::Resume(partition));
    }

    fn has_new_leader(&self, partition: PartitionIndex) -> bool {
        let leader = self.metadata.leader(&self.shared.target.topic, partition);
        leader.is_some() && leader != self.slots[partition.0 as usize].address
    }

    /// Asks the cluster for the topic's leaders, unless that is under way.
    fn refresh(&mut self) {
        if std::mem::replace(&mut self.refreshing, true) {
            return;
        }
        let metadata = Arc::clone(&self.metadata);
        let topic = self.shared.target.topic.clone();
        self.work.push(Box::pin(async move {
            let deadline = metadata.deadline();
            let refreshed = metadata.refresh(&topic, Instant::now(), deadline).await;
            Event::Refreshed(refreshed.map(drop))
        }));
    }

    /// Partitions that pause go on if they have another leader now, and batches that a leader
    /// does not answer are sent to the one that took over.
    pub(super) fn on_refreshed(&mut self, result: &Result<()>) {
        self.refreshing = false;
        self.learn_limit();
        let gone = self.gone(result);
        for partition in self.shared.partitions() {
            let slot = &self.slots[partition.0 as usize];
            // A check is set while there is work; without progress, the leader does not answer.
            let stalled = slot.checking && slot.progress.elapsed() >= CHECK_EVERY;
            if slot.paused.is_none() && !stalled {
                continue;
            }
            if let Some(error) = &gone {
                self.fail(partition, error);
            } else if self.has_new_leader(partition) {
                let slot = &mut self.slots[partition.0 as usize];
                slot.lane.rewind();
                slot.paused = None;
                self.pump(partition);
            }
        }
    }

    /// Why the topic can be written to no more, if that is certain.
    fn gone(&mut self, refreshed: &Result<()>) -> Option<Error> {
        let target = &self.shared.target;
        match refreshed {
            Ok(()) if !self.metadata.is_recreated(&target.topic, &target.topic_id) => {
                self.missing = None;
                None
            }
            Ok(()) => {
                let mut told = self
                    .slots
                    .iter()
                    .filter_map(|slot| slot.last_error.as_ref());
                let certain = told.any(Error::is_another_topic);
                let believed = is_believed(&mut self.missing) || certain;
                believed.then(|| recreated(&target.topic))
            }
            Err(error) if error.is_missing_topic() => {
                is_believed(&mut self.missing).then(|| error.clone())
            }
            Err(error) => (error.outcome() == Outcome::Refused).then(|| error.clone()),
        }
    }

    pub(super) fn on_opened(
        &mut self,
        address: &Address,
        id: SessionId,
        opened: Result<Box<Opened>>,
    ) {
        match opened {
            Ok(opened) => {
                self.answers.push(opened.answers);
                for partition in self.sessions.opened(address, opened.session) {
                    self.pump(partition);
                }
            }
            Err(error) => {
                let (_, waiting) = self.sessions.close(id);
                for partition in waiting {
                    // It may have found another leader meanwhile.
                    let slot = &self.slots[partition.0 as usize];
                    if slot.address.as_ref() != Some(address) || slot.lane.session().is_some() {
                        continue;
                    }
                    match error.outcome() {
                        Outcome::Refused => self.fail(partition, &error),
                        _ => self.again(partition, &error),
                    }
                }
            }
        }
    }

    /// A session broke: nobody knows what became of the batches it had.
    pub(super) fn on_broken(&mut self, id: SessionId, error: &Error) {
        let (lost, waiting) = self.sessions.close(id);
        let mut affected: Vec<PartitionIndex> = Vec::new();
        for sent in lost {
            let lane = &mut self.slots[sent.partition.0 as usize].lane;
            if lane.lost(sent.serial, sent.attempt) && !affected.contains(&sent.partition) {
                affected.push(sent.partition);
            }
        }
        for partition in &affected {
            self.again(*partition, error);
        }
        for partition in waiting.iter().filter(|p| !affected.contains(p)) {
            self.pump(*partition);
        }
    }

    /// Makes sure that the partition is looked at in time for its deadline.
    pub(super) fn arm_check(&mut self, partition: PartitionIndex, now: Instant) {
        let slot = &mut self.slots[partition.0 as usize];
        if !std::mem::replace(&mut slot.checking, true) {
            let soon = now + CHECK_EVERY;
            let at = match self.deadline(partition) {
                Some(deadline) => deadline.min(soon),
                None => soon,
            };
            self.clock.set(at, Alarm::Check(partition));
        }
    }

    fn deadline(&self, partition: PartitionIndex) -> Option<Instant> {
        let oldest = self.slots[partition.0 as usize].lane.oldest();
        let oldest = oldest.or_else(|| self.shared.accumulator(partition).oldest());
        oldest.map(|oldest| oldest + self.rules.delivery_timeout)
    }

    /// Fails what is past its deadline, and asks for the leader if there is no progress.
    pub(super) fn check(&mut self, partition: PartitionIndex) {
        self.slots[partition.0 as usize].checking = false;
        let Some(deadline) = self.deadline(partition) else {
            return;
        };
        let now = Instant::now();
        if now >= deadline {
            let error = self.too_late(partition);
            self.fail(partition, &error);
            return self.pump(partition);
        }
        if now.duration_since(self.slots[partition.0 as usize].progress) >= CHECK_EVERY {
            self.refresh();
        }
        self.check_silence(partition, now);
        self.arm_check(partition, now);
    }

    fn too_late(&self, partition: PartitionIndex) -> Error {
        let slot = &self.slots[partition.0 as usize];
        let timeout = self.rules.delivery_timeout;
        let maybe_written = slot.lane.oldest_maybe_written();
        let state = match maybe_written {
            true => "it is not known whether it was written",
            false => "it was not written",
        };
        let message = format!(
            "partition {partition} did not acknowledge a batch within {timeout:?}; {state}"
        );
        // More time would not help where room is missing: the hint has to be about that.
        let was_full = slot.last_error.as_ref().and_then(Error::reason) == Some(Reason::DiskFull);
        let reason = match was_full && !maybe_written {
            true => Reason::DiskFull,
            false => Reason::TimedOut,
        };
        let error = Error::new(reason, message).after(slot.last_error.as_ref());
        error.with_outcome(Outcome::Retriable)
    }

    /// Gives up what the partition has; what comes later starts over with a new identity.
    pub(super) fn fail(&mut self, partition: PartitionIndex, error: &Error) {
        tracing::warn!(topic = %self.shared.target.topic, %partition, %error, "batches failed");
        if self.rules.name.is_some() && error.reason() == Some(Reason::ProducerFenced) {
            return self.end(error);
        }
        self.give_up(partition, error);
        let slot = &mut self.slots[partition.0 as usize];
        slot.paused = None;
        slot.last_error = None;
        slot.backoff.reset();
        if error.reason() == Some(Reason::BatchTooLarge) {
            slot.limit.refused();
            self.refresh();
        }
    }

    /// Fails every batch of the partition, on its way or gathered, each with what is known of it.
    pub(super) fn give_up(&mut self, partition: PartitionIndex, error: &Error) {
        let lane = &mut self.slots[partition.0 as usize].lane;
        let mut done = lane.fail(error);
        let mut accumulator = self.shared.accumulator(partition);
        let gathered = accumulator.drain();
        let unused = accumulator.unused();
        drop(accumulator);
        self.shared.budget.give(unused);
        for batch in gathered {
            let error = match done.is_empty() {
                true => error.clone(),
                false => after(error),
            };
            done.push(Done {
                slot: batch.slot,
                charge: batch.charge,
                outcome: Err(error),
                bytes: Bytes::new(),
            });
        }
        self.complete(done);
    }
}
