//! The seam to the disk: what the log needs of a directory and of a file, and nothing else.
//! `FsDir` is the real one; `MemDir` is deterministic, can lose power and can fail on demand.

use std::fmt;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

pub mod fs;
pub mod mem;
pub mod space;
pub mod usage;

mod io_pool;
mod lock;
mod metered;
mod paced;

pub use fs::FsDir;
pub use lock::DirLock;
#[cfg(test)]
pub(crate) use mem::HeldDisk;
pub use mem::MemDir;
pub use metered::MeteredDir;
pub use space::Space;

/// Why a sync failed; shared, because one sync answers many callers.
pub type SyncError = Arc<io::Error>;

/// Called once when what was written before the call is on the disk, or when that failed.
pub type SyncDone = Box<dyn FnOnce(Result<(), SyncError>) + Send>;

/// Work for the background thread of a data directory.
pub type Job = Box<dyn FnOnce() + Send>;

/// Work in steps: each call does one and says how long the next one is to wait, or that there is none.
pub type Steps = Box<dyn FnMut() -> Option<Duration> + Send>;

/// One directory. Names change at once and survive a power loss only after `sync_dir`.
pub trait Dir: fmt::Debug + Send + Sync {
    /// Makes a file of exactly `len` zero bytes with its blocks reserved. It is an error when the
    /// name is taken. `ErrorKind::StorageFull` when the disk has no room: nothing is left behind.
    fn create(&self, name: &str, len: u64) -> io::Result<Arc<dyn File>>;

    /// Opens a file as it is.
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>>;

    /// The names of the files here, without subdirectories, in order.
    fn list(&self) -> io::Result<Vec<String>>;

    /// The bytes that the files here take on the disk.
    fn disk_bytes(&self) -> io::Result<u64>;

    /// Gives a file another name, replacing what had it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Whether this process has the file open or a slice of it alive, by whatever name.
    fn is_in_use(&self, name: &str) -> io::Result<bool>;

    /// Removes a name. Open files and the slices of them live on.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes all changes of names durable. Must not be tried again after an error.
    fn sync_dir(&self) -> io::Result<()>;

    /// The directory below, made (durably) if it is missing.
    fn subdir(&self, name: &str) -> io::Result<Arc<dyn Dir>>;

    /// The names of the directories here, in order.
    fn list_subdirs(&self) -> io::Result<Vec<String>>;

    /// Removes the directory below with everything in it, durably. Missing is fine.
    fn remove_subdir(&self, name: &str) -> io::Result<()>;

    /// Runs work that may block for long, outside the caller's thread.
    fn offload(&self, job: Job);

    /// Runs work that nobody waits for a step at a time, between all other background work, as slowly
    /// as the steps say and so that the disk is free for others most of the time. Steps that are left
    /// when the directory is no longer used may never run.
    ///
    /// A directory without a background thread runs all of them at once.
    fn offload_steps(&self, mut steps: Steps) {
        while steps().is_some() {}
    }

    /// Runs work that may block and that somebody waits for, beside other such work.
    fn run_beside(&self, job: Job);

    /// Runs work that may take minutes, like reading a whole log, after other such work and beside
    /// everything else.
    fn run_apart(&self, job: Job);

    /// The room on the disk, as of a moment ago.
    fn space(&self) -> &Space;

    /// The same after the disk was asked what is free.
    fn space_now(&self) -> &Space;
}

/// One file of a fixed size.
pub trait File: fmt::Debug + Send + Sync {
    /// The size in bytes; it never changes.
    fn len(&self) -> u64;

    /// Whether the file has no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes all parts one after the other from `position` on; readable through `slice` when it
    /// returns, durable only after a sync. Never writes beyond the end.
    fn write_at(&self, parts: &[IoSlice<'_>], position: u64) -> io::Result<()>;

    /// The bytes of a range, cut at the end of the file. The slice keeps its memory alive; what is
    /// written to the range later may or may not show in it.
    fn slice(&self, range: Range<u64>) -> Bytes;

    /// Syncs what was written before this call, then calls `done` from another thread or inline.
    /// After an error every later sync of the file must be taken to fail.
    fn sync(&self, done: SyncDone);

    /// Syncs what was written before this call and waits for it.
    fn sync_now(&self) -> io::Result<()>;

    /// Gives the room of everything from `position` on back to the disk. It reads as zeroes from now
    /// on, or after a power loss as before, and must not be written to any more; the size stays.
    /// An error, also where the file system cannot, changes nothing.
    fn give_back(&self, position: u64) -> io::Result<()>;

    /// The bytes that the file takes on the disk: what is given back counts no more, and what a
    /// file system did not reserve counts when it is written.
    fn disk_bytes(&self) -> io::Result<u64>;

    /// Reads a range from the disk into memory and waits for it. After an error nothing of it may be
    /// touched.
    fn make_resident(&self, range: Range<u64>) -> io::Result<()>;
}

/// Whether an error says that the disk has no room.
pub(super) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}

/// The error for a write that would make a file grow.
fn beyond_the_end(position: u64, len: u64, size: u64) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("a write of {len} bytes at {position} passes the end of a file of {size} bytes"),
    )
}
