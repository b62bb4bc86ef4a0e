//! The real disk: preallocated files written with `pwritev`, read through one map each, synced by
//! the I/O threads of the data directory.

use std::fs;
use std::io::{self, Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, fallocate, fsync};
use rustix::io::Errno;

use super::io_pool::IoPool;
use super::{Dir, File, Job, Space, Steps, usage};
use crate::log::map;

mod file;
mod write;

use file::{FsFile, cannot_sync, taken};

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
        let file = FsFile::open(handle, len, self.path.join(name), &self.pool)?;
        Ok(Arc::new(file))
    }

    /// Removes files one by one, to know of those that somebody still reads. One that goes by itself
    /// meanwhile is no error.
    fn remove_each(&self, names: Vec<String>) -> io::Result<()> {
        names.iter().try_for_each(|name| match self.remove(name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        })
    }

    /// Makes a file, unless it cannot be used: nothing is left behind then.
    fn create_with(
        &self,
        name: &str,
        len: u64,
        open: impl FnOnce(fs::File) -> io::Result<Arc<dyn File>>,
    ) -> io::Result<Arc<dyn File>> {
        let path = self.path.join(name);
        let handle = fs::File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        let make = || {
            reserve(&handle, len)?;
            open(handle)
        };
        let made = self.space.take(len, make);
        if made.is_err() {
            fs::remove_file(&path)?;
        }
        made
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
        self.create_with(name, len, |handle| self.file(name, handle, len))
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
        below.remove_each(below.list().unwrap_or_default())?;
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
    fn a_file_that_cannot_be_mapped_leaves_nothing_behind() {
        let home = tempfile::tempdir().unwrap();
        let dir = FsDir::open(home.path(), 1).unwrap();
        let no_map = |_| Err(io::ErrorKind::OutOfMemory.into());
        dir.create_with("file", 4096, no_map).unwrap_err();
        assert!(dir.list().unwrap().is_empty());
        assert_eq!(dir.create("file", 4096).unwrap().len(), 4096);
    }

    #[test]
    fn a_file_that_goes_by_itself_is_no_error_for_who_removes_all() {
        let home = tempfile::tempdir().unwrap();
        let dir = FsDir::open(home.path(), 1).unwrap();
        dir.create("there", 1).unwrap();
        dir.remove_each(vec!["gone".to_owned(), "there".to_owned()])
            .unwrap();
        assert!(dir.list().unwrap().is_empty());
    }
}
