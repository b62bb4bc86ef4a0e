//! The one task of a producer: it takes what partitions gathered, sends it to their leaders in
//! order, and tells every batch its outcome. All state of batches on their way is owned here, so
//! none of it needs a lock.

mod body;
mod clock;
mod limit;
mod pump;
mod runs;
pub(crate) mod session;
mod sessions;
mod silence;
mod trouble;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, SelectAll};
use futures_util::{FutureExt, StreamExt};
use highwater_proto::pb::v1;
use highwater_proto::{PartitionIndex, Reason};
use tokio::time::Instant;

use self::clock::{Alarm, Clock};
use self::limit::Limit;
use self::session::{Acked, Answers, Opened};
use self::sessions::Sessions;
use super::delivery::Ack;
use super::identity::{self, Asking, Identity};
use super::lane::{Done, Lane, SessionId, Verdict};
use super::rules::Rules;
use super::shared::{Shared, Stop};
use crate::channels::Address;
use crate::error::{Error, Outcome, Result};
use crate::metadata::Metadata;
use crate::retry::Backoff;

/// The most answers that are taken before the sender looks at anything else.
const ANSWERS_AT_ONCE: usize = 64;

/// A partition as the sender sees it.
#[derive(Debug)]
struct Slot {
    lane: Lane,
    limit: Limit,
    /// Where the batches on their way were sent, where a session for them is being opened, or
    /// where the last trouble was.
    address: Option<Address>,
    /// Nothing is sent before this time.
    paused: Option<Instant>,
    backoff: Backoff,
    /// The check of deadline and progress is set.
    checking: bool,
    lingering: bool,
    /// When something was last sent or acknowledged.
    progress: Instant,
    /// How often batches were sent again since then because nobody answered.
    stalls: u32,
    /// A batch that later ones have overtaken, and when that was noticed.
    overtaken: Option<(u64, Instant)>,
    last_error: Option<Error>,
}

/// The end of something that the sender started.
enum Event {
    Opened(Address, SessionId, Result<Box<Opened>>),
    Refreshed(Result<()>),
    Identified(Result<Identity>),
}

/// Sends what the partitions have gathered, and owns all batches on their way.
pub(crate) struct Sender {
    shared: Arc<Shared>,
    metadata: Arc<Metadata>,
    rules: Rules,
    slots: Vec<Slot>,
    sessions: Sessions,
    answers: SelectAll<Answers>,
    work: FuturesUnordered<BoxFuture<'static, Event>>,
    clock: Clock,
    refreshing: bool,
    /// Since when no broker knows the topic, or some tell that its name stands for another one.
    missing: Option<Instant>,
    identity: Option<Identity>,
    identifying: bool,
    /// What the identity in use is to be followed by was asked for, and no answer came so far.
    asking: Option<Asking>,
    /// A named producer needs its next epoch: no new batch begins under the one in use.
    renewing: bool,
    /// Partitions that wait for an identity.
    nameless: Vec<PartitionIndex>,
    /// Partitions to look at, kept for its memory.
    announced: Vec<PartitionIndex>,
    /// Batches of an ack, kept for its memory.
    acked: Vec<Acked>,
}

impl Sender {
    /// A sender of what is `shared`. A named producer has its identity already.
    pub(crate) fn new(
        shared: Arc<Shared>,
        metadata: Arc<Metadata>,
        rules: Rules,
        identity: Option<Identity>,
    ) -> Self {
        let slot = |_| Slot {
            lane: Lane::default(),
            limit: Limit::new(rules.max_batch_bytes),
            address: None,
            paused: None,
            backoff: Backoff::default(),
            checking: false,
            lingering: false,
            progress: Instant::now(),
            stalls: 0,
            overtaken: None,
            last_error: None,
        };
        let slots = shared.partitions().map(slot).collect();
        Self {
            shared,
            metadata,
            rules,
            slots,
            sessions: Sessions::default(),
            answers: SelectAll::new(),
            work: FuturesUnordered::new(),
            clock: Clock::new(),
            refreshing: false,
            missing: None,
            identity,
            identifying: false,
            asking: None,
            renewing: false,
            nameless: Vec::new(),
            announced: Vec::new(),
            acked: Vec::new(),
        }
    }

