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
    // guards: changes of `free`, and what may have been in the way of an answer
    changes: Mutex<Changes>,
    promised: AtomicU64,
    /// Whether a log here has refused something for want of room since there last was enough.
    short: AtomicBool,
}

/// What decides whether an answer to what is free may be believed.
#[derive(Debug, Default)]
struct Changes {
    /// Files that are being made now.
    making: u64,
    /// How many were made, or could not be.
    made: u64,
    /// How often it was asked, and when the answer that is believed was asked for.
    asked: u64,
    believed: u64,
}

impl Space {
    /// A disk of `size` bytes that has `free` bytes, called `place` in errors.
    pub(super) fn new(place: impl Into<String>, free: u64, size: u64) -> Self {
        Self {
            place: place.into(),
            kept: (size / 16).clamp(KEPT_FREE.0, KEPT_FREE.1),
            free: AtomicU64::new(free),
            changes: Mutex::default(),
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

    /// Asks what is free. An answer that comes while a file is made, or after one has been, may know of
    /// it or not: the file counts then as it did, and the next answer knows better.
    pub(super) fn sample(&self, ask: impl FnOnce() -> io::Result<u64>) {
        let (made, asked) = {
            let mut changes = self.lock();
            changes.asked += 1;
            (changes.made, changes.asked)
        };
        // What cannot be asked is taken for unchanged.
        let Ok(free) = ask() else { return };
        let mut changes = self.lock();
        let is_sure = changes.making == 0 && changes.made == made;
        if is_sure && changes.believed < asked {
            changes.believed = asked;
            self.free.store(free, Ordering::Relaxed);
            drop(changes);
            if free >= 2 * self.kept {
                self.short.store(false, Ordering::Relaxed);
            }
        }
    }

    /// Has a file of so many bytes made, and counts it at once.
    pub(super) fn take<T>(
        &self,
        bytes: u64,
        make: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        self.lock().making += 1;
        let made = make();
        let mut changes = self.lock();
        changes.making -= 1;
        changes.made += 1;
        if made.is_ok() {
            let left = self.free().saturating_sub(bytes);
            self.free.store(left, Ordering::Relaxed);
        }
        made
    }

    // No code panics while it holds the lock, so the counts are whole.
    fn lock(&self) -> MutexGuard<'_, Changes> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
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
        take(&space, 1);
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

    fn take(space: &Space, bytes: u64) {
        space.take(bytes, || Ok(())).unwrap();
    }

    #[test]
    fn what_a_file_took_while_the_disk_was_asked_counts_once() {
        let space = Space::new("/data", 10 << 20, 0);
        space.sample(|| {
            take(&space, 6 << 20);
            Ok(10 << 20)
        });
        assert_eq!(space.free(), 4 << 20);
        space.sample(|| Err(io::Error::other("gone")));
        assert_eq!(space.free(), 4 << 20);
        space.sample(|| Ok(3 << 20));
        assert_eq!(space.free(), 3 << 20);
        let taking = space.take(1 << 20, || {
            space.sample(|| Ok(2 << 20));
            Ok(())
        });
        taking.unwrap();
        assert_eq!(space.free(), 2 << 20, "the answer knew of the file");
        let failing = space.take(1 << 20, || Err::<(), _>(io::ErrorKind::StorageFull.into()));
        failing.unwrap_err();
        assert_eq!(space.free(), 2 << 20);
    }

    #[test]
    fn of_two_answers_the_one_asked_for_later_is_believed() {
        let space = Space::new("/data", 10 << 20, 0);
        space.sample(|| {
            space.sample(|| Ok(3 << 20));
            Ok(10 << 20)
        });
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
