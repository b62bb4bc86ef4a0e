//! Room on the disk of a data directory: what is free, as of a moment ago, and what of it is
//! promised to files that are about to be made. Shared by all directories on the disk.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use super::usage;

/// How old what is known may become.
const SAMPLE_EVERY: Duration = Duration::from_millis(100);
/// What promises leave free. A stranger may write this much between two samples; below it nothing
/// is promised, and a file counts only once it is there.
const MARGIN: u64 = 256 << 20;
/// What the files of leaders leave free, at least and at most: room for indexes and saved states,
/// and for followers that must take what their leader had room for.
const KEPT_FREE: (u64, u64) = (1 << 20, 16 << 20);

/// The room on one disk.
#[derive(Debug)]
pub struct Space {
    place: String,
    kept: u64,
    free: AtomicU64,
    // guards: changes of `free`, and how many files took something of it
    files: Mutex<u64>,
    promised: AtomicU64,
    /// Whether a log here has refused something for want of room since there last was enough.
    short: AtomicBool,
}

impl Space {
    /// A disk of `size` bytes that has `free` bytes, called `place` in errors.
    pub(super) fn new(place: impl Into<String>, free: u64, size: u64) -> Self {
        Self {
            place: place.into(),
            kept: (size / 16).clamp(KEPT_FREE.0, KEPT_FREE.1),
            free: AtomicU64::new(free),
            files: Mutex::default(),
            promised: AtomicU64::new(0),
            short: AtomicBool::new(false),
        }
    }

    /// Watches the disk that `path` is on, from a thread of its own, until the last user is gone.
    pub(super) fn watch(path: PathBuf) -> io::Result<Arc<Self>> {
        let (free, size) = usage::disk(&path)?;
        let space = Arc::new(Self::new(path.display().to_string(), free, size));
        let watched = Arc::downgrade(&space);
        thread::Builder::new()
            .name("disk-space".to_owned())
            .spawn(move || sample(&path, &watched))?;
        Ok(space)
    }

    /// Where the disk is, for people.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Bytes that are free, as of a moment ago.
    pub fn free(&self) -> u64 {
        self.free.load(Ordering::Relaxed)
    }

    /// Whether something was refused for want of room since there last was enough.
    pub fn is_short(&self) -> bool {
        self.short.load(Ordering::Relaxed)
    }

    pub(in crate::log) fn set_short(&self) {
        self.short.store(true, Ordering::Relaxed);
    }

    /// Asks what is free. What a file took meanwhile may not be part of the answer: it counts then as
    /// it did, and the next sample knows better.
    pub(super) fn sample(&self, ask: impl FnOnce() -> io::Result<u64>) {
        let before = *self.lock_files();
        // What cannot be asked is taken for unchanged.
        let Ok(free) = ask() else { return };
        let files = self.lock_files();
        if *files == before {
            self.free.store(free, Ordering::Relaxed);
            drop(files);
            if free >= 2 * self.kept {
                self.short.store(false, Ordering::Relaxed);
            }
        }
    }

    /// Notes that a file took `bytes`; the next sample knows better.
    pub(super) fn took(&self, bytes: u64) {
        let mut files = self.lock_files();
        *files += 1;
        let left = self.free().saturating_sub(bytes);
        self.free.store(left, Ordering::Relaxed);
    }

    // No code panics while it holds the lock, so the count is whole.
    fn lock_files(&self) -> MutexGuard<'_, u64> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes a promise from `old` bytes to `new`, if the disk has plenty for that and all other
    /// promises. `old` is what the caller was promised before.
    pub(in crate::log) fn promise(&self, old: u64, new: u64) -> bool {
        let before = self.promised.fetch_add(new, Ordering::Relaxed);
        let promised = before.saturating_add(new).saturating_sub(old);
        let plenty = promised.saturating_add(MARGIN) <= self.free();
        self.give_back(if plenty { old } else { new });
        plenty
    }

    /// Ends a promise of `bytes`.
    pub(in crate::log) fn give_back(&self, bytes: u64) {
        self.promised.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Bytes that new segment files may take.
    pub(in crate::log) fn for_files(&self) -> u64 {
        self.free().saturating_sub(self.kept)
    }

    /// The largest of `wanted`, its half, its quarter and so on that there is room for now; none
    /// when there is none for even `least` bytes.
    pub(in crate::log) fn largest(&self, wanted: u64, least: u64) -> Option<u64> {
        let room = self.for_files();
        let mut len = wanted.max(least);
        while len > room {
            if len <= least {
                return None;
            }
            len = (len / 2).next_multiple_of(4096).max(least);
        }
        Some(len)
    }

    /// `least` bytes, if there is room for a file of so many in what is kept free.
    pub(in crate::log) fn last_resort(&self, least: u64) -> Option<u64> {
        Some(least).filter(|least| *least <= self.free())
    }
}

fn sample(path: &std::path::Path, space: &Weak<Space>) {
    while let Some(space) = space.upgrade() {
        space.sample(|| Ok(usage::disk(path)?.0));
        drop(space);
        thread::park_timeout(SAMPLE_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promises_end_where_the_margin_begins() {
        let space = Space::new("/data", MARGIN + 100, 0);
        assert!(space.promise(0, 60));
        assert!(space.promise(0, 40));
        assert!(!space.promise(0, 1), "all but the margin is promised");
        assert!(!space.promise(40, 41));
        space.give_back(60);
        assert!(space.promise(40, 100));
        assert!(!space.promise(100, 101));
        space.took(1);
        assert!(!space.promise(100, 100), "a promise ends with the room");
    }

    #[test]
    fn files_are_made_smaller_before_there_are_none() {
        let space = Space::new("/data", 6 << 20, 0);
        assert_eq!(space.largest(64 << 20, 1 << 20), Some(4 << 20));
        assert_eq!(space.largest(1 << 20, 5 << 20), Some(5 << 20));
        assert_eq!(space.largest(64 << 20, 6 << 20), None);
        space.sample(|| Ok(1 << 20));
        assert_eq!(space.largest(64 << 20, 4096), None);
        assert_eq!(space.last_resort(1 << 20), Some(1 << 20));
        assert_eq!(space.last_resort((1 << 20) + 1), None);
        let large = Space::new("/data", 20 << 20, 1 << 40);
        assert_eq!(large.for_files(), 4 << 20);
    }

    #[test]
    fn a_shortage_is_over_when_there_is_room() {
        let space = Space::new("/data", 0, 0);
        space.set_short();
        space.sample(|| Ok(1 << 20));
        assert!(space.is_short());
        space.sample(|| Ok(64 << 20));
        assert!(!space.is_short());
    }

    #[test]
    fn what_a_file_took_while_the_disk_was_asked_stays_taken() {
        let space = Space::new("/data", 10 << 20, 0);
        space.sample(|| {
            space.took(6 << 20);
            Ok(10 << 20)
        });
        assert_eq!(space.free(), 4 << 20);
        space.sample(|| Err(io::Error::other("gone")));
        assert_eq!(space.free(), 4 << 20);
        space.sample(|| Ok(3 << 20));
        assert_eq!(space.free(), 3 << 20);
    }

    #[test]
    fn the_disk_of_a_directory_is_watched() {
        let dir = tempfile::tempdir().unwrap();
        let space = Space::watch(dir.path().to_owned()).unwrap();
        assert!(space.free() > 0);
        assert_eq!(space.place(), dir.path().display().to_string());
        assert!(Space::watch(dir.path().join("missing")).is_err());
    }
}