    /// Runs until the producer is closed and everything is delivered or given up.
    pub(crate) async fn run(mut self) {
        if self.identity.is_none() {
            self.identify();
        }
        loop {
            tokio::select! {
                () = self.shared.woken() => {}
                Some((id, answer)) = self.answers.next(), if !self.answers.is_empty() => {
                    self.on_answer(id, answer);
                }
                Some(event) = self.work.next(), if !self.work.is_empty() => self.on_event(event),
                alarm = self.clock.next() => self.on_alarm(alarm),
            }
            for _ in 0..ANSWERS_AT_ONCE {
                let Some(Some((id, answer))) = self.answers.next().now_or_never() else {
                    break;
                };
                self.on_answer(id, answer);
            }
            self.on_announced();
            if self.shared.is_pressed() {
                self.press();
            }
            if self.renewing {
                self.identify();
            }
            match self.shared.stop() {
                Stop::Running => {}
                Stop::Draining if !self.is_done() => {}
                Stop::Draining | Stop::Aborted => return,
            }
        }
    }

    fn is_done(&self) -> bool {
        let mut slots = self.shared.partitions().zip(&self.slots);
        slots.all(|(partition, slot)| {
            slot.lane.len() == 0 && !self.shared.accumulator(partition).has_work()
        })
    }

