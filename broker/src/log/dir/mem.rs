//! A disk in memory, the same at every run: it can lose power, fail at a chosen operation and run
//! full. Names live apart from files, and unsynced bytes survive a power cut sector by sector.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Dir, File, Job, Space};

mod file;
#[cfg(test)]
mod held;
mod mix;
mod names;
#[cfg(test)]
mod tests;

use file::{Inode, MemFile};
#[cfg(test)]
pub(crate) use held::HeldDisk;
use mix::SplitMix;
use names::Names;
pub use names::RemovalGuard;

/// Runs a job later (or at once): how a simulation decides when a sync is done.
pub type Schedule = Arc<dyn Fn(Job) + Send + Sync>;

/// A directory in memory. Clones are the same directory.
#[derive(Clone)]
pub struct MemDir {
    disk: Arc<Disk>,
    id: u64,
    /// The process that the handle belongs to; none for whoever owns the disk.
    process: Option<u64>,
}

struct Disk {
    // guards: names and the counters of faults; never held together with a file's lock
    state: Mutex<State>,
    schedule: Schedule,
    space: Space,
    volatile: bool,
}

struct State {
    dirs: BTreeMap<u64, Names>,
    next_dir: u64,
    operations: u64,
    fail_at: Option<u64>,
    fail_from: Option<u64>,
    fail_syncs: bool,
    refuse_reads: bool,
    removal_guard: Option<RemovalGuard>,
    capacity: u64,
    /// Rises with each power cut and with each process that begins.
    power: u64,
}

impl MemDir {
    /// An empty disk that completes every sync and runs every background job at once.
    pub fn new() -> Self {
        Self::with_schedule(Arc::new(|job: Job| job()))
    }

    /// An empty disk that keeps nothing of what is written through a power cut, synced or not, and
    /// so takes half of the memory.
    pub fn volatile() -> Self {
        Self::make(Arc::new(|job: Job| job()), true)
    }

    /// An empty disk whose syncs complete and whose background jobs run when `schedule` says so.
    pub fn with_schedule(schedule: Schedule) -> Self {
        Self::make(schedule, false)
    }

    fn make(schedule: Schedule, volatile: bool) -> Self {
        let state = State {
            dirs: BTreeMap::from([(0, Names::default())]),
            next_dir: 1,
            operations: 0,
            fail_at: None,
            fail_from: None,
            fail_syncs: false,
            refuse_reads: false,
            removal_guard: None,
            capacity: u64::MAX,
            power: 0,
        };
        Self {
            disk: Arc::new(Disk {
                state: Mutex::new(state),
                schedule,
                space: Space::new("memory", u64::MAX, 0),
                volatile,
            }),
            id: 0,
            process: None,
        }
    }

    /// The disk for the next process that runs on it. Nothing is lost, as with `kill -9`; whatever
    /// an earlier process still tries, on directories or files, fails from now on.
    #[must_use]
    pub fn next_process(&self) -> Self {
        let mut state = self.disk.lock();
        state.power += 1;
        let process = Some(state.power);
        drop(state);
        Self {
            disk: Arc::clone(&self.disk),
            id: self.id,
            process,
        }
    }

    /// Cuts the power of the whole disk: of every unsynced 512-byte sector and of every unsynced
    /// name either the old or the new state survives, as `seed` decides. Files and syncs from
    /// before end with errors or not at all; the directories can be used again at once.
    pub fn power_cut(&self, seed: u64) {
        let mut random = SplitMix(seed);
        let mut inodes = Vec::new();
        {
            let mut state = self.disk.lock();
            state.power += 1;
            for names in state.dirs.values_mut() {
                names.power_cut(&mut random);
                inodes.extend(names.files.values().cloned());
            }
        }
        for inode in inodes {
            inode.power_cut(&mut random);
        }
    }

    /// Makes the operation number `n` from now on (0 is the next one) fail with an I/O error. A
    /// failing write leaves a part of it behind; a failing sync loses what it should have kept.
    pub fn fail_operation(&self, n: u64) {
        let mut state = self.disk.lock();
        state.fail_at = Some(state.operations + n);
    }

    /// Makes every operation from number `n` from now on fail; `None` ends all failures.
    pub fn fail_from_operation(&self, n: Option<u64>) {
        let mut state = self.disk.lock();
        state.fail_from = n.map(|n| state.operations + n);
        state.fail_at = None;
    }

    /// How many operations the disk has seen.
    pub fn operations(&self) -> u64 {
        self.disk.lock().operations
    }

    /// Limits the sum of the sizes of all files; creating beyond it is `StorageFull`.
    pub fn set_capacity(&self, bytes: u64) {
        self.set_capacity_unseen(bytes);
        self.space_now();
    }

    /// The same, as when a stranger fills the disk: it shows when the disk is asked again.
    pub fn set_capacity_unseen(&self, bytes: u64) {
        self.disk.lock().capacity = bytes;
    }

    /// Changes the stored bytes of a file behind everybody's back, on the medium and in memory.
    pub fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        self.find(name)?.damage(change);
        Ok(())
    }

    fn find(&self, name: &str) -> io::Result<Arc<Inode>> {
        let state = self.disk.lock();
        let found = state
            .dirs
            .get(&self.id)
            .and_then(|names| names.files.get(name));
        found.cloned().ok_or_else(|| missing(name))
    }

    fn change<R>(&self, change: impl FnOnce(&mut Names) -> io::Result<R>) -> io::Result<R> {
        let mut state = self.disk.lock();
        state.operate_in(self.process)?;
        let names = state
            .dirs
            .get_mut(&self.id)
            .ok_or_else(|| missing("the directory"))?;
        let changed = change(names);
        self.disk.space.sample(|| Ok(state.free()));
        changed
    }

    fn file(&self, inode: Arc<Inode>) -> Arc<dyn File> {
        let power = self.process.unwrap_or_else(|| self.disk.lock().power);
        Arc::new(MemFile::new(Arc::clone(&self.disk), inode, power))
    }
}

