//! One batch on its way, and what becomes of it.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use super::super::delivery::{Ack, BatchSlot};
use crate::error::{Error, Result};

/// A session's number among all the producer ever opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SessionId(pub(crate) u64);

/// One sending of one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) session: SessionId,
    pub(crate) number: u64,
}

/// The number of a batch within its lane.
pub(crate) type Serial = u64;

/// A batch that is finished but for its answer.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) serial: Serial,
    pub(crate) bytes: Bytes,
    pub(crate) slot: Arc<BatchSlot>,
    /// When its first record came.
    pub(crate) opened: Instant,
    pub(crate) charge: usize,
    pub(crate) records: u32,
    pub(super) attempt: Option<Attempt>,
    pub(super) unanswered: u32,
    pub(super) unknown: bool,
    pub(super) acked: Option<Ack>,
    /// Why it cannot be written; it fails when those before it are done.
    pub(super) refused: Option<Error>,
    /// Why there are no bytes to send. It has no sequence either: it fails alone, in its turn.
    pub(super) unbuilt: Option<Error>,
}

/// A batch that is done: its outcome is to be told and its memory given back.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) slot: Arc<BatchSlot>,
    pub(crate) charge: usize,
    pub(crate) outcome: Result<Ack>,
    /// As it was sent.
    pub(crate) bytes: Bytes,
}

impl Pending {
    pub(super) fn waits(&self) -> bool {
        self.attempt.is_none() && self.outcome().is_none()
    }

    /// What became of it, whatever becomes of those before it.
    pub(super) fn outcome(&self) -> Option<Result<Ack>> {
        let unbuilt = || self.unbuilt.clone().map(Err);
        self.acked.map(Ok).or_else(unbuilt)
    }

    pub(super) fn maybe_written(&self) -> bool {
        self.unknown || self.unanswered > 0
    }

    pub(super) fn done(self, outcome: Result<Ack>) -> Done {
        Done {
            slot: self.slot,
            charge: self.charge,
            outcome,
            bytes: self.bytes,
        }
    }
}
