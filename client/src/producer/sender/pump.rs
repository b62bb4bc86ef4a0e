//! Moving batches: from what a partition gathered, over its lane, into its leader's session.

use std::sync::Arc;

use highwater_proto::{PartitionIndex, Reason};
use tokio::time::Instant;

use super::clock::Alarm;
use super::session::{Outgoing, Session};
use super::sessions::{Offer, State};
use super::{Event, Sender, Slot};
use crate::channels::Address;
use crate::error::Error;
use crate::producer::accumulator::{Gathered, Readiness, Taken};
use crate::producer::lane::SessionId;

impl Sender {
    /// Sends what the partition has, as far as it may. Whatever stops it brings it back here:
    /// an announcement, an alarm, an answer, a session, a leader, an identity.
    pub(super) fn pump(&mut self, partition: PartitionIndex) {
        let now = Instant::now();
        let slot = &mut self.slots[partition.0 as usize];
        if slot.paused.is_some_and(|until| now < until) {
            return;
        }
        slot.paused = None;
        let has_work = self.shared.accumulator(partition).has_work();
        if !has_work && slot.lane.unsent().is_none() {
            return;
        }
        self.arm_check(partition, now);
        let slot = &mut self.slots[partition.0 as usize];
        // While the next epoch is asked for, the one that is known may be over already.
        if !slot.lane.adopt(self.identity.filter(|_| !self.renewing)) {
            if !self.nameless.contains(&partition) {
                self.nameless.push(partition);
            }
            return self.identify();
        }
        let Some(address) = self.route(partition) else {
            return self.seek(partition);
        };
        let slot = &mut self.slots[partition.0 as usize];
        match self.sessions.state(&address, partition) {
            State::Open => while self.send_next(partition, &address, now) {},
            State::Opening => slot.address = Some(address),
            State::ToOpen(id) => {
                slot.address = Some(address.clone());
                self.open(address, id);
            }
        }
    }

    /// Somebody waits for space: batches that linger go, unless it will be there soon without them.
    pub(super) fn press(&mut self) {
        for partition in self.shared.partitions() {
            if self.slots[partition.0 as usize].lingering {
                self.pump(partition);
            }
        }
    }

    /// Where the partition's batches go: to where others are on their way, else to the leader.
    fn route(&self, partition: PartitionIndex) -> Option<Address> {
        let slot = &self.slots[partition.0 as usize];
        match slot.lane.session() {
            Some(_) => slot.address.clone(),
            None => self.metadata.leader(&self.shared.target.topic, partition),
        }
    }

    fn open(&mut self, address: Address, id: SessionId) {
        let metadata = Arc::clone(&self.metadata);
        self.work.push(Box::pin(async move {
            let opened = Session::open(&metadata, &address, id).await;
            Event::Opened(address, id, opened.map(Box::new))
        }));
    }

    /// Sends one batch, one that was sent before or a new one. False when it is time to stop.
    fn send_next(&mut self, partition: PartitionIndex, address: &Address, now: Instant) -> bool {
        let slot = &mut self.slots[partition.0 as usize];
        let Some(batch) = slot.lane.unsent() else {
            return self.take_next(partition, address, now);
        };
        let serial = batch.serial;
        let outgoing = Outgoing {
            partition,
            serial,
            bytes: batch.bytes.clone(),
            records: batch.records,
        };
        let offer = self.sessions.offer(address, &self.shared.target, outgoing);
        let Offer::Sent(attempt) = offer else {
            return false;
        };
        if slot.lane.session().is_none() {
            slot.progress = now;
        }
        slot.lane.sent(serial, attempt);
        slot.address = Some(address.clone());
        true
    }

    /// Takes a new batch into the lane, if there is one and its time has come.
    fn take_next(&mut self, partition: PartitionIndex, address: &Address, now: Instant) -> bool {
        let slot = &mut self.slots[partition.0 as usize];
        let in_flight = slot.lane.len();
        if in_flight >= self.rules.max_in_flight || !slot.lane.is_sound() || self.renewing {
            return false;
        }
        if !self.sessions.has_credit(address, partition) {
            return false;
        }
        let ready = Readiness {
            now,
            linger: self.rules.linger,
            idle: in_flight == 0,
            awaited: self.shared.budget.is_awaited(),
        };
        let mut accumulator = self.shared.accumulator(partition);
        let taken = accumulator.take(ready);
        let unused = accumulator.unused();
        drop(accumulator);
        self.shared.budget.give(unused);
        match taken {
            Taken::Batch(batch) => {
                self.build(partition, batch);
                true
            }
            Taken::Later(Some(due)) => {
                if !std::mem::replace(&mut slot.lingering, true) {
                    self.clock.set(due, Alarm::Linger(partition));
                }
                false
            }
            Taken::Later(None) | Taken::Nothing => false,
        }
    }

    /// Finishes a batch and puts it into the lane, where one that cannot be built waits its turn: what
    /// is done tells that everything before it is.
    fn build(&mut self, partition: PartitionIndex, batch: Gathered) {
        let Slot { lane, limit, .. } = &mut self.slots[partition.0 as usize];
        let limit = limit.bytes();
        let Gathered {
            builder,
            slot,
            opened,
            charge,
            ..
        } = batch;
        let records = builder.record_count();
        let built = builder
            .build(self.rules.codec, lane.stamp())
            .map_err(|error| Error::new(error.reason(), error.to_string()))
            .and_then(|bytes| match bytes.len() {
                len if len > limit => Err(too_large(len, limit)),
                _ => Ok(bytes),
            });
        let done = lane.push(built, records, slot, opened, charge);
        self.complete(done);
    }
}

fn too_large(len: usize, limit: usize) -> Error {
    let message = format!("the batch has {len} bytes, and the topic takes at most {limit}");
    Error::new(Reason::BatchTooLarge, message)
}
