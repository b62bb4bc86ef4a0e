//! Keeps a replica's storage to what it has to hold. The leader's decides what goes and moves the log
//! start; every replica's gives back segments that nobody can read any more, each its own.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use highwater_proto::Offset;
use tokio::sync::{oneshot, watch};

use super::error::AppendError;
use super::machine::Published;
use super::retention::{Retention, Start, Storage};
use super::trim::Trimmer;
use crate::clock::monotonic;
use crate::log::SegmentInfo;
use crate::metrics::Metrics;
use crate::raft::{Leadership, Released, Replica};

/// It looks again after this long when there was something that it could not do yet.
const AGAIN: Duration = Duration::from_millis(500);
/// Without anything to do it looks again after this long.
const IDLE: Duration = Duration::from_secs(3600);
/// It looks again after this long when an append waits for what is under way.
const SOON: Duration = Duration::from_millis(20);
/// It waits no longer than this for what became of a proposal: a group that is stuck keeps no segment
/// that can go, and no change of the limits from being taken up.
const DECIDED: Duration = Duration::from_secs(10);
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
    pub(super) saving: watch::Receiver<usize>,
    pub(super) leaps: Option<watch::Receiver<i64>>,
    pub(super) metrics: Arc<Metrics>,
}

impl Keeper {
    /// Runs until the replica ends.
    pub(super) async fn run(mut self) {
        loop {
            self.rolls.mark_unchanged();
            self.leadership.mark_unchanged();
            self.published.mark_unchanged();
            self.saving.mark_unchanged();
            self.leaps
                .iter_mut()
                .for_each(watch::Receiver::mark_unchanged);
            let retention = *self.retention.borrow_and_update();
            retention.limit(&self.replica);
            let (pressed, applied) = (self.replica.room().is_pressed(), self.replica.applied());
            // Looked at before: what settles meanwhile may let more go, the next time.
            let unsettled = self.is_settling();
            let retained = self.retain(&retention).await;
            // Seen after the mark: a batch that comes later is published later.
            let empty = self.replica.reader().began().is_none();
            let log_start = *self.log_start.borrow_and_update();
            let Given { some, more } = self.release(log_start).await;
            let moved = matches!(retained, Ok(Retained::Moved));
            let settling = pressed && !some && retained.is_ok() && (unsettled || moved);
            if pressed && !some && !settling {
                tracing::debug!(replica = %self.replica.id(), "the limit is passed by a file");
                self.replica.room().lift();
            }
            let wait = match retained {
                _ if settling => SOON,
                Ok(Retained::Due(due)) if more => due.min(AGAIN),
                Ok(Retained::Due(due)) => due,
                Ok(Retained::Moved) => PAUSE,
                Err(Refused) => AGAIN,
            };
            let gone = tokio::select! {
                changed = self.log_start.changed() => changed.is_err(),
                changed = self.rolls.changed() => changed.is_err(),
                changed = self.retention.changed() => changed.is_err(),
                changed = self.leadership.changed() => changed.is_err(),
                // The first batch of a file starts its clock, and no roll tells of it.
                changed = self.published.changed(), if empty => changed.is_err(),
                changed = self.saving.changed(), if more || settling => changed.is_err(),
                () = self.replica.applied_beyond(applied), if settling => false,
                () = leapt(&mut self.leaps) => false,
                () = pressed_for_room(&self.replica), if !settling => false,
                () = tokio::time::sleep(wait) => false,
            };
            if gone {
                return;
            }
        }
    }

    fn is_settling(&self) -> bool {
        let leads = self.leadership.borrow().mine;
        self.replica.room().is_giving_back() || self.replica.is_settling(leads)
    }

    /// Moves the log start as far as the topic says, if this replica leads.
    async fn retain(&self, retention: &Retention) -> Result<Retained, Refused> {
        match self.trimmer.leading() {
            Ok(_) => {}
            Err(AppendError::NotLeader) => return Ok(Retained::Due(IDLE)),
            Err(AppendError::NotReady) => return Ok(Retained::Due(AGAIN)),
            Err(_) => return Err(Refused),
        }
        let storage = self.storage(retention).await.ok_or(Refused)?;
        let ages = self.trimmer.clock.ages();
        let (storage, now) = (storage.counted(&ages), ages.now);
        let published = *self.published.borrow();
        let here = published.log_start_offset;
        let start = retention.start(&storage, now, published.high_watermark.offset());
        let start = self.resolve(start).await.map_err(|_| Refused)?;
        let start = start.filter(|start| *start > here);
        let closes = retention.is_to_close(&storage, now);
        if start.is_some() || closes {
            // A command is an entry like any other: what is to be closed is closed by it.
            let began = monotonic();
            let moved = in_time(DECIDED, self.trimmer.trim(start.unwrap_or(here))).await;
            let (id, took) = (self.replica.id(), began.elapsed());
            return match moved {
                Ok(start) => {
                    tracing::debug!(replica = %id, %start, ?took, "the log start moved");
                    Ok(Retained::Moved)
                }
                Err(error) => {
                    tracing::debug!(replica = %id, %error, "the log start stays");
                    Err(Refused)
                }
            };
        }
        let again = retention.look_again(&storage, now);
        let due = again.map_or(IDLE, |again| again.clamp(PAUSE, IDLE));
        Ok(Retained::Due(due))
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
        let reader = self.replica.reader();
        let before = reader.segments();
        let measured = match retention.bytes {
            None => 0,
            Some(_) => match self.replica.disk_bytes().await {
                Ok(bytes) => bytes,
                Err(error) => {
                    tracing::warn!(replica = %self.replica.id(), %error, "cannot be measured");
                    return None;
                }
            },
        };
        let segments = reader.segments();
        Some(Storage {
            began: reader.began(),
            disk_bytes: settled(measured, &before, &segments),
            segments,
        })
    }

