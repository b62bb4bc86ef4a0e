//! The only `unsafe` of the broker: a read-only map of a whole file, given out as `Bytes`.
//!
//! What must hold, and why it does:
//! - A mapped file never shrinks (that would be SIGBUS): files have a fixed size from creation to
//!   unlink, and nothing in `log/` calls `set_len`. A stranger who truncates a live file may kill
//!   the process, not the data.
//! - Readers only look at bytes below a published end, and what lies below it is never written
//!   again: a truncation is a new file. Bytes above it may change under the map and are only read
//!   during recovery, before anything writes.
//! - A file gets new content only when no map of it is alive in this process, whoever made it
//!   ([`is_mapped`]), and when no log has a name for it by which it could be mapped again.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use memmap2::{Advice, Mmap, MmapOptions};
use rustix::io::Errno;

/// A file's bytes. Slices of them are reference counts; the map goes with the last.
#[derive(Debug)]
pub(super) struct Mapped {
    pub(super) bytes: Bytes,
    map: Option<Arc<Counted>>,
}

/// A map, counted as long as it is there.
#[derive(Debug)]
struct Counted {
    // Goes before the count does.
    map: Mmap,
    _count: Count,
}

/// One of the maps in [`MAPS`].
#[derive(Debug)]
struct Count(FileId);

/// The device and the inode of a file.
type FileId = (u64, u64);

/// The maps of one file.
#[derive(Debug, Default)]
struct Maps {
    count: usize,
    /// What the file takes on the disk although its name is gone.
    deleted: Option<u64>,
}

// guards: the maps of each file that this process has
static MAPS: Mutex<BTreeMap<FileId, Maps>> = Mutex::new(BTreeMap::new());

fn maps() -> MutexGuard<'static, BTreeMap<FileId, Maps>> {
    MAPS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Count {
    fn of(file: &File) -> io::Result<Self> {
        let found = file.metadata()?;
        let id = (found.dev(), found.ino());
        let mut maps = maps();
        let maps = maps.entry(id).or_default();
        maps.count += 1;
        // The inode of a deleted file whose last map is just going may be that of a new one already.
        maps.deleted = maps.deleted.filter(|_| found.nlink() == 0);
        Ok(Self(id))
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        let mut maps = maps();
        if let Some(left) = maps.get_mut(&self.0) {
            left.count -= 1;
            if left.count == 0 {
                maps.remove(&self.0);
            }
        }
    }
}

fn id(file: &File) -> io::Result<FileId> {
    let found = file.metadata()?;
    Ok((found.dev(), found.ino()))
}

/// Whether a map of this file is alive in this process.
pub(super) fn is_mapped(file: &File) -> io::Result<bool> {
    Ok(maps().contains_key(&id(file)?))
}

/// Notes that the name of this file is gone: its blocks are not before its last map is.
pub(super) fn note_deleted(file: &File) {
    let Ok(found) = file.metadata() else { return };
    if found.nlink() == 0
        && let Some(maps) = maps().get_mut(&(found.dev(), found.ino()))
    {
        maps.deleted = Some(found.blocks() * 512);
    }
}

/// What deleted files take on the disk because this process still has maps of them, in bytes.
pub fn deleted_bytes() -> u64 {
    maps().values().filter_map(|maps| maps.deleted).sum()
}

struct Shared(Arc<Counted>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0.map
    }
}

impl Mapped {
    /// Reads a range from the disk into memory and waits for it. What the disk cannot give is an
    /// error here, and the end of the process for whoever touches it.
    pub(super) fn make_resident(&self, range: Range<u64>) -> io::Result<()> {
        let Some(Counted { map, .. }) = self.map.as_deref() else {
            return Ok(());
        };
        let at = |byte: u64| usize::try_from(byte).unwrap_or(usize::MAX).min(map.len());
        let (start, end) = (at(range.start), at(range.end));
        match end.checked_sub(start) {
            None | Some(0) => Ok(()),
            Some(len) => map
                .advise_range(Advice::PopulateRead, start, len)
                .map_err(told_apart),
        }
    }
}

/// The system says "bad address" or "bad memory" where whoever touches the map would get SIGBUS.
fn told_apart(error: io::Error) -> io::Error {
    let code = error.raw_os_error();
    let is = |errno: Errno| code == Some(errno.raw_os_error());
    match is(Errno::FAULT) || is(Errno::HWPOISON) {
        true => Errno::IO.into(),
        false => error,
    }
}

/// The first `len` bytes of a file.
#[expect(
    unsafe_code,
    reason = "memory maps are unsafe; the module states why this one holds"
)]
pub(super) fn map(file: &File, len: u64) -> io::Result<Mapped> {
    if len == 0 {
        return Ok(Mapped {
            bytes: Bytes::new(),
            map: None,
        });
    }
    let len = usize::try_from(len).map_err(io::Error::other)?;
    let count = Count::of(file)?;
    // SAFETY: the file keeps its size while it is mapped, and published bytes never change.
    let map: Mmap = unsafe { MmapOptions::new().len(len).map(file)? };
    let map = Arc::new(Counted { map, _count: count });
    Ok(Mapped {
        bytes: Bytes::from_owner(Shared(Arc::clone(&map))),
        map: Some(map),
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn what_a_deleted_file_takes_counts_while_it_is_mapped_and_never_for_its_successor() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&[1; 5000]).unwrap();
        let (file, path) = file.into_parts();
        let (id, deleted) = (id(&file).unwrap(), || deleted_of(&file));
        let mapped = map(&file, 5000).unwrap();
        let slice = mapped.bytes.slice(..1);
        drop(mapped);
        note_deleted(&file);
        assert_eq!(deleted(), None, "it has its name still");
        maps().get_mut(&id).unwrap().deleted = Some(1);
        drop(map(&file, 5000).unwrap());
        assert_eq!(deleted(), None, "a mark of another file with this inode");
        drop(path);
        note_deleted(&file);
        assert!(deleted().unwrap() >= 5000 && deleted_bytes() >= 5000);
        drop(map(&file, 5000).unwrap());
        assert!(deleted().is_some(), "its name is gone");
        drop(slice);
        assert_eq!(deleted(), None);
        assert!(!is_mapped(&file).unwrap());
    }

    fn deleted_of(file: &File) -> Option<u64> {
        maps().get(&id(file).unwrap())?.deleted
    }
}
