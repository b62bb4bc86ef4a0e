//! The names in a directory in memory: as everybody sees them, and as the medium has them.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::file::Inode;
use super::{MemDir, SplitMix};

/// Asked before a directory is removed; an error is what the caller gets, and nothing is removed.
pub type RemovalGuard = Arc<dyn Fn(&str) -> io::Result<()> + Send + Sync>;

impl MemDir {
    /// Has `guard` asked with its name before any directory below is removed, from now on.
    pub fn guard_removals(&self, guard: RemovalGuard) {
        self.disk.lock().removal_guard = Some(guard);
    }
}

impl MemDir {
    /// Makes the next write to each file below this directory fail, once; a part of it is left.
    pub fn fail_next_writes(&self, path: &[&str]) {
        let state = self.disk.lock();
        let below = |id: u64, name: &&str| state.dirs.get(&id)?.dirs.get(*name).copied();
        let id = path.iter().try_fold(self.id, below);
        let names = id.and_then(|id| state.dirs.get(&id));
        let inodes = names.into_iter().flat_map(|names| names.files.values());
        inodes.for_each(|inode| inode.fail_write.store(true, Ordering::Relaxed));
    }
}

#[derive(Default)]
pub(super) struct Names {
    pub(super) files: BTreeMap<String, Arc<Inode>>,
    pub(super) durable: BTreeMap<String, Arc<Inode>>,
    pub(super) dirs: BTreeMap<String, u64>,
}

impl Names {
    pub(super) fn power_cut(&mut self, random: &mut SplitMix) {
        let mut survivors = BTreeMap::new();
        let all: Vec<String> = self
            .files
            .keys()
            .chain(self.durable.keys())
            .cloned()
            .collect();
        for name in all {
            if survivors.contains_key(&name) {
                continue;
            }
            let side = if random.coin() {
                &self.files
            } else {
                &self.durable
            };
            survivors.insert(name.clone(), side.get(&name).cloned());
        }
        self.files = survivors
            .into_iter()
            .filter_map(|(name, at)| Some((name, at?)))
            .collect();
        self.durable = self.files.clone();
    }
}
