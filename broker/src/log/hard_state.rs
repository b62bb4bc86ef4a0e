//! The hard state of all replicas of a broker: small values (votes, floors, checkpoints) that must
//! be on the disk before the next step, in one write-ahead log per data directory.
//!
//! A file begins with a snapshot of all values, synced before anything follows it; changes are
//! appended and synced in groups. When the file is full (and at every start) the values move to the
//! other file, so two files are enough for ever and a full disk never stops a vote.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use highwater_proto::ReplicaId;

use super::dir::{Dir, File, SyncDone, SyncError};
use super::flusher::{Flusher, Written};
use super::frame::Position;

mod record;
#[cfg(test)]
mod tests;
pub(super) mod wal;

use record::{Change, Record};

/// The size of a file, unless its snapshot needs more.
const FILE_LEN: u64 = if cfg!(test) { 1024 } else { 256 << 10 };

/// One value of one replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HardKey {
    /// The replica.
    pub replica: ReplicaId,
    /// Which of its values.
    pub slot: u8,
}

/// Why the hard state could not be opened. Without it no replica may vote.
#[derive(Debug, thiserror::Error)]
pub enum HardStateError {
    /// The disk refused an operation.
    #[error("cannot {action} {file}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// A value that was durable is lost: votes may have been forgotten.
    #[error(
        "{file} is damaged at byte {position}: {reason}; votes may be lost, so this broker must \
         not vote again; the only broker of a cluster is restored from a copy of its whole data \
         directory; one of several stays stopped, never restored from an older copy: its \
         partitions go on with their other replicas"
    )]
    Damaged {
        /// The file.
        file: String,
        /// Where.
        position: u32,
        /// What is wrong there.
        reason: &'static str,
    },
    /// Written by a later version.
    #[error("{file} has version {version}; this broker reads version 1")]
    Version {
        /// The file.
        file: String,
        /// Its version.
        version: u32,
    },
}

/// The values of all replicas. Every call may come from any thread.
pub struct HardState {
    dir: Arc<dyn Dir>,
    flusher: Flusher,
    // guards: the values and the end of the file; the flusher's lock is taken inside, never around
    state: Mutex<State>,
}

struct State {
    values: BTreeMap<HardKey, Bytes>,
    number: u32,
    file: Arc<dyn File>,
    end: u32,
    sequence: u64,
}

impl HardState {
    /// Whether `dir` holds values, or held some: a file that is kept for later holds none.
    pub fn is_begun(dir: &dyn Dir) -> io::Result<bool> {
        Ok(!wal::numbers(dir)?.is_empty())
    }

    /// Opens the values stored in `dir`. What it returns is durable, in a fresh file.
    pub fn open(dir: Arc<dyn Dir>) -> Result<Self, HardStateError> {
        let found = wal::recover(&*dir)?;
        let number = found.number.saturating_add(1);
        let begun = wal::begin(&*dir, number, &found.values);
        let (file, end) = begun.map_err(|source| HardStateError::Io {
            action: "begin",
            file: wal::name(number),
            source,
        })?;
        let retired = wal::retire(&*dir, &found.files, file.len());
        retired.map_err(|source| HardStateError::Io {
            action: "put aside",
            file: wal::name(found.number),
            source,
        })?;
        let flusher = Flusher::new(
            Arc::clone(&dir),
            Position {
                file: number,
                byte: end,
            },
        );
        let sequence = found.values.len() as u64;
        let state = State {
            values: found.values,
            number,
            file,
            end,
            sequence,
        };
        Ok(Self {
            dir,
            flusher,
            state: Mutex::new(state),
        })
    }

    /// The value last put, whether it is durable yet or not.
    pub fn get(&self, key: HardKey) -> Option<Bytes> {
        self.lock().values.get(&key).cloned()
    }

    /// Every key that has a value, in order.
    pub fn keys(&self) -> Vec<HardKey> {
        self.lock().values.keys().copied().collect()
    }

    /// Stores a value; `done` is called when it is on the disk, in the order of the changes. After
    /// a failed sync every change fails.
    pub fn put(&self, key: HardKey, value: Bytes, done: SyncDone) {
        self.change(Change::Put(key, value), done);
    }

    /// Removes every value of a replica; `done` as for `put`.
    pub fn remove_replica(&self, replica: ReplicaId, done: SyncDone) {
        self.change(Change::RemoveReplica(replica), done);
    }

    /// Calls `told` with the error once a write or a sync has failed: from then on every change fails,
    /// also those that nobody waits for.
    pub fn when_failed(&self, told: SyncDone) {
        self.flusher.when_failed(told);
    }

    fn change(&self, change: Change, done: SyncDone) {
        let written = self.lock().write(&*self.dir, &self.flusher, change);
        match written {
            Ok(()) => self.flusher.submit(done),
            Err(error) => done(Err(error)),
        }
    }

    // A panic under the lock is impossible: no code there indexes or unwraps.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for HardState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HardState")
            .field("file", &self.lock().number)
            .finish_non_exhaustive()
    }
}

impl State {
    fn write(&mut self, dir: &dyn Dir, flusher: &Flusher, change: Change) -> Result<(), SyncError> {
        if let Some(error) = flusher.failed() {
            return Err(error);
        }
        let record = self.record(flusher, &change);
        if u64::from(self.end) + record.len() as u64 > self.file.len() {
            let mut values = self.values.clone();
            change.apply(&mut values);
            return self.roll(dir, flusher, values).map_err(|error| {
                let (full, error) = (error.kind() == io::ErrorKind::StorageFull, Arc::new(error));
                if !full {
                    flusher.poison(Arc::clone(&error));
                }
                error
            });
        }
        if let Err(error) = self
            .file
            .write_at(&[IoSlice::new(&record)], u64::from(self.end))
        {
            let error = Arc::new(error);
            flusher.poison(Arc::clone(&error));
            return Err(error);
        }
        change.apply(&mut self.values);
        self.sequence += 1;
        self.end += record.len() as u32;
        self.note(flusher, record.len() as u64);
        Ok(())
    }

    fn record(&self, flusher: &Flusher, change: &Change) -> Vec<u8> {
        let durable = flusher.durable();
        let durable = if durable.file == self.number {
            durable.byte
        } else {
            0
        };
        Record {
            number: self.number,
            sequence: self.sequence,
            durable,
            change,
        }
        .encode()
    }

    fn note(&self, flusher: &Flusher, bytes: u64) {
        let (number, end) = (self.number, self.end);
        flusher.note(&Written {
            number,
            file: &self.file,
            named: true,
            end,
            bytes,
        });
    }

    /// Goes on in the other file, whose snapshot holds `values`. It is synced here: then nothing in
    /// the old file is needed any more.
    fn roll(
        &mut self,
        dir: &dyn Dir,
        flusher: &Flusher,
        values: BTreeMap<HardKey, Bytes>,
    ) -> io::Result<()> {
        let old = self.number;
        let number = old.saturating_add(1);
        let (file, end) = wal::begin(dir, number, &values)?;
        (self.number, self.file, self.end) = (number, file, end);
        self.sequence = values.len() as u64;
        self.values = values;
        self.note(flusher, 0);
        // The new file is whole: what becomes of the old one does not matter.
        let _ = wal::retire(dir, &[old], self.file.len());
        Ok(())
    }
}
