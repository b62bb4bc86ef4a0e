//! Keeps a replica's storage to what it has to hold. The leader's decides what goes and moves the log
//! start; every replica's gives back segments that nobody can read any more, each its own.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use highwater_proto::Offset;
use tokio::sync::watch;

use super::error::AppendError;
use super::machine::Published;
use super::retention::{Retention, Start, Storage};
use super::trim::Trimmer;
use crate::log::SegmentInfo;
use crate::metrics::Metrics;
use crate::raft::{Leadership, Released, Replica};

/// It looks again after this long when there was something that it could not do yet.
const AGAIN: Duration = Duration::from_millis(500);
/// Without anything to do it looks again after this long.
const IDLE: Duration = Duration::from_secs(3600);
/// It looks no more often than this because time has passed.
const PAUSE: Duration = Duration::from_millis(50);

/// The keeper of one replica.
pub(super) struct Keeper {
    pub(super) replica: Replica,
    pub(super) trimmer: Trimmer,
    pub(super) retention: watch::Receiver<Retention>,
    pub(super) published: watch::Receiver<Published>,
    pub(super) leadership: watch::Receiver<Leadership>,
    pub(super) log_start: watch::Receiver<Offset>,
    pub(super) rolls: watch::Receiver<u32>,
    pub(super) metrics: Arc<Metrics>,
}

impl Keeper {
    /// Runs until the replica ends.
    pub(super) async fn run(mut self) {
        loop {
            self.rolls.mark_unchanged();
            self.leadership.mark_unchanged();
            self.published.mark_unchanged();
            let retention = *self.retention.borrow_and_update();
            self.replica
                .limit_files(retention.file_bytes, Some(retention.file_ms));
            let due = self.retain(&retention).await;
            // Seen after the mark: a batch that comes later is published later.
            let empty = self.replica.reader().began().is_none();
            let log_start = *self.log_start.borrow_and_update();
            let more = self.release(log_start).await;
            let wait = if more { due.min(AGAIN) } else { due };
            let gone = tokio::select! {
                changed = self.log_start.changed() => changed.is_err(),
                changed = self.rolls.changed() => changed.is_err(),
                changed = self.retention.changed() => changed.is_err(),
                changed = self.leadership.changed() => changed.is_err(),
                // The first batch of a file starts its clock, and no roll tells of it.
                changed = self.published.changed(), if empty => changed.is_err(),
                () = tokio::time::sleep(wait) => false,
            };
            if gone {
                return;
            }
        }
    }

    /// Moves the log start as far as the topic says, if this replica leads; gives the time until
    /// there may be more to do.
    async fn retain(&self, retention: &Retention) -> Duration {
        match self.trimmer.leading() {
            Ok(_) => {}
            Err(AppendError::NotLeader) => return IDLE,
            Err(_) => return AGAIN,
        }
        let Some(storage) = self.storage(retention).await else {
            return AGAIN;
        };
        let now = self.trimmer.clock.now();
        let published = *self.published.borrow();
        let here = published.log_start_offset;
        let start = retention.start(&storage, now, published.high_watermark.offset());
        let Ok(start) = self.resolve(start).await else {
            return AGAIN;
        };
        let start = start.filter(|start| *start > here);
        let closes = retention.is_to_close(&storage, now);
        if start.is_some() || closes {
            // A command is an entry like any other: what is to be closed is closed by it.
            let moved = self.trimmer.trim(start.unwrap_or(here)).await;
            if let Err(error) = moved {
                tracing::debug!(replica = %self.replica.id(), %error, "the log start stays");
                return AGAIN;
            }
            return PAUSE;
        }
        let again = retention.look_again(&storage, now);
        again.map_or(IDLE, |again| again.clamp(PAUSE, IDLE))
    }

    /// The offset of a place in the log.
    async fn resolve(&self, start: Option<Start>) -> io::Result<Option<Offset>> {
        let (segment, byte, before) = match start {
            None => return Ok(None),
            Some(Start::At(offset)) => return Ok(Some(offset)),
            Some(Start::Inside {
                segment,
                byte,
                before,
            }) => (segment, byte, before),
        };
        match self.replica.offset_at(segment, byte).await {
            Ok(found) => Ok(found.filter(|offset| *offset <= before)),
            Err(error) => {
                tracing::warn!(replica = %self.replica.id(), %error, "the log start stays");
                Err(error)
            }
        }
    }

    async fn storage(&self, retention: &Retention) -> Option<Storage> {
        let disk_bytes = match retention.bytes {
            None => 0,
            Some(_) => match self.replica.disk_bytes().await {
                Ok(bytes) => bytes,
                Err(error) => {
                    tracing::warn!(replica = %self.replica.id(), %error, "cannot be measured");
                    return None;
                }
            },
        };
        let reader = self.replica.reader();
        Some(Storage {
            began: reader.began(),
            segments: reader.segments(),
            disk_bytes,
        })
    }

    /// Gives back what it can; true when there is more that could not go yet.
    async fn release(&self, log_start: Offset) -> bool {
        let unreadable = |segment: &SegmentInfo| segment.sealed && segment.next_offset <= log_start;
        loop {
            let segments = self.replica.reader().segments();
            if !segments.first().is_some_and(unreadable) {
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