    /// Gives back what it can.
    async fn release(&self, log_start: Offset) -> Given {
        let unreadable = |segment: &SegmentInfo| segment.sealed && segment.next_offset <= log_start;
        let mut some = false;
        loop {
            let segments = self.replica.reader().segments();
            if !segments.first().is_some_and(unreadable) {
                return Given { some, more: false };
            }
            let began = monotonic();
            match self.replica.release(log_start).await {
                Ok(released) if released == Released::default() => {
                    return Given { some, more: true };
                }
                Ok(released) => {
                    some = true;
                    self.metrics.deleted_segments.add(released.segments);
                    self.metrics.deleted_bytes.add(released.bytes);
                    let Released { segments, bytes } = released;
                    let (id, took) = (self.replica.id(), began.elapsed());
                    tracing::debug!(replica = %id, segments, bytes, ?took, "given back");
                }
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    let id = self.replica.id();
                    tracing::debug!(replica = %id, "a follower is still sent what is to go");
                    return Given { some, more: true };
                }
                Err(error) => {
                    tracing::warn!(replica = %self.replica.id(), %error, "segments stay for now");
                    return Given { some, more: true };
                }
            }
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // Nobody is left who could say that no more can go.
        self.replica.room().limit(None);
    }
}

/// What became of moving the log start, if it is told in time. What is not may still come about, and
/// does no harm: a log start only moves up.
async fn in_time(
    limit: Duration,
    moving: impl Future<Output = Result<Offset, AppendError>>,
) -> Result<Offset, AppendError> {
    let late = |_| AppendError::Unknown(format!("not decided within {limit:?}"));
    let told = tokio::time::timeout(limit, moving).await;
    told.map_err(late)?
}

/// What all files take once segments have given back what they do not need, by what was measured
/// between the looks at `before` and `after`. It never takes a segment for another file.
fn settled(measured: u64, before: &[SegmentInfo], after: &[SegmentInfo]) -> u64 {
    let then = |segment: &SegmentInfo| {
        let found = before.binary_search_by_key(&segment.first_index, |info| info.first_index);
        found.map_or(segment.disk_bytes, |at| before[at].disk_bytes)
    };
    let others = measured.saturating_sub(after.iter().map(then).sum());
    others + after.iter().map(|segment| segment.bytes).sum::<u64>()
}

impl Retention {
    /// Has the replica keep its files to it.
    pub(super) fn limit(&self, replica: &Replica) {
        let all = self.most_file_bytes();
        replica.limit_files(self.file_bytes, Some(self.file_ms), all);
    }
}

/// What became of the log start.
enum Retained {
    /// It was moved, or the segment that is written to was closed.
    Moved,
    /// There is nothing to do for so long.
    Due(Duration),
}

/// The log start cannot be moved now.
struct Refused;

/// What a replica has given back.
struct Given {
    /// Whether anything went.
    some: bool,
    /// Whether there is more that could not go yet.
    more: bool,
}

/// Resolves when time has passed of which no sleep knows.
async fn leapt(leaps: &mut Option<watch::Receiver<i64>>) {
    let leapt = match leaps {
        Some(leaps) => leaps.changed().await.is_ok(),
        None => false,
    };
    if !leapt {
        std::future::pending().await
    }
}

/// Resolves when an append waits for files to go.
async fn pressed_for_room(replica: &Replica) {
    let (wake, pressed) = oneshot::channel();
    let wake = Box::new(move || _ = wake.send(()));
    replica.room().when_pressed(wake);
    // The log never goes away while somebody holds its room.
    drop(pressed.await);
}

#[cfg(test)]
mod tests {
    use highwater_proto::{LogIndex, Timestamp};

    use super::*;

    fn segment(n: u64, disk_bytes: u64) -> SegmentInfo {
        SegmentInfo {
            first_index: LogIndex(n),
            next_index: LogIndex(n + 1),
            first_offset: Offset(n),
            next_offset: Offset(n + 1),
            last_append_time: Timestamp(0),
            bytes: 60,
            disk_bytes,
            end: 50,
            sealed: true,
        }
    }

    #[tokio::test]
    async fn a_group_that_decides_nothing_does_not_hold_up_its_keeper() {
        let stuck = in_time(Duration::from_millis(1), std::future::pending());
        let told = tokio::time::timeout(Duration::from_secs(30), stuck).await;
        assert!(matches!(told, Ok(Err(AppendError::Unknown(_)))), "{told:?}");
        let moved = in_time(DECIDED, std::future::ready(Ok(Offset(7)))).await;
        assert_eq!(moved, Ok(Offset(7)));
    }

    #[test]
    fn what_segments_are_about_to_give_back_is_no_other_file() {
        let (whole, given) = (segment(1, 100), segment(1, 60));
        let next = segment(2, 60);
        // 10 bytes of other files; the segment gave back before, between or after.
        assert_eq!(settled(70, &[given], &[given]), 70);
        assert_eq!(settled(110, &[whole], &[whole]), 70);
        assert_eq!(settled(110, &[whole], &[given]), 70);
        assert_eq!(
            settled(70, &[whole], &[given]),
            60,
            "too little, not too much"
        );
        assert_eq!(settled(130, &[given], &[given, next]), 130);
        assert_eq!(settled(70, &[given], &[given, next]), 120);
    }
}
