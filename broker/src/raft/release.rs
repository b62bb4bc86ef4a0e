//! Moving Raft's floor up: a replica gives back the segments at the front of its log that nobody can
//! read any more, and with them the entries that a follower would need to catch up from there.

use std::io;
use std::time::Duration;

use highwater_proto::{LogIndex, Offset};
use tokio::sync::watch;

use super::Replica;
use super::blocking::beside;
use super::saved;
use super::types::LogId;
use crate::log::SegmentInfo;

/// The most segments that one step frees: the group appends nothing while it lasts.
const AT_ONCE: usize = 16;
/// How long a purge may take.
const LIMIT: Duration = Duration::from_secs(60);
/// How long it may be held up by a follower that is so far behind that it is sent what is purged.
const HELD_UP: Duration = Duration::from_secs(1);

/// What was given back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Released {
    /// Segment files.
    pub segments: u64,
    /// The bytes they took on the disk.
    pub bytes: u64,
}

impl Replica {
    /// Frees segments of a partition whose records all lie below `log_start` and are applied here,
    /// as far as a state was saved where they end; a few at a time. The bytes of a freed file are
    /// given back when the last slice of it is dropped. `ErrorKind::TimedOut`: a follower is still
    /// being sent what is to go.
    pub async fn release(&self, log_start: Offset) -> io::Result<Released> {
        let before = self.reader.segments();
        let Some(upto) = self.releasable(&before, log_start).await? else {
            return Ok(Released::default());
        };
        if self.floor.index().is_none_or(|floor| floor < upto) {
            self.raise_floor(upto).await?;
        }
        let held_up = self.lags_behind(upto);
        let limit = if held_up { HELD_UP } else { LIMIT };
        let purged = self.purge(upto, limit).await;
        purged.map_err(|error| match held_up {
            true => io::Error::new(io::ErrorKind::TimedOut, error),
            false => error,
        })?;
        let first = self.reader.first_index();
        let gone = before.iter().filter(|segment| segment.next_index <= first);
        Ok(gone.fold(Released::default(), |sum, segment| Released {
            segments: sum.segments + 1,
            bytes: sum.bytes + segment.bytes,
        }))
    }

    /// Keeps the files that are begun from now on to this size and to this age in milliseconds, and
    /// all of them together to `all` bytes: at these, records wait for old files to go.
    pub fn limit_files(&self, bytes: u64, ms: Option<i64>, all: Option<u64>) {
        self.limits.set(bytes, ms);
        self.room().limit(all);
    }

    /// How many states are being saved, and every change of that: files can go up to a saved one.
    pub fn saving(&self) -> watch::Receiver<usize> {
        self.floor.saving()
    }

    /// Whether more may be able to go without anything being appended: a state is being saved, or
    /// entries that are here are not yet applied. A leader's will all be committed, a follower knows
    /// which ones are.
    pub fn is_settling(&self, leads: bool) -> bool {
        let end = match leads {
            true => self.reader.last().map(|last| last.index.0),
            false => self.committed().map(|id| id.index),
        };
        *self.floor.saving().borrow() > 0 || self.applied().map(|index| index.0) < end
    }

