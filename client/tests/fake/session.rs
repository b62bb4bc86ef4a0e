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
use super::{FakeBroker, State, status};

/// What a batch of a session comes to.
enum Judged {
    Ack(BatchAck),
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
        let one_in = state.faults.swallow_one_in;
        state.chance(one_in)
    }

    fn judge(&self, request: ProduceSessionRequest) -> Judged {
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
        let partition = match self.led(
            &mut state,
            &request.topic,
            &request.topic_id,
            request.partition,
        ) {
            Ok(partition) => partition,
            Err(status) => return Judged::Refused(status),
        };
        let epoch = partition.epoch;
        if state.is_fenced(&request.batch) {
            return Judged::Refused(status::of(Reason::ProducerFenced, "the name went on"));
        }
        let Some(partition) = state.partition(&request.topic, request.partition as u32) else {
            return Judged::Dropped;
        };
        let appended = match partition.append(request.batch, 1 << 20) {
            Ok(appended) => appended,
            Err(status) => return Judged::Refused(status),
        };
        drop(state);
        self.shared.note_change();
        if appended.duplicate {
            self.shared
                .counters
                .duplicates
                .fetch_add(1, Ordering::SeqCst);
        }
        if dropped {
            return Judged::Dropped;
        }
        if unknown {
            return Judged::Refused(status::of(Reason::OutcomeUnknown, "unknown on demand"));
        }
        Judged::Ack(BatchAck {
            number: request.number,
            base_offset: appended.base as i64,
            append_time: 1000,
            leader_epoch: epoch,
            duplicate: appended.duplicate,
            first_number: 0,
        })
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
        let (judged, mut to_answer) = mpsc::unbounded_channel();
        let unanswered = Arc::new(AtomicU64::new(0));
        let (broker, answered) = (self.clone(), Arc::clone(&unanswered));
        tokio::spawn(async move {
            while let Some((number, bytes, answer)) = to_answer.recv().await {
                let mut message = ProduceSessionResponse::default();
                match answer {
                    Judged::Ack(ack) => {
                        broker.acks_flow().await;
                        if broker.swallows() {
                            answered.fetch_sub(bytes, Ordering::SeqCst);
                            continue;
                        }
                        message.acks.push(ack);
                    }
                    Judged::Refused(status) => {
                        message.errors.push(status::of_batch(number, &status));
                    }
                    Judged::Dropped => {
                        let _ = answers.send(Err(Status::unavailable("dropped"))).await;
                        return;
                    }
                }
                answered.fetch_sub(bytes, Ordering::SeqCst);
                if answers.send(Ok(message)).await.is_err() {
                    return;
                }
            }
        });
        while let Some(Ok(request)) = batches.next().await {
            let (number, bytes) = (request.number, request.batch.len() as u64);
            let before = unanswered.fetch_add(bytes, Ordering::SeqCst);
            if before > 0 && before + bytes > credit_bytes {
                self.shared.counters.overruns.fetch_add(1, Ordering::SeqCst);
            }
            let answer = self.judge(request);
            let dropped = matches!(answer, Judged::Dropped);
            if judged.send((number, bytes, answer)).is_err() || dropped {
                return;
            }
        }
    }
}
