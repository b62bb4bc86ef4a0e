//! Produce sessions of a fake broker: what becomes of each batch, and when it is said.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use highwater_client::Reason;
use highwater_proto::pb::v1::*;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tonic::{Status, Streaming};

use super::admin::CLUSTER;
use super::log::Answers;
use super::partition::Appended;
use super::runs::{Latest, Run, merged};
use super::{FakeBroker, State, status};

/// What a batch of a session comes to.
enum Judged {
    /// Of a batch of this topic and partition.
    Ack(Run, String, i32),
    Refused(Status),
    /// The session ends without an answer.
    Dropped,
}

impl FakeBroker {
    fn swallows(&self) -> bool {
        let mut state = self.shared.state();
        if state.faults.swallow_next > 0 {
            state.faults.swallow_next -= 1;
            self.shared.note_change();
            return true;
        }
        false
    }

    fn judge(&self, request: ProduceSessionRequest, previous: u64) -> Judged {
        let mut state = self.shared.state();
        self.shared.counters.batches.fetch_add(1, Ordering::SeqCst);
        if let Some(reason) = state.refusal(request.partition) {
            drop(state);
            self.shared.note_change();
            return Judged::Refused(status::of(reason, "refused on demand"));
        }
        let one_in = state.faults.drop_session_one_in;
        let dropped = state.chance(one_in);
        if dropped && state.chance(Some(2)) {
            return Judged::Dropped;
        }
        let one_in = state.faults.unknown_one_in;
        let unknown = state.chance(one_in);
        if unknown && state.chance(Some(2)) {
            return Judged::Refused(status::of(Reason::OutcomeUnknown, "unknown on demand"));
        }
        let appended = self.append(&mut state, &request);
        drop(state);
        self.shared.note_change();
        let (appended, epoch, forgets) = match appended {
            Ok(appended) => appended,
            Err(status) => return Judged::Refused(status),
        };
        if dropped || forgets {
            return Judged::Dropped;
        }
        if unknown {
            return Judged::Refused(status::of(Reason::OutcomeUnknown, "unknown on demand"));
        }
        let ack = BatchAck {
            number: request.number,
            base_offset: appended.base as i64,
            append_time: 1000,
            leader_epoch: epoch,
            duplicate: appended.duplicate,
            first_number: 0,
        };
        let run = Run {
            ack,
            batches: 1,
            end: appended.end,
            previous,
        };
        Judged::Ack(run, request.topic, request.partition)
    }

    /// Appends the batch. Gives where it is, the leader's epoch, and whether the partition has forgotten
    /// its producers since.
    fn append(
        &self,
        state: &mut State,
        request: &ProduceSessionRequest,
    ) -> Result<(Appended, i32, bool), Status> {
        let (name, index) = (&request.topic, request.partition);
        let epoch = self.led(state, name, &request.topic_id, index)?.epoch;
        if state.is_fenced(&request.batch) {
            return Err(status::of(Reason::ProducerFenced, "the name went on"));
        }
        let forgets = state.faults.forget_next > 0;
        let limit = state.topics[name].max_batch_bytes();
        let partition = state.partition(name, index as u32).unwrap();
        let appended = partition.append(request.batch.clone(), limit)?;
        let counters = &self.shared.counters;
        let unanswered = partition.unanswered.len();
        let most = &counters.most_unanswered;
        most.fetch_max(unanswered, Ordering::SeqCst);
        if appended.duplicate {
            counters.duplicates.fetch_add(1, Ordering::SeqCst);
        }
        if forgets {
            partition.forget_producers();
            state.faults.forget_next -= 1;
        }
        Ok((appended, epoch, forgets))
    }

    /// The batch's acknowledgement is about to be sent.
    fn answered(&self, topic: &str, partition: i32, ack: &BatchAck) {
        let mut state = self.shared.state();
        if let Some(partition) = state.partition(topic, partition as u32) {
            partition.unanswered.remove(&(ack.base_offset as u64));
        }
    }

