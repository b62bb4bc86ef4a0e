//! The names in a directory in memory: as everybody sees them, and as the medium has them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::SplitMix;
use super::file::Inode;

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
