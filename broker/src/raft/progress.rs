//! What a replica knows of its group: its members, and how far each of them is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use highwater_proto::ReplicaId;
use openraft::async_runtime::{Instant, WatchReceiver};

use super::knowledge::{Members, View, leadership_of};
use super::replica::Replica;
use super::types::{LogId, Types};
use crate::clock::monotonic;

impl Replica {
    /// The voters and learners, with their brokers.
    pub fn members(&self) -> Members {
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        let ids = |set: &BTreeSet<u64>| set.iter().copied().map(ReplicaId).collect();
        Members {
            voters: membership.get_joint_config().iter().map(ids).collect(),
            brokers: membership
                .nodes()
                .map(|(id, node)| (ReplicaId(*id), node.broker))
                .collect(),
        }
    }

    /// How many replicas the group has beside this one.
    pub fn others(&self) -> usize {
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow_watched();
        let nodes = metrics.membership_config.membership().nodes();
        nodes.filter(|(id, _)| **id != self.id().0).count()
    }

    /// Resolves when committed members are as wanted, or when the replica's core has ended.
    pub async fn until_members(&self, wanted: impl Fn(&Members) -> bool) {
        let mut metrics = self.raft().metrics();
        loop {
            let applied = {
                let now = metrics.borrow_watched();
                *now.membership_config.log_id() <= now.last_applied
            };
            if (applied && wanted(&self.members())) || metrics.changed().await.is_err() {
                return;
            }
        }
    }

    /// True unless a follower has said that it has little room.
    pub fn followers_have_plenty(&self) -> bool {
        self.rooms.all_have_plenty()
    }

    /// The followers that have said that they have little room, and for how many bytes of entries.
    pub fn little_room(&self) -> BTreeMap<ReplicaId, u64> {
        self.rooms.little(monotonic())
    }

    /// The replicas that have everything the leader has committed; only the leader knows.
    pub fn in_sync(&self) -> Option<Vec<ReplicaId>> {
        let committed = self.raft().metrics().borrow_watched().cluster_committed;
        self.with_entries_to(committed)
    }

    fn with_entries_to(&self, index: Option<LogId>) -> Option<Vec<ReplicaId>> {
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow_watched();
        let replication = metrics.replication.as_ref()?;
        let others = replication.iter().filter(|(id, _)| **id != self.id().0);
        let caught_up = others.filter(|(_, matching)| **matching >= index);
        let caught_up = caught_up.map(|(id, _)| ReplicaId(*id));
        Some(std::iter::once(self.id()).chain(caught_up).collect())
    }

    /// The replicas that come to have, within `limit`, everything that was committed at the call:
    /// under load each of them is always a few entries behind. Only the leader knows.
    pub async fn in_sync_within(&self, limit: Duration) -> Option<Vec<ReplicaId>> {
        let mut metrics = self.raft().metrics();
        let committed = metrics.borrow_watched().cluster_committed;
        let others_have_it = |metrics: &openraft::RaftMetrics<Types>| {
            let replication = metrics.replication.iter().flatten();
            replication
                .filter(|(id, _)| **id != self.id().0)
                .all(|(_, matching)| *matching >= committed)
        };
        let reached = async {
            while !others_have_it(&metrics.borrow_watched()) && metrics.changed().await.is_ok() {}
        };
        drop(tokio::time::timeout(limit, reached).await);
        self.with_entries_to(committed)
    }

    /// How many committed entries each of the other replicas lacks; only the leader knows.
    pub fn lags(&self) -> Option<Vec<(ReplicaId, u64)>> {
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow_watched();
        let entries = |id: Option<LogId>| id.map_or(0, |id| id.index + 1);
        let committed = entries(metrics.cluster_committed);
        let replication = metrics.replication.as_ref()?;
        let others = replication.iter().filter(|(id, _)| **id != self.id().0);
        let lag = |matching: Option<_>| committed.saturating_sub(entries(matching));
        Some(
            others
                .map(|(id, matching)| (ReplicaId(*id), lag(*matching)))
                .collect(),
        )
    }

    /// The other replicas that acknowledged something which was sent within the last `limit`; only the
    /// leader knows.
    pub fn acknowledged_since(&self, limit: Duration) -> Option<BTreeSet<ReplicaId>> {
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow_watched();
        let sent = metrics.heartbeat.as_ref()?.iter();
        let lately = sent.filter(|(id, sent)| {
            let passed = sent.map(|sent| sent.elapsed());
            **id != self.id().0 && passed.is_some_and(|passed| passed < limit)
        });
        Some(lately.map(|(id, _)| ReplicaId(*id)).collect())
    }

    /// What this replica knows of its group.
    pub fn view(&self) -> View {
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow_watched();
        View {
            vote: super::wire::encode_vote(&metrics.vote),
            last: self.reader().last().map(|last| (last.term, last.index)),
            leadership: leadership_of(&metrics),
        }
    }
}
