//! Who takes over a group whose leader seems to have failed. Decided by each voter on its own from
//! what the voters say; two voters that see the same come to the same successor. A wrong decision
//! costs an election and never data: the votes of Raft still decide.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use highwater_proto::{EntryId, ReplicaId, Term};

/// So many rounds a voter waits for one with a greater claim whose vote stays what it is. Longer than an
/// election takes, and much shorter than a leader holds back what it hands over.
const PATIENCE: u32 = 15;

/// The vote of a replica: whom it supports in which term.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VoteView {
    /// The term.
    pub term: Term,
    /// True once a majority granted it, so that the term has a leader.
    pub committed: bool,
}

/// What a voter says of its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// The voter.
    pub replica: ReplicaId,
    /// The last entry of its log; `None` when the log is empty.
    pub last: Option<EntryId>,
    /// Its vote.
    pub vote: VoteView,
    /// True when it knows of no leader, or suspects the leader's broker.
    pub suspects_leader: bool,
    /// True when its broker is stopping or drained, so that another one leads if it can.
    pub yields: bool,
    /// True when it leads.
    pub leads: bool,
}

/// What this voter should do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Succession {
    /// Stand for election now, passing the leases.
    TakeOver,
    /// Do nothing yet.
    Wait(WaitReason),
}

/// Why this voter does not stand for election.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitReason {
    /// This replica is no voter of the group.
    NotAVoter,
    /// From here the leader seems alive.
    LeaderSeemsAlive,
    /// Another voter follows a leader of a later term, or leads and does not hand over.
    NewerLeader(Term),
    /// Not enough voters suspect the leader, also with the vote of one that hands over.
    NoMajority {
        /// How many voters suspect it, in the membership where it is not enough.
        suspecting: usize,
        /// How many would be a majority there.
        needed: usize,
    },
    /// The vote of that leader, which hands over, is needed, and it has entries that are not here yet.
    BehindTheLeader(ReplicaId),
    /// This voter has the greatest claim after that one.
    AnotherIsGreater(ReplicaId),
}

/// Those that this voter waited for because they had the greater claim, and that did not stand: their
/// disk may be stuck, which neither pings nor what they say of themselves shows.
#[derive(Debug, Default)]
pub struct Waited(BTreeMap<ReplicaId, Wait>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wait {
    /// Its vote's term meanwhile: one that stands comes to a later one.
    term: Term,
    rounds: u32,
}

impl Waited {
    /// As `decide`, among those that were not waited for in vain. Counts the round.
    pub fn decide(
        &mut self,
        voters: &[BTreeSet<ReplicaId>],
        mine: &View,
        others: &[View],
    ) -> Succession {
        let terms: BTreeMap<_, _> = others
            .iter()
            .map(|view| (view.replica, view.vote.term))
            .collect();
        self.0
            .retain(|replica, wait| terms.get(replica) == Some(&wait.term));
        let decision = decide(voters, mine, others, self);
        if let Succession::Wait(WaitReason::AnotherIsGreater(replica)) = decision
            && let Some(term) = terms.get(&replica).copied()
        {
            let wait = self.0.entry(replica).or_insert(Wait { term, rounds: 0 });
            wait.rounds += 1;
        }
        decision
    }

    fn in_vain(&self, replica: ReplicaId) -> bool {
        let wait = self.0.get(&replica);
        wait.is_some_and(|wait| wait.rounds >= PATIENCE)
    }
}

/// Decides for the voter `mine`, given the voters of the group (two sets while its membership
/// changes, each of which needs a majority), what other voters answered and who was `waited` for. Views of
/// replicas that are no voters, of replica 0 (none there) and repeated ones are ignored.
fn decide(
    voters: &[BTreeSet<ReplicaId>],
    mine: &View,
    others: &[View],
    waited: &Waited,
) -> Succession {
    let is_voter = |replica: &ReplicaId| voters.iter().any(|set| set.contains(replica));
    if !is_voter(&mine.replica) {
        return Succession::Wait(WaitReason::NotAVoter);
    }
    if !mine.suspects_leader {
        return Succession::Wait(WaitReason::LeaderSeemsAlive);
    }
    let mut views = BTreeMap::from([(mine.replica, mine)]);
    for view in others {
        if view.replica != ReplicaId(0) && is_voter(&view.replica) {
            views.entry(view.replica).or_insert(view);
        }
    }
    // A leader of our own term that answers has only not been heard of yet, unless it hands over.
    let has_leader = |view: &&&View| {
        let leads = view.leads && !view.yields && view.vote.term == mine.vote.term;
        let newer = view.vote.term > mine.vote.term;
        !view.suspects_leader && view.vote.committed && (newer || leads)
    };
    if let Some(view) = views.values().find(has_leader) {
        return Succession::Wait(WaitReason::NewerLeader(view.vote.term));
    }
    // A leader that hands over gives its vote to a log that has all of its own.
    let consenting = views
        .values()
        .find(|view| view.leads && view.yields && !view.suspects_leader)
        .map(|leader| (leader.replica, leader.last));
    views.retain(|_, view| view.suspects_leader);
    let mut needs_consent = None;
    for set in voters {
        let suspecting = set.iter().filter(|voter| views.contains_key(voter)).count();
        let needed = set.len() / 2 + 1;
        let consent = consenting.filter(|(leader, _)| set.contains(leader));
        match consent {
            _ if suspecting >= needed => {}
            Some(_) if suspecting + 1 >= needed => needs_consent = consent,
            _ => return Succession::Wait(WaitReason::NoMajority { suspecting, needed }),
        }
    }
    if let Some((leader, last)) = needs_consent
        && last > mine.last
    {
        return Succession::Wait(WaitReason::BehindTheLeader(leader));
    }
    // Nobody who was waited for in vain holds up the others. Should it stand after all, or its log be
    // needed, the votes decide.
    views.retain(|replica, _| *replica == mine.replica || !waited.in_vain(*replica));
    match greatest_claim(&views) {
        Some(replica) if replica != mine.replica => {
            Succession::Wait(WaitReason::AnotherIsGreater(replica))
        }
        _ => Succession::TakeOver,
    }
}

/// Of those who suspect the leader, who may win: who does not would not stand, so nobody waits for it.
/// Of equal logs that of a broker that stays, then that of the lowest id, which is the first one that
/// the partition was placed on: so a new group is led where it was meant to be.
fn greatest_claim(suspecting: &BTreeMap<ReplicaId, &View>) -> Option<ReplicaId> {
    let claims = suspecting
        .values()
        .map(|view| (view.last, !view.yields, Reverse(view.replica)));
    claims.max().map(|(_, _, Reverse(replica))| replica)
}

#[cfg(test)]
mod tests;
