//! The replicas that this broker runs, by group.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::{GroupId, Replica};

/// The registry. Readers take no lock.
#[derive(Debug, Default)]
pub struct Replicas {
    by_group: ArcSwap<BTreeMap<GroupId, Replica>>,
}

impl Replicas {
    /// The replica of `group`, if this broker runs one.
    pub fn get(&self, group: GroupId) -> Option<Replica> {
        self.by_group.load().get(&group).cloned()
    }

    /// All replicas.
    pub fn all(&self) -> Arc<BTreeMap<GroupId, Replica>> {
        self.by_group.load_full()
    }

    /// Adds a replica, in place of an older one of its group.
    pub fn insert(&self, replica: Replica) {
        self.by_group.rcu(|old| {
            let mut new = BTreeMap::clone(old);
            new.insert(replica.group(), replica.clone());
            new
        });
    }

    /// Removes the replica of `group`.
    pub fn remove(&self, group: GroupId) -> Option<Replica> {
        let removed = self.get(group);
        self.by_group.rcu(|old| {
            let mut new = BTreeMap::clone(old);
            new.remove(&group);
            new
        });
        removed
    }
}
