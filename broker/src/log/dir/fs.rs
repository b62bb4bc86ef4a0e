//! The real disk: preallocated files written with `pwritev`, read through one map each, synced by
//! the I/O threads of the data directory.

use std::fs;
use std::io::{self, IoSlice, Read as _, Seek as _};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use rustix::fs::{FallocateFlags, fallocate, fdatasync, fsync};
use rustix::io::Errno;

use super::io_pool::IoPool;
use super::{Dir, File, Job, Space, Steps, SyncDone, beyond_the_end, usage};
use crate::log::map::{self, Mapped};

mod write;

use write::write_all;

/// A directory of the file system. Its subdirectories share its I/O threads.
#[derive(Debug, Clone)]
pub struct FsDir {
    path: PathBuf,
    pool: Arc<IoPool>,
    space: Arc<Space>,
}

impl FsDir {
    /// Opens the directory, making it (and its parents) when it is missing, and starts
    /// `io_threads` threads that sync plus one for background work.
    pub fn open(path: impl Into<PathBuf>, io_threads: usize) -> io::Result<Self> {
        let path = path.into();
        make_durably(&path)?;
        Ok(Self {
            space: Space::watch(path.clone())?,
            path,
            pool: Arc::new(IoPool::start(io_threads)?),
        })
    }

    /// Where the directory is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn below(&self, name: &str) -> Self {
        Self {
            path: self.path.join(name),
            ..self.clone()
        }
    }

    fn file(&self, name: &str, handle: fs::File, len: u64) -> io::Result<Arc<dyn File>> {
        let mapped = map::map(&handle, len)?;
        let synced = SyncedFile {
            handle,
            failed: Mutex::new(None),
            path: self.path.join(name),
        };
        Ok(Arc::new(FsFile {
            len,
            mapped,
            file: Arc::new(synced),
            pool: Arc::clone(&self.pool),
        }))
    }

    fn names(&self, of_directories: bool) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() == of_directories
                && let Ok(name) = entry.file_name().into_string()
            {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }
}

/// Makes a directory and its parents. Each name is durable before anything is put below it.
fn make_durably(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| *parent != Path::new(""));
    let parent = parent.unwrap_or(Path::new("."));
    make_durably(parent)?;
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists || !path.is_dir() => {
            return Err(error);
        }
        _ => {}
    }
    Ok(fsync(fs::File::open(parent)?)?)
}

impl Dir for FsDir {
    fn create(&self, name: &str, len: u64) -> io::Result<Arc<dyn File>> {
        let path = self.path.join(name);
        let handle = fs::File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        if let Err(error) = reserve(&handle, len) {
            fs::remove_file(&path)?;
            return Err(error);
        }
        self.space.took(len);
        self.file(name, handle, len)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let handle = fs::File::options()
            .read(true)
            .write(true)
            .open(self.path.join(name))?;
        let len = handle.metadata()?.len();
        self.file(name, handle, len)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.names(false)
    }

    fn disk_bytes(&self) -> io::Result<u64> {
        let mut bytes = 0;
        for entry in fs::read_dir(&self.path)? {
            match entry?.metadata() {
                Ok(found) if found.is_file() => {
                    bytes += taken(&found);
                }
                Ok(_) => {}
                // Removed since it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(bytes)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn is_in_use(&self, name: &str) -> io::Result<bool> {
        map::is_mapped(&fs::File::open(self.path.join(name))?)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let path = self.path.join(name);
        let file = fs::File::open(&path);
        fs::remove_file(path)?;
        if let Ok(file) = file {
            map::note_deleted(&file);
        }
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        fsync(fs::File::open(&self.path)?).map_err(|errno| cannot_sync(&self.path, errno))
    }

    fn subdir(&self, name: &str) -> io::Result<Arc<dyn Dir>> {
        let below = self.below(name);
        match fs::create_dir(&below.path) {
            Ok(()) => self.sync_dir()?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        Ok(Arc::new(below))
    }

    fn list_subdirs(&self) -> io::Result<Vec<String>> {
        self.names(true)
    }

    fn remove_subdir(&self, name: &str) -> io::Result<()> {
        let below = self.below(name);
        // One by one, to know of those that somebody still reads.
        for file in below.list().unwrap_or_default() {
            below.remove(&file)?;
        }
        match fs::remove_dir_all(&below.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => self.sync_dir(),
        }
    }

    fn offload(&self, job: Job) {
        self.pool.offload(job);
    }

    fn offload_steps(&self, steps: Steps) {
        self.pool.offload_steps(steps);
    }

    fn run_beside(&self, job: Job) {
        self.pool.run_beside(job);
    }

    fn run_apart(&self, job: Job) {
        self.pool.run_apart(job);
    }

    fn space(&self) -> &Space {
        &self.space
    }

    fn space_now(&self) -> &Space {
        self.space.sample(|| Ok(usage::disk(&self.path)?.0));
        &self.space
    }
}

/// The bytes of the blocks of a file.
fn taken(found: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(found) * 512
}

/// Reserves the blocks of a new file; a file system without `fallocate` gets a sparse file.
fn reserve(handle: &fs::File, len: u64) -> io::Result<()> {
    if len == 0 {
        return Ok(());
    }
    match fallocate(handle, FallocateFlags::empty(), 0, len) {
        Err(Errno::OPNOTSUPP) => handle.set_len(len),
        result => Ok(result?),
    }
}

#[derive(Debug)]
struct FsFile {
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
fn cannot_sync(path: &Path, errno: Errno) -> io::Error {
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

/// Reads a file that may be anywhere and of any kind, up to `limit` bytes, for offline inspection.
pub fn read_any(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut file = fs::File::open(path)?;
    let len = file.seek(io::SeekFrom::End(0))?;
    if len > limit {
        let text = format!("the file has {len} bytes, more than the {limit} any of ours can have");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    file.rewind()?;
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
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
