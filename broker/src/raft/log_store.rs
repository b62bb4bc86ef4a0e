//! openraft's log storage over the partition log: the Raft log is the partition's log.
//!
//! Entries are readable when `append` returns and durable when its callback is called; callbacks
//! are called in the order of the appends. The vote is durable when `save_vote` returns.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use futures_util::{Stream, StreamExt, stream};
use highwater_proto::{LogIndex, ReplicaId};
use openraft::storage::{IOFlushed, RaftLogReader, RaftLogStorage};
use openraft::{LogState, OptionalSend};
use tokio::sync::watch;

use super::floor::Floor;
use super::noted;
use super::resident::{Patience, make_resident};
use super::types::{Entry, LogId, Types, Vote, log_id};
use super::wire;
use crate::clock::Clock;
use crate::log::{HardState, Log, LogError, LogReader, SyncError};

/// The most bytes of entries that one replication request or one step of applying takes.
const READ_BYTES: usize = 1 << 20;

/// The log of one replica. It is the log's only writer.
pub(crate) struct LogStore {
    log: Log,
    entries: Entries,
    hard_state: Arc<HardState>,
    replica: ReplicaId,
    purged: Option<LogId>,
    floor: Floor,
    clock: Arc<dyn Clock>,
    /// Set once a sync of this replica has failed, with how: it is never tried again.
    sync_failed: Arc<OnceLock<String>>,
    /// Set once the leader's history was found to be another one.
    diverged: Arc<OnceLock<String>>,
    /// The newest file that is noted, or about to be, as durable.
    noted_file: u32,
    /// Tells of every file that is begun.
    rolls: watch::Sender<u32>,
}

/// A reader of one replica's entries; any number may read beside the writer.
#[derive(Clone)]
pub(crate) struct Entries {
    reader: LogReader,
    // guards: the last vote saved; held for a copy only.
    vote: Arc<Mutex<Option<Vote>>>,
}

impl LogStore {
    /// Takes over an opened log and finds the replica's vote.
    pub(crate) fn new(
        log: Log,
        hard_state: Arc<HardState>,
        replica: ReplicaId,
        clock: Arc<dyn Clock>,
        floor: Floor,
    ) -> Result<Self, wire::WireError> {
        let vote = noted::vote(&hard_state, replica)?;
        let purged = noted::purged(&hard_state, replica)?;
        let entries = Entries {
            reader: log.reader(),
            vote: Arc::new(Mutex::new(vote)),
        };
        let noted_file = noted::durable_file(&hard_state, replica);
        Ok(Self {
            log,
            entries,
            hard_state,
            replica,
            purged,
            floor,
            clock,
            sync_failed: Arc::default(),
            diverged: Arc::default(),
            noted_file,
            rolls: watch::Sender::new(noted_file),
        })
    }

    /// The number of the newest file of the log, and every change of it.
    pub(crate) fn rolls(&self) -> watch::Receiver<u32> {
        self.rolls.subscribe()
    }

    /// How a sync of this replica has failed, once one has.
    pub(crate) fn sync_failed(&self) -> Arc<OnceLock<String>> {
        Arc::clone(&self.sync_failed)
    }

    /// How the leader's history differs, once it was found to be another one.
    pub(crate) fn diverged(&self) -> Arc<OnceLock<String>> {
        Arc::clone(&self.diverged)
    }

    /// The replica's vote.
    pub(crate) fn vote(&self) -> Option<Vote> {
        self.entries.vote()
    }

    /// The last entry, or the last one purged when there is none above it.
    pub(crate) fn last_log_id(&self) -> Option<LogId> {
        let last = self.log.last().map(|last| log_id(last.term, last.index));
        last.max(self.purged)
    }

    /// Has the newest file noted once it is durable. Nobody waits for the note: what it guards
    /// against is the loss of whole files, not a crash.
    fn note_newest_file(&mut self) -> Result<(), LogError> {
        let newest = self.log.newest_file();
        if newest <= self.noted_file {
            return Ok(());
        }
        self.noted_file = newest;
        self.rolls.send_replace(newest);
        let (hard_state, replica) = (Arc::clone(&self.hard_state), self.replica);
        let note = move |durable: Result<(), SyncError>| {
            if durable.is_ok() {
                noted::note_durable_file(&hard_state, replica, newest);
            }
        };
        self.log.append([], Box::new(note))
    }

    /// What became of a note, as an error that ends the core when it is not durable.
    fn noted(&self, noted: Result<(), SyncError>) -> io::Result<()> {
        noted.map_err(|error| sync_failed(&self.sync_failed, error))
    }
}

fn sync_failed(flag: &OnceLock<String>, error: SyncError) -> io::Error {
    let _ = flag.set(error.to_string());
    io::Error::other(error)
}