    fn on_announced(&mut self) {
        let mut announced = std::mem::take(&mut self.announced);
        self.shared.take_announced(&mut announced);
        for partition in announced.drain(..) {
            self.pump(partition);
        }
        self.announced = announced;
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Opened(address, id, opened) => self.on_opened(&address, id, opened),
            Event::Refreshed(result) => self.on_refreshed(&result),
            Event::Identified(result) => self.on_identified(result),
        }
    }

    fn on_alarm(&mut self, alarm: Alarm) {
        match alarm {
            Alarm::Resume(partition) => self.pump(partition),
            Alarm::Linger(partition) => {
                self.slots[partition.0 as usize].lingering = false;
                self.pump(partition);
            }
            Alarm::Check(partition) => self.check(partition),
            Alarm::Overtaken(partition) => self.check_overtaken(partition),
        }
    }

    fn on_answer(&mut self, id: SessionId, answer: Result<v1::ProduceSessionResponse>) {
        let message = match answer {
            Ok(message) => message,
            Err(error) => return self.on_broken(id, &error),
        };
        let mut touched = Vec::new();
        for ack in &message.acks {
            touched.extend(self.on_batch_ack(id, ack));
        }
        for error in message.errors {
            let Some(sent) = self.sessions.answered(id, error.number) else {
                continue;
            };
            let error = Error::from(error);
            let partition = sent.partition;
            if error.reason() == Some(Reason::DuplicateSequence) {
                self.on_ack(partition, sent.serial, placeless(partition));
            } else {
                let lane = &mut self.slots[partition.0 as usize].lane;
                match lane.refused(sent.serial, sent.attempt, &error) {
                    Verdict::Wait => {}
                    Verdict::Again => self.again(partition, &error),
                    Verdict::Renew => {
                        lane.renew();
                        self.again(partition, &error);
                    }
                    Verdict::Fail => self.fail(partition, &error),
                }
            }
            touched.push(partition);
        }
        touched.extend(self.sessions.take_waiting(id));
        touched.dedup();
        for partition in touched {
            self.note_overtaken(partition);
            self.pump(partition);
        }
    }

    fn on_ack(&mut self, partition: PartitionIndex, serial: u64, ack: Ack) {
        let slot = &mut self.slots[partition.0 as usize];
        slot.progress = Instant::now();
        slot.stalls = 0;
        slot.backoff.reset();
        self.missing = None;
        let done = slot.lane.acked(serial, ack);
        self.complete(done);
        if let Some(error) = self.slots[partition.0 as usize].lane.doom().cloned() {
            self.fail(partition, &error);
        }
    }

    fn complete(&self, done: impl IntoIterator<Item = Done>) {
        for done in done {
            if let Err(error) = &done.outcome {
                self.shared.note_failure(done.slot.era(), error);
            }
            done.slot.complete(done.outcome);
            self.shared.buffers.give(done.bytes);
            self.shared.budget.give(done.charge);
        }
    }

    /// Asks for an identity, unless that is under way. A new epoch of a name ends the one in use,
    /// so it is asked for only when nothing is on its way under that.
    fn identify(&mut self) {
        if self.identifying {
            return;
        }
        let name = self.rules.name.clone();
        let held = self.identity.filter(|_| name.is_some());
        self.renewing = held.is_some();
        if self.slots.iter().any(|slot| slot.lane.is_busy_as(held)) {
            return;
        }
        self.identifying = true;
        let asking = *self.asking.get_or_insert_with(Asking::draw);
        let metadata = Arc::clone(&self.metadata);
        let deadline = match name {
            Some(_) => metadata.deadline(),
            // Sooner than batches are given up, so that they can say why.
            None => metadata
                .deadline()
                .min(Instant::now() + self.rules.delivery_timeout / 2),
        };
        self.work.push(Box::pin(async move {
            let name = name.as_deref();
            Event::Identified(identity::ask(&metadata, name, asking, held, deadline).await)
        }));
    }

    fn on_identified(&mut self, result: Result<Identity>) {
        self.identifying = false;
        let renewed = std::mem::take(&mut self.renewing);
        let mut waiting = std::mem::take(&mut self.nameless);
        match result {
            Ok(identity) => {
                if renewed {
                    self.slots.iter_mut().for_each(|slot| slot.lane.renew());
                    waiting = self.shared.partitions().collect();
                }
                self.identity = Some(identity);
                self.asking = None;
            }
            Err(error) if is_end(&error) && self.rules.name.is_some() => return self.end(&error),
            Err(error) if error.outcome() == Outcome::Refused => {
                for partition in waiting.drain(..) {
                    self.fail(partition, &error);
                }
                // The others kept theirs, and may go on under it with what is new.
                if renewed {
                    waiting = self.shared.partitions().collect();
                }
            }
            Err(error) => {
                // The next epoch may have begun all the same: nothing new goes out before it is known.
                self.renewing = renewed;
                if renewed {
                    waiting = self.shared.partitions().collect();
                }
                for partition in &waiting {
                    self.slots[partition.0 as usize].last_error = Some(error.clone());
                }
            }
        }
        for partition in waiting {
            self.pump(partition);
        }
    }

    /// Another producer has the name: nothing of this one is appended any more.
    fn end(&mut self, error: &Error) {
        for partition in self.shared.partitions() {
            self.shared.accumulator(partition).close(error.clone());
            self.give_up(partition, error);
        }
    }
}

/// True if a named producer can never go on after this error.
fn is_end(error: &Error) -> bool {
    matches!(
        error.reason(),
        Some(Reason::ProducerFenced | Reason::UnknownProducer)
    )
}

impl Drop for Sender {
    /// Nobody waits for ever: what is left when the task ends, however it ends, is told so.
    fn drop(&mut self) {
        let error = Error::new(Reason::NotReady, "the producer was stopped");
        let closed = error.clone().with_outcome(Outcome::Refused);
        for partition in self.shared.partitions() {
            self.shared.accumulator(partition).close(closed.clone());
            self.give_up(partition, &error);
        }
        self.shared.budget.close();
    }
}

/// The ack of a batch that the broker has, but no longer knows where.
fn placeless(partition: PartitionIndex) -> Ack {
    Ack {
        partition,
        offset: None,
        append_time: None,
        leader_epoch: None,
        duplicate: true,
    }
}
