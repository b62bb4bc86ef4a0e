//! The names in a directory in memory: as everybody sees them, and as the medium has them.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

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