impl Default for MemDir {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemDir")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Dir for MemDir {
    fn create(&self, name: &str, len: u64) -> io::Result<Arc<dyn File>> {
        let inode = Arc::new(Inode::new(len, self.disk.volatile));
        {
            let mut state = self.disk.lock();
            state.operate_in(self.process)?;
            if len > state.free() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let names = state
                .dirs
                .get_mut(&self.id)
                .ok_or_else(|| missing("the directory"))?;
            if names.files.contains_key(name) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            names.files.insert(name.to_owned(), Arc::clone(&inode));
            self.disk.space.sample(|| Ok(state.free()));
        }
        Ok(self.file(inode))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.disk.lock().operate_in(self.process)?;
        Ok(self.file(self.find(name)?))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.change(|names| Ok(names.files.keys().cloned().collect()))
    }

    fn disk_bytes(&self) -> io::Result<u64> {
        self.change(|names| Ok(names.files.values().map(|inode| inode.disk_bytes()).sum()))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.change(|names| {
            let inode = names.files.remove(from).ok_or_else(|| missing(from))?;
            names.files.insert(to.to_owned(), inode);
            Ok(())
        })
    }

    fn is_in_use(&self, name: &str) -> io::Result<bool> {
        self.disk.lock().operate_in(self.process)?;
        Ok(self.find(name)?.is_open())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.change(|names| {
            names
                .files
                .remove(name)
                .map(drop)
                .ok_or_else(|| missing(name))
        })
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.change(|names| {
            names.durable = names.files.clone();
            Ok(())
        })
    }

    fn subdir(&self, name: &str) -> io::Result<Arc<dyn Dir>> {
        let mut state = self.disk.lock();
        state.operate_in(self.process)?;
        let next = state.next_dir;
        let names = state
            .dirs
            .get_mut(&self.id)
            .ok_or_else(|| missing("the directory"))?;
        let id = *names.dirs.entry(name.to_owned()).or_insert(next);
        if id == next {
            state.next_dir += 1;
            state.dirs.insert(id, Names::default());
        }
        drop(state);
        Ok(Arc::new(Self {
            disk: Arc::clone(&self.disk),
            id,
            process: self.process,
        }))
    }

    fn list_subdirs(&self) -> io::Result<Vec<String>> {
        self.change(|names| Ok(names.dirs.keys().cloned().collect()))
    }

    fn remove_subdir(&self, name: &str) -> io::Result<()> {
        let guard = self.disk.lock().removal_guard.clone();
        guard.map_or(Ok(()), |guard| guard(name))?;
        let mut state = self.disk.lock();
        state.operate_in(self.process)?;
        let names = state
            .dirs
            .get_mut(&self.id)
            .ok_or_else(|| missing("the directory"))?;
        let mut ids: Vec<u64> = names.dirs.remove(name).into_iter().collect();
        while let Some(id) = ids.pop() {
            let removed = state.dirs.remove(&id);
            ids.extend(
                removed
                    .into_iter()
                    .flat_map(|names| names.dirs.into_values()),
            );
        }
        Ok(())
    }

    fn offload(&self, job: Job) {
        (self.disk.schedule)(job);
    }

    fn run_beside(&self, job: Job) {
        (self.disk.schedule)(job);
    }

    fn run_apart(&self, job: Job) {
        (self.disk.schedule)(job);
    }

    fn space(&self) -> &Space {
        &self.disk.space
    }

    fn space_now(&self) -> &Space {
        let state = self.disk.lock();
        self.disk.space.sample(|| Ok(state.free()));
        &self.disk.space
    }
}

impl Disk {
    // No caller can panic between two changes that belong together.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an operation of a file opened at `power`; it fails after a cut or when it shall.
    fn operate_since(&self, power: u64) -> io::Result<()> {
        let mut state = self.lock();
        if state.power != power {
            return Err(io::Error::other(
                "the file was opened before the power was cut or the process ended",
            ));
        }
        state.operate()
    }
}

impl State {
    fn free(&self) -> u64 {
        if self.capacity == u64::MAX {
            return u64::MAX;
        }
        let files = self.dirs.values().flat_map(|names| names.files.values());
        let used: u64 = files.map(|inode| inode.disk_bytes()).sum();
        self.capacity.saturating_sub(used)
    }

    /// Counts an operation on a directory; it fails for a process that is over.
    fn operate_in(&mut self, process: Option<u64>) -> io::Result<()> {
        if process.is_some_and(|process| process != self.power) {
            return Err(io::Error::other("the process of this handle has ended"));
        }
        self.operate()
    }

    fn operate(&mut self) -> io::Result<()> {
        let number = self.operations;
        self.operations += 1;
        if self.fail_at == Some(number) || self.fail_from.is_some_and(|first| number >= first) {
            return Err(io::Error::other(format!(
                "operation {number} was made to fail"
            )));
        }
        Ok(())
    }
}

fn missing(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{name} does not exist"))
}
