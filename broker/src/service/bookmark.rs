//! Where a subscription to records is within a batch. To unpack it again for each message would cost
//! many times what the records are worth; to keep it costs memory, of which there is so much for all.

use std::sync::Arc;

use highwater_proto::batch::BatchError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::records::Opened;
use crate::log::CommittedBatch;

/// What all subscriptions of a broker may keep unpacked. For what is beyond it, batches are unpacked
/// again.
const KEPT_BYTES: usize = 64 << 20;

/// The memory for batches that are kept unpacked. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Bookmarks(Arc<Semaphore>);

impl Default for Bookmarks {
    /// All of it.
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(KEPT_BYTES)))
    }
}

impl Bookmarks {
    /// One that is in no batch yet.
    pub fn bookmark(&self) -> Bookmark {
        Bookmark {
            all: self.clone(),
            kept: None,
        }
    }
}

/// The batch that a reader of records is within, and how far.
#[derive(Debug)]
pub struct Bookmark {
    all: Bookmarks,
    kept: Option<(Opened, OwnedSemaphorePermit)>,
}

impl Bookmark {
    /// `batch`, where its reading goes on.
    pub(super) fn open(&mut self, batch: &CommittedBatch) -> Result<Opened, BatchError> {
        match self.kept.take() {
            Some((kept, _)) if kept.base_offset() == batch.base_offset => Ok(kept),
            _ => Opened::open(batch.bytes.clone()),
        }
    }

    /// Keeps the batch that a page ended in, if there is memory for that.
    pub(super) fn keep(&mut self, batch: Opened) {
        let bytes = u32::try_from(batch.memory()).unwrap_or(u32::MAX);
        let share = Arc::clone(&self.all.0).try_acquire_many_owned(bytes);
        self.kept = share.ok().map(|share| (batch, share));
    }
}

#[cfg(test)]
mod tests;
