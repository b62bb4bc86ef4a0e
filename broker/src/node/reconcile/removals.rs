//! Replicas that the metadata names as removed: when each is deleted and confirmed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use highwater_proto::ReplicaId;
use tokio::time::Instant;

use super::Reconciler;
use crate::clock;
use crate::cluster::{ClusterState, Command};
use crate::raft::GroupId;

/// How long the metadata group may take to confirm.
const CONFIRM_LIMIT: Duration = Duration::from_secs(10);
/// When one that the metadata still names is tried again: at first, and at last.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
const AGAIN_AT_LAST: Duration = Duration::from_secs(60);

/// Removed replicas that were tried, until the metadata no longer names them.
#[derive(Debug, Default)]
pub(super) struct Removals(BTreeMap<ReplicaId, Attempt>);

#[derive(Debug)]
struct Attempt {
    again_at: Instant,
    patience: Duration,
}

impl Removals {
    /// Forgets the replicas that are not among the `removed`.
    fn keep(&mut self, removed: impl Iterator<Item = ReplicaId>) {
        let mut before = std::mem::take(&mut self.0);
        self.0 = removed.filter_map(|id| before.remove_entry(&id)).collect();
    }

    /// Whether a replica is to be deleted now; if so, it is tried again after a while, longer each
    /// time.
    fn is_due(&mut self, replica: ReplicaId, now: Instant) -> bool {
        let attempt = self.0.entry(replica).or_insert(Attempt {
            again_at: now,
            patience: Duration::ZERO,
        });
        if attempt.again_at > now {
            return false;
        }
        attempt.patience = (attempt.patience * 2).clamp(AGAIN_AFTER, AGAIN_AT_LAST);
        attempt.again_at = now + attempt.patience;
        true
    }

    /// When one is tried again.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.0.values().map(|attempt| attempt.again_at).min()
    }
}

impl Reconciler {
    /// Deletes what was removed here, and confirms what is deleted. What cannot be deleted stays
    /// named by the metadata, and is tried again.
    pub(super) async fn close_removed(&mut self, state: &ClusterState) {
        let removed = || state.removed_on(self.services.me.broker);
        self.removals
            .keep(removed().map(|removed| removed.replica.id));
        let now = clock::monotonic();
        let due = removed().filter(|removed| self.removals.is_due(removed.replica.id, now));
        let due: Vec<_> = due.cloned().collect();
        let mut replicas = Vec::new();
        for removed in due {
            let (topic, index, id) = (removed.topic, removed.partition, removed.replica.id);
            let group = GroupId::Partition(topic, index);
            self.close(topic, index, id).await;
            self.is_back(group, id);
            match self.groups.delete(group, id).await {
                Ok(()) => replicas.push(id),
                Err(error) => tracing::error!(%group, %error, "a removed replica is not deleted"),
            }
        }
        // An entry that says nothing would be news, too: this would never end.
        if replicas.is_empty() {
            return;
        }
        let services = Arc::clone(&self.services);
        let command = Command::ConfirmRemoved { replicas };
        self.tasks.spawn(async move {
            if let Err(refused) = services.metadata.propose(&command, CONFIRM_LIMIT).await {
                tracing::debug!(%refused, "removed replicas are confirmed later");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_still_named_is_tried_again_after_1_2_4_to_60_seconds() {
        let (mut removals, mut now) = (Removals::default(), clock::monotonic());
        let id = ReplicaId(7);
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert!(removals.is_due(id, now));
            let again_at = now + Duration::from_secs(seconds);
            assert_eq!(removals.next_at(), Some(again_at));
            assert!(!removals.is_due(id, again_at - Duration::from_nanos(1)));
            now = again_at;
        }
        removals.keep([ReplicaId(8)].into_iter());
        assert_eq!(removals.next_at(), None, "it is confirmed");
    }
}
