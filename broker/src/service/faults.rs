//! The replicas of this broker that are out of their groups, and why.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use highwater_proto::ReplicaId;

use crate::raft::GroupId;

/// What keeps a replica out of its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// What it had on the disk is damaged.
    Damaged,
    /// It has another history than the rest of its group.
    Diverged,
    /// Anything else; it is tried again.
    Stopped,
}

impl FaultKind {
    /// The name in the API and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Damaged => "damaged",
            Self::Diverged => "diverged",
            Self::Stopped => "stopped",
        }
    }
}

/// The name in the API of what is no fault of a replica: it is open, and lacks what is committed.
pub(super) const BEHIND: &str = "behind";

/// A replica that is out of its group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The replica.
    pub replica: ReplicaId,
    /// What keeps it out.
    pub kind: FaultKind,
    /// What, where, why.
    pub why: String,
}

/// The registry.
#[derive(Debug, Default)]
pub struct Faults {
    // guards: the map; held for a copy or an insertion.
    by_group: Mutex<BTreeMap<GroupId, Fault>>,
}

impl Faults {
    /// Notes that the replica of `group` is out.
    pub fn put(&self, group: GroupId, fault: Fault) {
        self.lock().insert(group, fault);
    }

    /// Notes that the replica of `group` is open again, or is gone.
    pub fn clear(&self, group: GroupId) {
        self.lock().remove(&group);
    }

    /// What keeps the replica of `group` out.
    pub fn get(&self, group: GroupId) -> Option<Fault> {
        self.lock().get(&group).cloned()
    }

    /// How many are out because of `kind`.
    pub fn count(&self, kind: FaultKind) -> u64 {
        self.lock()
            .values()
            .filter(|fault| fault.kind == kind)
            .count() as u64
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<GroupId, Fault>> {
        self.by_group.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
