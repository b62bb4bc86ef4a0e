//! Groups without a living leader get one: the voters are asked what they know, and the one with
//! the greatest log stands for election past the leases. The decision is `raft::succession`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use highwater_proto::pb::peer::{ConferRequest, GroupView};
use highwater_proto::{BrokerId, EntryId, LogIndex, ReplicaId, Term};
use tokio::time::{Instant, MissedTickBehavior};

use super::leaders::Leaders;
use super::liveness::Liveness;
use crate::clock;
use crate::peer::{self, Peers};
use crate::raft::succession::{Succession, View, VoteView, Waited};
use crate::raft::{GroupId, Leadership, Members, Replica, Replicas};

/// How often groups without a living leader are looked for.
const ROUND: Duration = Duration::from_millis(100);
/// While all brokers answer and every group has a leader, only one of so many rounds looks: to look at
/// a thousand groups costs more than anything else that an idle broker does.
const CALM_ROUNDS: u32 = 5;
/// How long another broker may take to say what it knows.
const CONFER_LIMIT: Duration = Duration::from_millis(300);
/// A group that never had a leader here is given this many rounds to find one by itself.
const PATIENCE: u32 = 3;
/// The same for a new group that another broker, which is up, is about to lead.
const PATIENCE_WITH_THE_FIRST: u32 = 20;
/// How long an election is given before this replica stands again; doubles up to the longest. A
/// slow disk needs the time, and each attempt ends the one before.
const ELECTION: Duration = Duration::from_secs(1);
const LONGEST_ELECTION: Duration = Duration::from_secs(8);

/// Looks after the groups that have a replica on this broker.
#[derive(Debug)]
pub struct Takeover {
    /// The replicas here.
    pub replicas: Arc<Replicas>,
    /// The other brokers.
    pub peers: Arc<Peers>,
    /// Which of them answer.
    pub liveness: Arc<Liveness>,
    /// What they say they lead.
    pub leaders: Arc<Leaders>,
}

/// How long a group has had no living leader, and when this replica may stand again.
#[derive(Debug, Default)]
struct Leaderless {
    rounds: u32,
    /// The last that was known of a leader; news of one starts the rounds anew.
    known: Leadership,
    stand_after: Option<Instant>,
    patience: Duration,
    /// Which voters were to stand first.
    waited: Waited,
}

impl Leaderless {
    fn look(&mut self, leadership: Leadership) {
        if leadership.leader.is_some() && leadership != self.known {
            self.known = leadership;
            self.rounds = 0;
        }
        self.rounds += 1;
    }

    fn stands(&mut self) {
        self.patience = (self.patience * 2).clamp(ELECTION, LONGEST_ELECTION);
        self.stand_after = Some(clock::monotonic() + self.patience);
    }
}

/// A group here that has no living leader.
struct Orphan {
    replica: Replica,
    voters: Vec<BTreeSet<ReplicaId>>,
    brokers: BTreeMap<ReplicaId, BrokerId>,
}

impl Takeover {
    /// Looks for orphans again and again.
    pub async fn run(self) {
        let mut rounds = tokio::time::interval(ROUND);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut leaderless: BTreeMap<GroupId, Leaderless> = BTreeMap::new();
        let mut suspected = self.liveness.suspected();
        let mut passed = 0;
        loop {
            let news = tokio::select! {
                _ = rounds.tick() => false,
                Ok(()) = suspected.changed() => true,
            };
            let calm = !news && leaderless.is_empty() && suspected.borrow().is_empty();
            passed += 1;
            if calm && passed < CALM_ROUNDS {
                continue;
            }
            passed = 0;
            let orphans = self.orphans(&mut leaderless);
            if !orphans.is_empty() {
                self.settle(orphans, &mut leaderless).await;
            }
        }
    }

    fn orphans(&self, leaderless: &mut BTreeMap<GroupId, Leaderless>) -> Vec<Orphan> {
        let mut found = Vec::new();
        for (group, replica) in self.replicas.all().iter() {
            let leadership = replica.leadership_now();
            let lost = leadership
                .leader
                .is_some_and(|(_, broker)| self.liveness.should_replace(broker));
            if !lost && self.leaders.confirms(*group, &leadership) {
                if leaderless.remove(group).is_some() {
                    replica.respect_leases();
                }
                continue;
            }
            let since = leaderless.entry(*group).or_default();
            since.look(leadership);
            if since
                .stand_after
                .is_some_and(|after| clock::monotonic() < after)
            {
                continue;
            }
            let members = replica.members();
            let others = members.brokers.len() > 1;
            let patience = match self.first_is_on_its_way(replica, &members) {
                true => PATIENCE_WITH_THE_FIRST,
                false => PATIENCE,
            };
            if others && (lost || since.rounds > patience) {
                found.push(Orphan {
                    replica: replica.clone(),
                    voters: members.voters,
                    brokers: members.brokers,
                });
            }
        }
        found
    }