impl Entries {
    fn vote(&self) -> Option<Vote> {
        *self.vote.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The entries from `start` up to but without `end`, as far as they exist and `max_bytes` goes.
    async fn read(&self, start: u64, end: u64, max_bytes: usize) -> io::Result<Vec<Entry>> {
        let (start, end) = (LogIndex(start), LogIndex(end));
        let read = |reader: &LogReader| reader.frames(start, end, max_bytes);
        let frames = match self.read_cold(start, max_bytes, read).await {
            // Purged since the range was looked at: no error, as in `bounds`.
            Err(LogError::Purged { .. }) => return Ok(Vec::new()),
            frames => frames.map_err(io::Error::other)?,
        };
        frames
            .into_iter()
            .map(|frame| Entry::from_frame(frame).map_err(io::Error::other))
            .collect()
    }

    /// Has an entry in memory that the log is about to look at. If it is not there, or damaged, the log
    /// will say so.
    async fn warm(&self, index: LogIndex) -> io::Result<()> {
        let look = |reader: &LogReader| reader.head(index).map(drop);
        match self.read_cold(index, 1, look).await {
            Err(error @ LogError::Io { .. }) => Err(io::Error::other(error)),
            _ => Ok(()),
        }
    }

    /// Reads from `start` on without holding up this thread for what is not in memory, and tries again
    /// when the system cannot: an error would end the replica.
    async fn read_cold<T>(
        &self,
        start: LogIndex,
        max_bytes: usize,
        read: impl Fn(&LogReader) -> Result<T, LogError>,
    ) -> Result<T, LogError> {
        let mut patience = Patience::default();
        loop {
            let cold = self.reader.cold_frames(start, max_bytes);
            let warm = make_resident(cold).await;
            match warm.and_then(|()| read(&self.reader)) {
                Err(error) => patience.wait(error).await?,
                done => return done,
            }
        }
    }

    /// The half-open range of existing indexes that `range` names. What is purged is left out: an
    /// error would end the leader's group, while a gap makes it send a snapshot.
    fn bounds(&self, range: &impl RangeBounds<u64>) -> (u64, u64) {
        let start = match range.start_bound() {
            Bound::Included(i) => *i,
            Bound::Excluded(i) => i.saturating_add(1),
            Bound::Unbounded => self.reader.first_index().0,
        };
        let end = match range.end_bound() {
            Bound::Included(i) => i.saturating_add(1),
            Bound::Excluded(i) => *i,
            Bound::Unbounded => u64::MAX,
        };
        let exists = self
            .reader
            .last()
            .map_or(0, |last| last.index.0.saturating_add(1));
        (start.max(self.reader.first_index().0), end.min(exists))
    }
}

impl RaftLogReader<Types> for Entries {
    async fn try_get_log_entries<R>(&mut self, range: R) -> Result<Vec<Entry>, io::Error>
    where
        R: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (mut start, end) = self.bounds(&range);
        let mut all = Vec::new();
        while start < end {
            let entries = self.read(start, end, READ_BYTES).await?;
            let Some(last) = entries.last() else { break };
            start = last.log_id.index.saturating_add(1);
            all.extend(entries);
        }
        Ok(all)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        if start < self.reader.first_index().0 {
            return Ok(Vec::new());
        }
        self.read(start, end, READ_BYTES).await
    }

    async fn entries_stream<R>(
        &mut self,
        range: R,
    ) -> impl Stream<Item = Result<Entry, io::Error>> + OptionalSend
    where
        R: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (start, end) = self.bounds(&range);
        let entries = self.clone();
        let chunks = stream::unfold(Some(start), move |start| {
            let entries = entries.clone();
            async move {
                let start = start.filter(|start| *start < end)?;
                match entries.read(start, end, READ_BYTES).await {
                    Ok(chunk) => {
                        let next = chunk.last()?.log_id.index.saturating_add(1);
                        Some((chunk.into_iter().map(Ok).collect(), Some(next)))
                    }
                    Err(error) => Some((vec![Err(error)], None)),
                }
            }
        });
        Box::pin(chunks.flat_map(stream::iter))
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.vote())
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Entries;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        Ok(LogState {
            last_purged_log_id: self.purged,
            last_log_id: self.last_log_id(),
        })
    }

    async fn get_log_reader(&mut self) -> Entries {
        self.entries.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.noted(noted::note_vote(&self.hard_state, self.replica, vote).await?)?;
        *self
            .entries
            .vote
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(*vote);
        Ok(())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let now = self.clock.now();
        let mut frames = entries.into_iter().map(|entry| entry.into_new_frame(now));
        let flag = Arc::clone(&self.sync_failed);
        let done = Box::new(move |result: Result<(), SyncError>| {
            callback.io_completed(result.map_err(|error| sync_failed(&flag, error)));
        });
        let appended = self.log.append(&mut frames, done);
        if let Err(error @ LogError::Diverged { .. }) = &appended {
            let _ = self.diverged.set(error.to_string());
        }
        appended
            .and_then(|()| self.note_newest_file())
            .map_err(io::Error::other)
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        // openraft may ask to keep more than there is: there is nothing to cut then.
        if last >= self.last_log_id() {
            return Ok(());
        }
        if let Some(last) = last {
            // Cutting looks at the last one that stays.
            self.entries.warm(LogIndex(last.index)).await?;
        }
        self.log
            .truncate_after(last.map(|id| LogIndex(id.index)))
            .map_err(io::Error::other)
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        self.noted(noted::note_purged(&self.hard_state, self.replica, &upto).await?)?;
        self.purged = Some(upto);
        let reaches = self.log.last().is_some_and(|l| l.index.0 >= upto.index);
        let purged = match self.floor.log_end(&upto) {
            // A state was installed that the log does not reach: it goes on behind that.
            Some(end) if !reaches => self.log.reset(end),
            _ => {
                // Purging looks at the entry behind.
                self.entries.warm(LogIndex(upto.index).next()).await?;
                self.log.purge(LogIndex(upto.index))
            }
        };
        purged.map_err(io::Error::other)
    }
}
