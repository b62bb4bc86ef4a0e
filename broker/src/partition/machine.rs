//! The partition's replicated machine: applies frames to the state and publishes the high watermark.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use highwater_proto::batch::{BatchError, BatchHeader, batches};
use highwater_proto::{EntryId, LogIndex, Offset, Term};
use tokio::sync::watch;

use super::command::{self, Command};
use super::state::{BatchFacts, Body, HighWatermark, PartitionState};
use crate::log::FrameKind;
use crate::raft::{Committed, NotUnderstood, Replicated, Reply};

/// What readers and waiting fetches see of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// The end of what may be read.
    pub high_watermark: HighWatermark,
    /// The first offset that may be read.
    pub log_start_offset: Offset,
    /// The term of the last applied entry: a leader of a later term is not ready to answer.
    pub term: Term,
}

/// The state of one partition, shared by the machine and the append loop.
#[derive(Debug)]
pub struct Shared {
    // guards: the state; held while entries are applied or a batch is judged, never across an await.
    state: Mutex<PartitionState>,
    published: watch::Sender<Published>,
    /// The log start offset alone, for whoever need not hear of every record.
    log_start: watch::Sender<Offset>,
}

impl Shared {
    /// A partition to which nothing was applied.
    pub fn new() -> Arc<Self> {
        let state = PartitionState::new();
        let published = watch::Sender::new(publish(&state));
        Arc::new(Self {
            state: Mutex::new(state),
            published,
            log_start: watch::Sender::new(Offset::ZERO),
        })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, PartitionState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn published(&self) -> watch::Receiver<Published> {
        self.published.subscribe()
    }

    pub(super) fn log_start(&self) -> watch::Receiver<Offset> {
        self.log_start.subscribe()
    }

    /// Says that the last applied entry is of this term.
    #[cfg(test)]
    pub(super) fn publish_term(&self, term: Term) {
        self.published.send_modify(|now| now.term = term);
    }

    /// Says again what was said before.
    #[cfg(test)]
    pub(super) fn publish_again(&self, published: Published) {
        self.published.send_replace(published);
    }

    /// Wakes whoever waits for data, to look again at who leads.
    pub(super) fn wake(&self) {
        self.published.send_modify(|_| ());
    }
}

fn publish(state: &PartitionState) -> Published {
    let term = state.applied().map_or(Term(0), |entry| entry.term);
    Published {
        high_watermark: state.high_watermark(),
        log_start_offset: state.log_start(),
        term,
    }
}

/// The machine of one replica.
#[derive(Debug)]
pub struct PartitionMachine(pub Arc<Shared>);

fn not_understood(error: impl std::fmt::Display) -> NotUnderstood {
    NotUnderstood(error.to_string())
}

fn facts(entry: &Committed<'_>) -> Result<Vec<BatchFacts>, NotUnderstood> {
    let fact = |batch: Result<(BatchHeader, _), BatchError>| {
        let (header, _): (_, bytes::Bytes) = batch.map_err(not_understood)?;
        BatchFacts::of(&header).map_err(not_understood)
    };
    batches(entry.body).map(fact).collect()
}

impl Replicated for PartitionMachine {
    fn apply(&mut self, entry: &Committed<'_>) -> Result<Reply, NotUnderstood> {
        let head = entry.head;
        let batches;
        let body = match head.kind {
            FrameKind::Batch => {
                batches = facts(entry)?;
                Body::Batches {
                    base_offset: head.base_offset,
                    append_time: head.append_time,
                    max_timestamp: head.max_timestamp,
                    batches: &batches,
                }
            }
            FrameKind::Blank => Body::Blank,
            FrameKind::Membership => Body::Membership,
            FrameKind::Command => match Command::decode(entry.body).map_err(not_understood)? {
                Command::SetLogStart(offset) => Body::SetLogStart(offset),
                Command::FenceProducer(producer, epoch) => Body::Fence {
                    producer,
                    epoch,
                    append_time: head.append_time,
                },
            },
        };
        let id = EntryId {
            term: head.term,
            index: head.index,
        };
        let mut state = self.0.state();
        let applied = state.apply(id, body).map_err(not_understood)?;
        Ok(match head.kind {
            FrameKind::Batch => Reply::Batch {
                base_offset: applied.base_offset,
                append_time: head.append_time,
            },
            FrameKind::Command => Reply::Command {
                index: head.index,
                bytes: command::encode_reply(state.log_start()),
            },
            FrameKind::Blank | FrameKind::Membership => Reply::Nothing,
        })
    }

    fn publish(&mut self) {
        let now = publish(&self.0.state());
        self.0
            .published
            .send_if_modified(|old| std::mem::replace(old, now) != now);
        let start = now.log_start_offset;
        self.0
            .log_start
            .send_if_modified(|old| std::mem::replace(old, start) != start);
    }

    fn save(&self) -> Vec<u8> {
        self.0.state().snapshot().to_vec()
    }

    fn restore(&mut self, saved: &[u8], _: LogIndex) -> Result<(), NotUnderstood> {
        *self.0.state() = PartitionState::restore(saved).map_err(not_understood)?;
        Ok(())
    }
}