    /// Waits until acknowledgements are not held back.
    async fn acks_flow(&self) {
        let mut changes = self.shared.changed.subscribe();
        let held = |state: &State| state.faults.hold_acks || state.faults.mute == Some(self.id);
        while held(&self.shared.state()) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    pub(super) async fn session(
        self,
        mut batches: Streaming<ProduceSessionRequest>,
        cumulative: bool,
        answers: Answers,
    ) {
        let credit_bytes = self.shared.state().faults.credit_bytes.unwrap_or(16 << 20);
        let opened = ProduceSessionResponse {
            opened: Some(ProduceSessionOpened {
                cluster_id: CLUSTER.to_owned(),
                broker: self.id,
                credit_bytes,
            }),
            ..ProduceSessionResponse::default()
        };
        if answers.send(Ok(opened)).await.is_err() {
            return;
        }
        // Answers have a task of their own, so that held acks do not stop the reading.
        let (judged, to_answer) = mpsc::unbounded_channel();
        let unanswered = Arc::new(AtomicU64::new(0));
        let answering = Answering {
            broker: self.clone(),
            cumulative,
            unanswered: Arc::clone(&unanswered),
            answers,
        };
        tokio::spawn(answering.run(to_answer));
        let mut latest = Latest::default();
        while let Some(Ok(request)) = batches.next().await {
            let (number, bytes) = (request.number, request.batch.len() as u64);
            let before = unanswered.fetch_add(bytes, Ordering::SeqCst);
            if before > 0 && before + bytes > credit_bytes {
                self.shared.counters.overruns.fetch_add(1, Ordering::SeqCst);
            }
            let previous = latest.follow(&request);
            let answer = self.judge(request, previous);
            let dropped = matches!(answer, Judged::Dropped);
            if judged.send((number, bytes, answer)).is_err() || dropped {
                return;
            }
            self.shared.counters.judged.fetch_add(1, Ordering::SeqCst);
            self.shared.note_change();
        }
    }
}

/// The number of a batch, its bytes and what it came to.
type ToAnswer = (u64, u64, Judged);

/// The task of a session that answers.
struct Answering {
    broker: FakeBroker,
    cumulative: bool,
    unanswered: Arc<AtomicU64>,
    answers: Answers,
}

impl Answering {
    async fn run(self, mut to_answer: mpsc::UnboundedReceiver<ToAnswer>) {
        while let Some(first) = to_answer.recv().await {
            if matches!(first.2, Judged::Ack(..)) {
                self.broker.acks_flow().await;
            }
            let mut acked = Vec::new();
            let mut next = Some(first);
            while let Some((_, bytes, Judged::Ack(run, topic, partition))) = next {
                self.unanswered.fetch_sub(bytes, Ordering::SeqCst);
                self.broker.answered(&topic, partition, &run.ack);
                acked.push(run);
                next = match self.cumulative {
                    true => to_answer.try_recv().ok(),
                    false => None,
                };
            }
            let message = ProduceSessionResponse {
                acks: self.acks(acked),
                ..ProduceSessionResponse::default()
            };
            if !message.acks.is_empty() && self.answers.send(Ok(message)).await.is_err() {
                return;
            }
            let Some((number, bytes, answer)) = next else {
                continue;
            };
            self.unanswered.fetch_sub(bytes, Ordering::SeqCst);
            let Judged::Refused(status) = answer else {
                let _ = self.answers.send(Err(Status::unavailable("dropped"))).await;
                return;
            };
            let message = ProduceSessionResponse {
                errors: vec![status::of_batch(number, &status)],
                ..ProduceSessionResponse::default()
            };
            if self.answers.send(Ok(message)).await.is_err() {
                return;
            }
        }
    }

    /// The acks of these batches, without those that are swallowed.
    fn acks(&self, acked: Vec<Run>) -> Vec<BatchAck> {
        let passes = |run: &Run| !(0..run.batches).any(|_| self.broker.swallows());
        let runs = merged(acked).into_iter().filter(passes);
        let acks: Vec<BatchAck> = runs.map(|run| run.ack).collect();
        let counter = &self.broker.shared.counters.acks;
        counter.fetch_add(acks.len(), Ordering::SeqCst);
        acks
    }
}
