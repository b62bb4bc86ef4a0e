//! A file in memory: its bytes as readers see them, and its bytes as the medium has them.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::super::{File, SyncDone, beyond_the_end};
use super::{Disk, SplitMix};

/// What a disk writes as one.
const SECTOR: usize = 512;

/// The bytes of one file, apart from its names. Bytes nobody wrote are zero and take no memory.
pub(super) struct Inode {
    pub(super) len: u64,
    /// Bytes at the end whose room was given back.
    given_back: AtomicU64,
    // guards: the content; never held together with the lock of the disk
    content: Mutex<Content>,
    /// How many handles of it there are. Slices are copies here.
    handles: AtomicUsize,
    /// Whether the next write fails.
    pub(super) fail_write: AtomicBool,
    // guards: what the medium cannot give any more
    unreadable: Mutex<Vec<Range<u64>>>,
}

#[derive(Default)]
struct Content {
    current: Vec<u8>,
    medium: Vec<u8>,
    /// Sectors written since their last sync began, each with the number of its last write.
    dirty: BTreeMap<usize, u64>,
    /// The number of the last write of each sector that the medium has.
    kept: BTreeMap<usize, u64>,
    writes: u64,
    /// Syncs keep nothing.
    volatile: bool,
}

/// What a sync that began is going to make durable.
pub(super) struct Flight {
    sectors: Vec<(usize, u64, Vec<u8>)>,
}

impl Inode {
    pub(super) fn new(len: u64, volatile: bool) -> Self {
        let content = Content {
            volatile,
            ..Content::default()
        };
        Self {
            len,
            given_back: AtomicU64::new(0),
            content: Mutex::new(content),
            handles: AtomicUsize::new(0),
            fail_write: AtomicBool::new(false),
            unreadable: Mutex::new(Vec::new()),
        }
    }

    pub(super) fn make_unreadable(&self, range: Range<u64>) {
        self.lost().push(range);
    }

    fn lost(&self) -> MutexGuard<'_, Vec<Range<u64>>> {
        self.unreadable
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_open(&self) -> bool {
        self.handles.load(Ordering::Acquire) > 0
    }

    /// The bytes it takes on the disk.
    pub(super) fn disk_bytes(&self) -> u64 {
        self.len - self.given_back.load(Ordering::Relaxed)
    }

    fn give_back(&self, position: u64) {
        let position = position.min(self.len);
        let bytes = self.len - position;
        self.given_back.fetch_max(bytes, Ordering::Relaxed);
        let position = usize::try_from(position).unwrap_or(usize::MAX);
        self.lock().current.truncate(position);
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn power_cut(&self, random: &mut SplitMix) {
        let mut guard = self.lock();
        let content = &mut *guard;
        for (sector, _) in std::mem::take(&mut content.dirty) {
            if random.coin() {
                let bytes = sector_of(&content.current, sector).to_vec();
                put(&mut content.medium, sector * SECTOR, &bytes);
            }
        }
        content.current = content.medium.clone();
    }

    pub(super) fn damage(&self, change: impl FnOnce(&mut Vec<u8>)) {
        let mut content = self.lock();
        let mut bytes = content.current.clone();
        bytes.resize(usize::try_from(self.len).unwrap_or(usize::MAX), 0);
        change(&mut bytes);
        content.medium.clone_from(&bytes);
        content.current = bytes;
        content.dirty.clear();
    }

    fn write(&self, parts: &[IoSlice<'_>], position: usize) {
        let mut content = self.lock();
        let mut at = position;
        // Zeroes where nothing was written are there already: a file filled ahead takes no memory.
        let zero = |part: &IoSlice<'_>| part.iter().all(|byte| *byte == 0);
        if position >= content.current.len() && parts.iter().all(zero) {
            return;
        }
        for part in parts {
            put(&mut content.current, at, part);
            at += part.len();
        }
        if content.volatile {
            return;
        }
        content.writes += 1;
        let number = content.writes;
        if at > position {
            for sector in position / SECTOR..=(at - 1) / SECTOR {
                content.dirty.insert(sector, number);
            }
        }
    }

    fn begin_sync(&self) -> Flight {
        let content = self.lock();
        let copy = |(&sector, &number): (&usize, &u64)| {
            (sector, number, sector_of(&content.current, sector).to_vec())
        };
        Flight {
            sectors: content.dirty.iter().map(copy).collect(),
        }
    }

    fn end_sync(&self, flight: Flight, kept: bool) {
        let mut content = self.lock();
        for (sector, number, bytes) in flight.sectors {
            // A sync that ends late must not bring back what a later one has replaced.
            let newer = content
                .kept
                .get(&sector)
                .is_none_or(|known| number > *known);
            if kept && newer {
                content.kept.insert(sector, number);
                put(&mut content.medium, sector * SECTOR, &bytes);
            }
            // After a failed sync the sector is clean to the system and old on the medium.
            if content.dirty.get(&sector) == Some(&number) {
                content.dirty.remove(&sector);
            }
        }
    }
}

fn sector_of(bytes: &[u8], sector: usize) -> &[u8] {
    let start = (sector * SECTOR).min(bytes.len());
    &bytes[start..(start + SECTOR).min(bytes.len())]
}

fn put(bytes: &mut Vec<u8>, at: usize, part: &[u8]) {
    let end = at + part.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[at..end].copy_from_slice(part);
}

/// A handle of a file. It is of no use after a power cut.
pub(super) struct MemFile {
    disk: Arc<Disk>,
    inode: Arc<Inode>,
    power: u64,
}

impl MemFile {
    pub(super) fn new(disk: Arc<Disk>, inode: Arc<Inode>, power: u64) -> Self {
        inode.handles.fetch_add(1, Ordering::Relaxed);
        Self { disk, inode, power }
    }
}

impl Drop for MemFile {
    fn drop(&mut self) {
        self.inode.handles.fetch_sub(1, Ordering::Release);
    }
}

impl fmt::Debug for MemFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemFile")
            .field("len", &self.inode.len)
            .finish_non_exhaustive()
    }
}

