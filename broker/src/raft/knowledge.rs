//! What a replica knows of its group: who belongs to it, who leads, how far its log goes.

use std::collections::{BTreeMap, BTreeSet};

use highwater_proto::pb::peer;
use highwater_proto::{BrokerId, LogIndex, ReplicaId, Term};

use super::types::Types;

/// Who leads a group, as one replica knows it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Leadership {
    /// The term.
    pub term: Term,
    /// The leader and its broker; `None` when it is not known.
    pub leader: Option<(ReplicaId, BrokerId)>,
    /// True when this replica is the leader.
    pub mine: bool,
}

/// What a replica tells others of its group when they suspect the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// The vote it holds.
    pub vote: peer::Vote,
    /// Its last entry as (term, index).
    pub last: Option<(Term, LogIndex)>,
    /// Who leads as it knows.
    pub leadership: Leadership,
}

/// The members of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Members {
    /// Those that vote: one set, or two while the membership changes.
    pub voters: Vec<BTreeSet<ReplicaId>>,
    /// The broker of each, learners included.
    pub brokers: BTreeMap<ReplicaId, BrokerId>,
}

impl Members {
    /// True when the replica votes.
    pub fn is_voter(&self, replica: ReplicaId) -> bool {
        self.voters.iter().any(|set| set.contains(&replica))
    }

    /// Whether of each set of voters a majority is as it should be.
    pub fn have_majorities(&self, is_fine: impl Fn(&ReplicaId) -> bool) -> bool {
        let fine = |set: &BTreeSet<ReplicaId>| set.iter().filter(|id| is_fine(id)).count();
        self.voters.iter().all(|set| fine(set) > set.len() / 2)
    }

    /// Whether `one` and a replica of another broker are all that votes.
    pub fn are_two(&self, one: ReplicaId, other: BrokerId) -> bool {
        let [voters] = self.voters.as_slice() else {
            return false;
        };
        let is_other = |id: &ReplicaId| *id != one && self.brokers.get(id) == Some(&other);
        voters.len() == 2 && voters.contains(&one) && voters.iter().any(is_other)
    }

    /// The brokers of all voters.
    pub fn voter_brokers(&self) -> impl Iterator<Item = BrokerId> {
        self.brokers
            .iter()
            .filter(|(id, _)| self.is_voter(**id))
            .map(|(_, broker)| *broker)
    }
}

/// Who leads, as the core's metrics have it.
pub(super) fn leadership_of(metrics: &openraft::RaftMetrics<Types>) -> Leadership {
    let broker = |id: u64| {
        metrics
            .membership_config
            .get_node(&id)
            .map(|node| node.broker)
    };
    let mine = metrics.state.is_leader() && metrics.running_state.is_ok();
    // After a restart the stored vote still names the old leader, even if that was this replica.
    let leader = metrics
        .current_leader
        .filter(|id| mine || *id != metrics.id);
    Leadership {
        term: Term(metrics.current_term),
        leader: leader.and_then(|id| Some((ReplicaId(id), broker(id)?))),
        mine: mine && leader.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set<const N: usize>(ids: [u64; N]) -> BTreeSet<ReplicaId> {
        ids.into_iter().map(ReplicaId).collect()
    }

    #[test]
    fn two_are_all_that_votes_if_nobody_else_does_nor_did() {
        let are_two = |voters: &[BTreeSet<ReplicaId>], one, other| {
            let members = Members {
                voters: voters.to_vec(),
                brokers: [(1, 10), (2, 20), (3, 30)]
                    .map(|(replica, broker)| (ReplicaId(replica), BrokerId(broker)))
                    .into(),
            };
            members.are_two(ReplicaId(one), BrokerId(other))
        };
        let two = [set([1, 2])];
        assert!(are_two(&two, 1, 20) && are_two(&two, 2, 10));
        assert!(!are_two(&two, 1, 10) && !are_two(&two, 1, 30) && !are_two(&two, 3, 20));
        assert!(!are_two(&[set([1, 2, 3])], 1, 20) && !are_two(&[set([1])], 1, 20));
        assert!(!are_two(&[set([1, 2, 3]), set([1, 2])], 1, 20) && !are_two(&[], 1, 20));
    }

    #[test]
    fn a_majority_of_each_set_of_voters_is_one() {
        let fine = |voters: &[BTreeSet<ReplicaId>], up: &[u64]| {
            let members = Members {
                voters: voters.to_vec(),
                ..Members::default()
            };
            members.have_majorities(|id| up.contains(&id.0))
        };
        let three = [set([1, 2, 3])];
        assert!(fine(&three, &[1, 3]) && !fine(&three, &[1, 4, 5]));
        let four = [set([1, 2, 3, 4])];
        assert!(fine(&four, &[1, 2, 3]) && !fine(&four, &[1, 2]));
        let two = [set([1, 2])];
        assert!(fine(&two, &[1, 2]) && !fine(&two, &[1]));
        let joint = [set([1, 2, 3]), set([3, 4, 5])];
        assert!(fine(&joint, &[2, 3, 4]));
        assert!(
            !fine(&joint, &[1, 2, 3]),
            "of the one set, not of the other"
        );
    }
}
