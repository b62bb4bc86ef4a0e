//! Whether others would follow a leader, asked without a heartbeat: one would renew the lease that
//! they give to it, and hold up the election of another.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use highwater_proto::pb::peer::{ConferRequest, GroupView};
use highwater_proto::{BrokerId, ReplicaId, Term};

use super::replica::Replica;
use super::{GroupId, Members};
use crate::peer;

/// How long a broker may take to say what it knows.
const LIMIT: Duration = Duration::from_millis(300);

impl Replica {
    /// Whether a majority of the voters is there and in no later term than `term`, in which this
    /// replica leads.
    pub async fn would_lead(&self, term: Term) -> bool {
        let members = self.members();
        let others = members.brokers.iter().filter(|(id, _)| **id != self.id());
        let asked = others.map(|(id, broker)| async {
            let view = self.view_on(*broker).await;
            view.is_some_and(|view| would_follow(&view, *id, self.group(), term))
                .then_some(*id)
        });
        let followers = join_all(asked).await.into_iter().flatten();
        is_majority(&members, &followers.chain([self.id()]).collect())
    }

    async fn view_on(&self, broker: BrokerId) -> Option<GroupView> {
        let request = ConferRequest {
            hello: Some(self.peers.me().hello()),
            groups: vec![self.group().to_pb()],
        };
        let mut calls = self.peers.link(broker)?.urgent_calls();
        let answer = peer::call(LIMIT, calls.confer(request)).await.ok()?;
        answer.views.into_iter().next()
    }
}

fn would_follow(view: &GroupView, replica: ReplicaId, group: GroupId, term: Term) -> bool {
    let of_group = view.group.as_ref().and_then(GroupId::from_pb) == Some(group);
    let vote = view.vote.unwrap_or_default();
    of_group && view.replica == replica.0 && vote.term <= term.0
}

fn is_majority(members: &Members, present: &BTreeSet<ReplicaId>) -> bool {
    !members.voters.is_empty() && members.have_majorities(|id| present.contains(id))
}

#[cfg(test)]
mod tests {
    use highwater_proto::pb::peer::Vote;

    use super::*;

    fn set<const N: usize>(ids: [u64; N]) -> BTreeSet<ReplicaId> {
        ids.into_iter().map(ReplicaId).collect()
    }

    #[test]
    fn a_replica_that_is_there_and_in_no_later_term_would_follow() {
        let view = |replica, term| GroupView {
            group: Some(GroupId::Metadata.to_pb()),
            replica,
            vote: Some(Vote {
                term,
                ..Vote::default()
            }),
            ..GroupView::default()
        };
        let follows = |view| would_follow(&view, ReplicaId(2), GroupId::Metadata, Term(5));
        assert!(follows(view(2, 5)) && follows(view(2, 4)));
        assert!(!follows(view(2, 6)), "another is elected");
        assert!(!follows(view(0, 5)), "none is there");
        assert!(!follows(view(3, 5)) && !follows(GroupView::default()));
    }

    #[test]
    fn a_majority_of_each_set_of_voters_is_one() {
        let joint = Members {
            voters: vec![set([1, 2, 3]), set([3, 4, 5])],
            ..Members::default()
        };
        assert!(is_majority(&joint, &set([2, 3, 4])));
        assert!(!is_majority(&joint, &set([1, 2, 3])));
        assert!(!is_majority(&Members::default(), &set([1])));
    }
}
