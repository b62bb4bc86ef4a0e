//! Answers that do not come, on a session that does not break. Brokers answer each batch, and those
//! of one partition about in their order; what stands between may swallow an answer all the same.
//! The batches are then sent again, which cannot write them twice.

use std::time::Duration;

use highwater_proto::{PartitionIndex, Reason};
use tokio::time::Instant;

use super::Sender;
use super::clock::Alarm;
use crate::error::Error;

/// How long an answer may come later than that of a later batch.
const OVERTAKEN: Duration = Duration::from_millis(250);
/// How long all answers may stay away at first; each time without progress it is twice as long.
const SILENCE: Duration = Duration::from_secs(3);
/// After so many times twice as long it stays.
const LONGEST: u32 = 3;

impl Sender {
    /// Sets an alarm if a batch is still unanswered although a later one is acknowledged.
    pub(super) fn note_overtaken(&mut self, partition: PartitionIndex) {
        let slot = &mut self.slots[partition.0 as usize];
        let Some(serial) = slot.lane.overtaken() else {
            slot.overtaken = None;
            return;
        };
        if slot.overtaken.is_none_or(|(known, _)| known != serial) {
            let now = Instant::now();
            slot.overtaken = Some((serial, now));
            self.clock.set(now + OVERTAKEN, Alarm::Overtaken(partition));
        }
    }

    pub(super) fn check_overtaken(&mut self, partition: PartitionIndex) {
        let slot = &mut self.slots[partition.0 as usize];
        let Some((serial, since)) = slot.overtaken else {
            return;
        };
        if slot.lane.overtaken() != Some(serial) {
            slot.overtaken = None;
        } else if since.elapsed() >= OVERTAKEN {
            slot.overtaken = None;
            self.send_again_unanswered(partition);
        }
    }

    /// Sends the partition's batches again if their leader has been silent for long: on the same
    /// session first, and on a new one if that does not help.
    pub(super) fn check_silence(&mut self, partition: PartitionIndex, now: Instant) {
        let slot = &mut self.slots[partition.0 as usize];
        let patience = SILENCE * (1 << slot.stalls.min(LONGEST));
        let Some(session) = slot.lane.session() else {
            return;
        };
        if now.duration_since(slot.progress) < patience {
            return;
        }
        slot.stalls += 1;
        slot.progress = now;
        match slot.stalls {
            1 => self.send_again_unanswered(partition),
            _ => {
                let message = format!("the broker did not answer for {patience:?}");
                self.on_broken(session, &Error::new(Reason::NotReady, message));
                let lane = &mut self.slots[partition.0 as usize].lane;
                // All it had there was answered, and it waits for a session that is gone long since.
                if lane.session() == Some(session) {
                    lane.rewind();
                    self.pump(partition);
                }
            }
        }
    }

    fn send_again_unanswered(&mut self, partition: PartitionIndex) {
        let lane = &mut self.slots[partition.0 as usize].lane;
        let Some(session) = lane.session() else {
            return;
        };
        tracing::debug!(%partition, "batches are sent again, since they were not answered");
        for sent in self.sessions.abandon(session, partition) {
            lane.lost(sent.serial, sent.attempt);
        }
        lane.rewind();
        self.pump(partition);
    }
}
