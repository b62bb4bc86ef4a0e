//! Reading a partition: what can be read, and the batches themselves.

use std::time::Duration;

use highwater_proto::{Offset, Term, Timestamp};

use super::error::{AppendError, ReadError};
use super::partition::Partition;
use crate::log::{CommittedBatch, LogError, LogReader};
use crate::raft::make_resident;

/// How long a majority may take to confirm who leads.
const CONFIRM_LIMIT: Duration = Duration::from_secs(2);

/// Which replicas may answer a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replicas {
    /// The leader, once it has applied an entry of its own term.
    Leader,
    /// Any: each up to its own high watermark.
    Any,
}

/// What can be read, as of a moment after the question was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The first offset that can be read.
    pub log_start_offset: Offset,
    /// The end of what can be read.
    pub high_watermark: Offset,
    /// The term of the leader.
    pub term: Term,
    /// True when this replica does not lead: the leader's end may be higher.
    pub follower: bool,
}

/// What one read found.
#[derive(Debug)]
pub struct Read {
    /// Whole batches; the first may begin below the offset asked for.
    pub batches: Vec<CommittedBatch>,
    /// Where to read next.
    pub next_offset: Offset,
    /// The range that can be read.
    pub bounds: Bounds,
}

impl Partition {
    /// What can be read now, if this replica leads and is ready to answer.
    pub(super) fn bounds_here(&self) -> Result<Bounds, ReadError> {
        let leadership = *self.leadership.borrow();
        if !leadership.mine || self.tasks.is_cancelled() {
            return Err(ReadError::NotLeader);
        }
        let published = *self.published.borrow();
        if published.term != leadership.term {
            return Err(ReadError::NotReady);
        }
        Ok(Bounds {
            log_start_offset: published.log_start_offset,
            high_watermark: published.high_watermark.offset(),
            term: leadership.term,
            follower: false,
        })
    }

    /// What can be read here now, by the word of one of `replicas`.
    fn bounds_of(&self, replicas: Replicas) -> Result<Bounds, ReadError> {
        let published = *self.published.borrow();
        match (self.bounds_here(), replicas) {
            (Ok(bounds), _) => Ok(bounds),
            (Err(error), Replicas::Leader) => Err(error),
            // A replica that has stopped would stay where it is for ever.
            (Err(error), Replicas::Any) => match self.stopped() {
                true => Err(error),
                false => Ok(Bounds {
                    log_start_offset: published.log_start_offset,
                    high_watermark: published.high_watermark.offset(),
                    term: self.leadership.borrow().term,
                    follower: true,
                }),
            },
        }
    }

    fn stopped(&self) -> bool {
        self.tasks.is_cancelled() || self.replica.stopped().is_some()
    }

    /// True if this replica leads, as far as it knows.
    pub fn leads(&self) -> bool {
        self.leadership.borrow().mine
    }

    /// Has what is there from `from` on in memory, up to `max_bytes`, so that reading it does not wait
    /// for the disk. After an error it must not be read.
    pub async fn warm(&self, from: Offset, max_bytes: usize) -> Result<(), ReadError> {
        let cold = self.replica.reader().cold(from, max_bytes);
        let warm = make_resident(cold).await;
        warm.map_err(unreadable)
    }

    /// Reads whole batches from `from` on, up to `max_bytes` but at least one if there is any. Only
    /// the leader says that an offset is out of range; a follower has nothing yet above its end, and
    /// sends those who ask for what is below its start to the leader.
    pub fn read(
        &self,
        replicas: Replicas,
        from: Offset,
        max_bytes: usize,
    ) -> Result<Read, ReadError> {
        let bounds = self.bounds_of(replicas)?;
        let Bounds {
            log_start_offset,
            high_watermark,
            ..
        } = bounds;
        if bounds.follower && from < log_start_offset {
            return Err(ReadError::NotLeader);
        }
        if from < log_start_offset || (from > high_watermark && !bounds.follower) {
            return Err(ReadError::OutOfRange {
                offset: from,
                log_start_offset,
                high_watermark,
            });
        }
        if from >= high_watermark {
            return Ok(Read {
                batches: Vec::new(),
                next_offset: from,
                bounds,
            });
        }
        let batches = self
            .replica
            .reader()
            .read_committed(from, high_watermark, max_bytes);
        let batches = batches.map_err(|error| match error {
            // The log was purged since the bounds were taken.
            LogError::BelowLogStart { .. } if bounds.follower => ReadError::NotLeader,
            LogError::BelowLogStart {
                log_start_offset, ..
            } => ReadError::OutOfRange {
                offset: from,
                log_start_offset,
                high_watermark,
            },
            error => unreadable(error),
        })?;
        let next_offset = batches.last().map_or(from, |batch| batch.next_offset);
        Ok(Read {
            batches,
            next_offset,
            bounds,
        })
    }

    /// What can be read, no older than the call: leadership is confirmed by a majority.
    pub async fn bounds(&self) -> Result<Bounds, ReadError> {
        self.settled().await;
        self.bounds_here()?;
        // Asking would hold up those who elect another leader.
        if matches!(self.trimmer.may_propose(), Err(AppendError::QuorumLost)) {
            return Err(ReadError::Unconfirmed);
        }
        match tokio::time::timeout(CONFIRM_LIMIT, self.replica.read_barrier()).await {
            Ok(Ok(())) => self.bounds_here(),
            Ok(Err(_)) => Err(ReadError::NotReady),
            Err(_) => Err(ReadError::Unconfirmed),
        }
    }

    /// The offset of the first batch in `bounds` with a record at `time` or later; their end if
    /// there is none. The batch may begin below the log start.
    pub async fn offset_for_time(
        &self,
        time: Timestamp,
        bounds: Bounds,
    ) -> Result<Offset, ReadError> {
        let (start, end) = (bounds.log_start_offset, bounds.high_watermark);
        let find = move |reader: &LogReader| reader.offset_for_time(time, start, end);
        let found = self.replica.read_beside(find).await;
        let found = found.map_err(unreadable)?;
        Ok(found.unwrap_or(end))
    }

    /// What can be read as this replica knows, if it leads.
    pub fn led(&self) -> Option<Bounds> {
        self.bounds_here().ok()
    }
}

/// Why the log gives nothing. What the disk has lost is damage, and no try will bring it back; where
/// the system could not read, as for want of memory, the next one may.
fn unreadable(error: LogError) -> ReadError {
    match error {
        error @ LogError::Io { .. } => {
            tracing::warn!(%error, "a read is put off");
            ReadError::NotReady
        }
        error => ReadError::Damaged(error.to_string()),
    }
}