impl File for MemFile {
    fn len(&self) -> u64 {
        self.inode.len
    }

    fn write_at(&self, parts: &[IoSlice<'_>], position: u64) -> io::Result<()> {
        let total: u64 = parts.iter().map(|part| part.len() as u64).sum();
        if position
            .checked_add(total)
            .is_none_or(|end| end > self.inode.len)
        {
            return Err(beyond_the_end(position, total, self.inode.len));
        }
        let at = usize::try_from(position).map_err(io::Error::other)?;
        let operated = match self.inode.fail_write.swap(false, Ordering::Relaxed) {
            true => Err(io::Error::other("the write was made to fail")),
            false => self.disk.operate_since(self.power),
        };
        if let Err(error) = operated {
            if self.disk.lock().power == self.power {
                self.inode.write(&parts[..parts.len() / 2], at);
            }
            return Err(error);
        }
        self.inode.write(parts, at);
        Ok(())
    }

    fn slice(&self, range: Range<u64>) -> Bytes {
        let end = range.end.min(self.inode.len);
        let start = range.start.min(end);
        let len = usize::try_from(end - start).unwrap_or(0);
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        let content = self.inode.lock();
        let stored = content.current.get(start..).unwrap_or_default();
        let stored = &stored[..stored.len().min(len)];
        let mut copy = Vec::with_capacity(len);
        copy.extend_from_slice(stored);
        copy.resize(len, 0);
        // Who does not ask before sees nothing where a real process would end.
        for lost in self.inode.lost().iter() {
            let at = |byte: u64| usize::try_from(byte.saturating_sub(range.start)).unwrap_or(0);
            copy[at(lost.start).min(len)..at(lost.end).min(len)].fill(0);
        }
        Bytes::from(copy)
    }

    fn sync(&self, done: SyncDone) {
        let flight = self.inode.begin_sync();
        let (disk, inode, power) = (Arc::clone(&self.disk), Arc::clone(&self.inode), self.power);
        (self.disk.schedule)(Box::new(move || {
            let result = disk.sync_since(power);
            if disk.lock().power == power {
                inode.end_sync(flight, result.is_ok());
            }
            done(result.map_err(Arc::new));
        }));
    }

    fn sync_now(&self) -> io::Result<()> {
        let flight = self.inode.begin_sync();
        let result = self.disk.sync_since(self.power);
        if self.disk.lock().power == self.power {
            self.inode.end_sync(flight, result.is_ok());
        }
        result
    }

    fn give_back(&self, position: u64) -> io::Result<()> {
        self.disk.operate_since(self.power)?;
        self.inode.give_back(position);
        Ok(())
    }

    fn disk_bytes(&self) -> io::Result<u64> {
        self.disk.operate_since(self.power)?;
        Ok(self.inode.disk_bytes())
    }

    fn make_resident(&self, range: Range<u64>) -> io::Result<()> {
        if self.disk.lock().refuse_reads {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let lost = self.inode.lost();
        match lost
            .iter()
            .any(|lost| lost.start < range.end && range.start < lost.end)
        {
            true => Err(io::Error::from_raw_os_error(5)),
            false => Ok(()),
        }
    }
}

impl super::MemDir {
    /// Has the medium not give these bytes of a file any more, as with a bad sector.
    pub fn make_unreadable(&self, name: &str, range: Range<u64>) -> io::Result<()> {
        self.find(name)?.make_unreadable(range);
        Ok(())
    }

    /// Has the system refuse to read anything into memory from now on, or no more, for want of memory.
    pub fn refuse_reads(&self, refuse: bool) {
        self.disk.lock().refuse_reads = refuse;
    }

    /// Makes every sync of a file fail from now on, or no more. A sync that fails loses what it
    /// should have kept.
    pub fn fail_syncs(&self, fail: bool) {
        self.disk.lock().fail_syncs = fail;
    }
}

impl Disk {
    fn sync_since(&self, power: u64) -> io::Result<()> {
        self.operate_since(power)?;
        match self.lock().fail_syncs {
            true => Err(io::Error::other("syncs were made to fail")),
            false => Ok(()),
        }
    }
}
