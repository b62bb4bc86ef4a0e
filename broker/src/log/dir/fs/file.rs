//! A file of the real disk: written with `pwritev`, read through one map, synced by the I/O threads.

use std::fs;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use rustix::fs::{FallocateFlags, fallocate, fdatasync};
use rustix::io::Errno;

use super::super::io_pool::IoPool;
use super::super::{File, SyncDone, beyond_the_end};
use super::write::write_all;
use crate::log::map::{self, Mapped};

/// A file and its map.
#[derive(Debug)]
pub(super) struct FsFile {
    len: u64,
    mapped: Mapped,
    file: Arc<SyncedFile>,
    pool: Arc<IoPool>,
}

#[derive(Debug)]
struct SyncedFile {
    handle: fs::File,
    // guards: the right to sync this file, and the error that ended it. The kernel reports a lost
    // write once, to one sync: two at a time, or one after a failure, could be told "done".
    failed: Mutex<Option<String>>,
    path: PathBuf,
}

impl FsFile {
    /// A file of `len` bytes at `path`.
    pub(super) fn open(
        handle: fs::File,
        len: u64,
        path: PathBuf,
        pool: &Arc<IoPool>,
    ) -> io::Result<Self> {
        let mapped = map::map(&handle, len)?;
        let synced = SyncedFile {
            handle,
            failed: Mutex::new(None),
            path,
        };
        Ok(Self {
            len,
            mapped,
            file: Arc::new(synced),
            pool: Arc::clone(pool),
        })
    }
}

impl SyncedFile {
    fn sync(&self) -> io::Result<()> {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(text) = &*failed {
            return Err(io::Error::other(text.clone()));
        }
        fdatasync(&self.handle).map_err(|errno| {
            let error = cannot_sync(&self.path, errno);
            *failed = Some(error.to_string());
            error
        })
    }
}

/// A failed sync is of a kind of its own, whatever the system says: also where a file system says
/// that it is full, nobody may try again.
pub(super) fn cannot_sync(path: &Path, errno: Errno) -> io::Error {
    let error = io::Error::from(errno);
    io::Error::other(format!("cannot sync {}: {error}", path.display()))
}

impl File for FsFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn write_at(&self, parts: &[IoSlice<'_>], position: u64) -> io::Result<()> {
        let total: u64 = parts.iter().map(|part| part.len() as u64).sum();
        if position.checked_add(total).is_none_or(|end| end > self.len) {
            return Err(beyond_the_end(position, total, self.len));
        }
        write_all(&self.file.handle, parts, position)
    }

    fn slice(&self, range: Range<u64>) -> Bytes {
        let clip = |at: u64| {
            usize::try_from(at)
                .unwrap_or(usize::MAX)
                .min(self.mapped.bytes.len())
        };
        let end = clip(range.end);
        self.mapped.bytes.slice(clip(range.start).min(end)..end)
    }

    fn sync(&self, done: SyncDone) {
        let file = Arc::clone(&self.file);
        self.pool
            .sync(Box::new(move || done(file.sync().map_err(Arc::new))));
    }

    fn sync_now(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn give_back(&self, position: u64) -> io::Result<()> {
        let len = self.len.saturating_sub(position);
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match len {
            0 => Ok(()),
            _ => Ok(fallocate(&self.file.handle, hole, position, len)?),
        }
    }

    fn disk_bytes(&self) -> io::Result<u64> {
        Ok(taken(&self.file.handle.metadata()?))
    }

    fn make_resident(&self, range: Range<u64>) -> io::Result<()> {
        let range = range.start.min(self.len)..range.end.min(self.len);
        match self.mapped.make_resident(range.clone()) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                read_through(&self.file.handle, range)
            }
            made => made,
        }
    }
}

/// Has a range read into the page cache where the system cannot do so for a map (Linux before 5.14).
fn read_through(handle: &fs::File, range: Range<u64>) -> io::Result<()> {
    let mut chunk = vec![0; 64 << 10];
    let mut at = range.start;
    while at < range.end {
        let len = usize::try_from(range.end - at).map_or(chunk.len(), |len| len.min(chunk.len()));
        match handle.read_at(&mut chunk[..len], at) {
            // The map goes further than the file.
            Ok(0) => return Err(Errno::IO.into()),
            Ok(read) => at += read as u64,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The bytes of the blocks of a file.
pub(super) fn taken(found: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(found) * 512
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_map_cannot_be_read_ahead_the_file_is_read_through() {
        let home = tempfile::tempdir().unwrap();
        let file = fs::File::create_new(home.path().join("file")).unwrap();
        file.set_len(100_000).unwrap();
        let file = fs::File::open(home.path().join("file")).unwrap();
        read_through(&file, 0..100_000).unwrap();
        read_through(&file, 70_000..70_000).unwrap();
        let beyond = read_through(&file, 99_000..100_001).unwrap_err();
        assert_eq!(beyond.raw_os_error(), Some(5));
    }
}
