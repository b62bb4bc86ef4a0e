//! Keeps a replica's storage to what it has to hold: gives back segments that nobody can read any
//! more. It runs on every replica; each moves its own floor.

use std::sync::Arc;
use std::time::Duration;

use highwater_proto::Offset;
use tokio::sync::watch;

use crate::metrics::Metrics;
use crate::raft::{Released, Replica};

/// It looks again after this long when there was something that it could not do yet.
const AGAIN: Duration = Duration::from_millis(500);
/// Without anything to do it looks again after this long.
const IDLE: Duration = Duration::from_secs(3600);

/// The keeper of one replica.
pub(super) struct Keeper {
    pub(super) replica: Replica,
    pub(super) log_start: watch::Receiver<Offset>,
    pub(super) rolls: watch::Receiver<u32>,
    pub(super) metrics: Arc<Metrics>,
}

impl Keeper {
    /// Runs until the replica ends.
    pub(super) async fn run(mut self) {
        loop {
            self.rolls.mark_unchanged();
            let log_start = *self.log_start.borrow_and_update();
            let more = self.release(log_start).await;
            let wait = if more { AGAIN } else { IDLE };
            tokio::select! {
                changed = self.log_start.changed() => if changed.is_err() { return },
                changed = self.rolls.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Gives back what it can; true when there is more that could not go yet.
    async fn release(&self, log_start: Offset) -> bool {
        loop {
            let unreadable = |segment: &crate::log::SegmentInfo| {
                segment.sealed && segment.next_offset <= log_start
            };
            if !self
                .replica
                .reader()
                .segments()
                .first()
                .is_some_and(unreadable)
            {
                return false;
            }
            match self.replica.release(log_start).await {
                Ok(released) if released == Released::default() => return true,
                Ok(released) => {
                    self.metrics.deleted_segments.add(released.segments);
                    self.metrics.deleted_bytes.add(released.bytes);
                    let Released { segments, bytes } = released;
                    tracing::debug!(replica = %self.replica.id(), segments, bytes, "given back");
                }
                Err(error) => {
                    tracing::warn!(replica = %self.replica.id(), %error, "segments stay for now");
                    return true;
                }
            }
        }
    }
}