    /// Whether the group is new and another replica is to lead it first, whose broker is up: that
    /// one may still be opening it.
    fn first_is_on_its_way(&self, replica: &Replica, members: &Members) -> bool {
        let first = members.voters.iter().flatten().min();
        let broker = first.filter(|first| **first != replica.id());
        let broker = broker.and_then(|first| members.brokers.get(first));
        replica.is_new() && broker.is_some_and(|broker| self.liveness.is_up(*broker))
    }

    async fn settle(&self, orphans: Vec<Orphan>, leaderless: &mut BTreeMap<GroupId, Leaderless>) {
        let views = self.ask(&orphans).await;
        for orphan in orphans {
            let group = orphan.replica.group();
            let mine = own_view(&orphan.replica, self.liveness.is_leaving());
            let others: Vec<View> = views.get(&group).cloned().unwrap_or_default();
            let since = leaderless.entry(group).or_default();
            match since.waited.decide(&orphan.voters, &mine, &others) {
                Succession::TakeOver => {
                    since.stands();
                    orphan.replica.take_over().await;
                }
                Succession::Wait(why) => tracing::debug!(%group, ?why, "not standing"),
            }
        }
    }

    /// What the other voters know, by group; each broker is asked once.
    async fn ask(&self, orphans: &[Orphan]) -> BTreeMap<GroupId, Vec<View>> {
        let mut by_broker: BTreeMap<BrokerId, Vec<GroupId>> = BTreeMap::new();
        for orphan in orphans {
            for broker in orphan.brokers.values() {
                if *broker != self.peers.me().broker && self.liveness.answers(*broker) {
                    by_broker
                        .entry(*broker)
                        .or_default()
                        .push(orphan.replica.group());
                }
            }
        }
        let asked = by_broker
            .into_iter()
            .map(|(broker, groups)| self.confer(broker, groups));
        let mut views: BTreeMap<GroupId, Vec<View>> = BTreeMap::new();
        for (group, view) in join_all(asked).await.into_iter().flatten() {
            views.entry(group).or_default().push(view);
        }
        views
    }

    async fn confer(&self, broker: BrokerId, groups: Vec<GroupId>) -> Vec<(GroupId, View)> {
        let Some(link) = self.peers.link(broker) else {
            return Vec::new();
        };
        let hello = Some(self.peers.me().hello());
        let groups = groups.into_iter().map(GroupId::to_pb).collect();
        let mut calls = link.urgent_calls();
        let answer = calls.confer(ConferRequest { hello, groups });
        match peer::call(CONFER_LIMIT, answer).await {
            Ok(response) => response.views.iter().filter_map(decode_view).collect(),
            Err(error) => {
                tracing::debug!(%broker, %error, "a broker did not say what it knows");
                Vec::new()
            }
        }
    }
}

fn own_view(replica: &Replica, yields: bool) -> View {
    let known = replica.view();
    View {
        replica: replica.id(),
        last: known.last.map(|(term, index)| EntryId { term, index }),
        vote: VoteView {
            term: Term(known.vote.term),
            committed: known.vote.committed,
        },
        suspects_leader: true,
        yields,
        leads: false,
    }
}

fn decode_view(view: &GroupView) -> Option<(GroupId, View)> {
    let group = view.group.as_ref().and_then(GroupId::from_pb)?;
    let last = view.last_log_id.map(|id| EntryId {
        term: Term(id.term),
        index: LogIndex(id.index),
    });
    let vote = view.vote.map_or_else(VoteView::default, |vote| VoteView {
        term: Term(vote.term),
        committed: vote.committed,
    });
    let replica = ReplicaId(view.replica);
    Some((
        group,
        View {
            replica,
            last,
            vote,
            suspects_leader: view.suspects_leader,
            yields: view.yields,
            leads: view.leads,
        },
    ))
}