    /// Resolves when anything is applied after `before`; never once the core has ended.
    pub async fn applied_beyond(&self, before: Option<LogIndex>) {
        use openraft::async_runtime::WatchReceiver;
        let mut metrics = self.raft().metrics();
        while self.applied() <= before {
            if metrics.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Where records begin from `byte` on in the segment whose first entry is `first`, if it is there.
    pub async fn offset_at(&self, first: LogIndex, byte: u64) -> io::Result<Option<Offset>> {
        let reader = self.reader.clone();
        let found = beside(self.floor.dir(), move || reader.offset_at(first, byte)).await?;
        found.map_err(io::Error::other)
    }

    /// The directory of the replica.
    pub(super) fn home(&self) -> &std::sync::Arc<dyn crate::log::Dir> {
        self.floor.dir()
    }

    /// The bytes that all files of the replica take on the disk.
    pub async fn disk_bytes(&self) -> io::Result<u64> {
        let dir = std::sync::Arc::clone(self.floor.dir());
        beside(self.floor.dir(), move || dir.disk_bytes()).await?
    }

    /// The last entry that can go.
    async fn releasable(
        &self,
        segments: &[SegmentInfo],
        log_start: Offset,
    ) -> io::Result<Option<u64>> {
        let applied = self.applied();
        let done = |segment: &&SegmentInfo| {
            segment.sealed
                && segment.next_offset <= log_start
                && Some(segment.next_index) <= applied.map(LogIndex::next)
        };
        let ends = segments.iter().take_while(done);
        let ends: Vec<u64> = ends
            .filter_map(|segment| segment.next_index.0.checked_sub(1))
            .collect();
        if ends.is_empty() {
            return Ok(None);
        }
        let home = std::sync::Arc::clone(self.floor.dir());
        let states = beside(self.floor.dir(), move || saved::indexes(home.as_ref())).await??;
        let here = self.floor.index();
        let saved = |end: &&u64| states.contains(end) || here == Some(**end);
        let (now, later) = ends.split_at(ends.len().min(AT_ONCE));
        let last = now.iter().rev().find(saved);
        Ok(last.or_else(|| later.iter().find(saved)).copied())
    }

    /// Makes the state saved after `upto` the one at the floor.
    async fn raise_floor(&self, upto: u64) -> io::Result<()> {
        let (floor, reader) = (self.floor.clone(), self.reader.clone());
        beside(self.floor.dir(), move || {
            let head = reader.head(LogIndex(upto)).map_err(io::Error::other)?;
            let state = saved::load_at(floor.dir().as_ref(), upto)?;
            let fits = |end| head.is_some_and(|head| crate::log::LastFrame::from(&head) == end);
            match state {
                Some(state) if state.log_end.is_some_and(fits) => floor.adopt(state),
                Some(_) => Err(io::Error::other(format!(
                    "the state saved after entry {upto} does not fit to the log"
                ))),
                None => Err(io::Error::other(format!("no state after entry {upto}"))),
            }
        })
        .await?
    }

    /// Takes a snapshot of the metadata as of now and purges the log up to it, but for the last
    /// `keep` entries, which spare a follower that is a little behind the snapshot.
    pub async fn compact(&self, keep: u64) -> io::Result<()> {
        let Some(applied) = self.applied() else {
            return Ok(());
        };
        self.snapshot(applied.0).await?;
        let upto = applied.0.saturating_sub(keep);
        if LogIndex(upto) < self.reader.first_index() {
            return Ok(());
        }
        self.purge(upto, LIMIT).await
    }

    /// How many entries the log holds.
    pub fn log_entries(&self) -> u64 {
        let first = self.reader.first_index().0;
        let last = self.reader.last();
        last.map_or(0, |last| (last.index.0 + 1).saturating_sub(first))
    }

    /// The last entry that is known to be committed.
    pub(super) fn committed(&self) -> Option<LogId> {
        use openraft::async_runtime::WatchReceiver;
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow_watched();
        metrics.local_committed
    }

    /// The last entry that is applied here.
    pub fn applied(&self) -> Option<LogIndex> {
        self.applied_id().map(|id| LogIndex(id.index))
    }

    /// The same with its term.
    pub(super) fn applied_id(&self) -> Option<LogId> {
        use openraft::async_runtime::WatchReceiver;
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow_watched();
        metrics.last_applied
    }

    /// Has openraft take up the state at the floor, or make one as of now, at `least` or later.
    async fn snapshot(&self, least: u64) -> io::Result<()> {
        let asked = self.raft().trigger().snapshot().await;
        asked.map_err(io::Error::other)?;
        let wait = self.raft().wait(Some(LIMIT));
        let taken = wait.metrics(
            |metrics| metrics.snapshot.is_some_and(|id| id.index >= least),
            "a snapshot",
        );
        taken.await.map(drop).map_err(io::Error::other)
    }

    async fn purge(&self, upto: u64, limit: Duration) -> io::Result<()> {
        if !self.has_snapshot(upto) {
            self.snapshot(upto).await?;
        }
        let asked = self.raft().trigger().purge_log(upto).await;
        asked.map_err(io::Error::other)?;
        let wait = self.raft().wait(Some(limit));
        let purged = wait.metrics(
            |metrics| metrics.purged.is_some_and(|id| id.index >= upto),
            "the purge",
        );
        purged.await.map(drop).map_err(io::Error::other)
    }

    /// Whether a follower lacks an entry up to `upto`, as far as the leader knows.
    fn lags_behind(&self, upto: u64) -> bool {
        use openraft::async_runtime::WatchReceiver;
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow_watched();
        let lacks = |matched: &Option<LogId>| matched.is_none_or(|id| id.index < upto);
        let followers = metrics.replication.as_ref();
        followers.is_some_and(|followers| followers.values().any(lacks))
    }

    fn has_snapshot(&self, upto: u64) -> bool {
        use openraft::async_runtime::WatchReceiver;
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow_watched();
        metrics.snapshot.is_some_and(|id| id.index >= upto)
    }
}
