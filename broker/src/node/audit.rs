//! Comparing histories: at times every replica asks the others of its group for term and chain of
//! the last entry that it knew to be committed at the round before; of one that was just opened, as
//! soon as it knows of any. Equal chains prove equal logs up to there. A replica that most others contradict stops; nothing of it is cleaned up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use highwater_proto::pb::peer::{ChainAt, CompareChainsRequest};
use highwater_proto::{BrokerId, LogIndex, ReplicaId, Term};
use tokio::sync::mpsc;

use super::watching::Ended;
use crate::clock;
use crate::log::Head;
use crate::peer::{self, Peers};
use crate::raft::{GroupId, Replica, Replicas};
use crate::service::FaultKind;

/// How often histories are compared. A group at rest is compared once.
const EVERY: Duration = Duration::from_secs(5);
/// The same while there is a replica that nobody has compared since it was opened, for so many rounds:
/// its files may have changed while it was closed.
const SOON: Duration = Duration::from_millis(250);
const SOON_ROUNDS: u32 = 40;
/// How long another broker may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// The most groups in one question.
const GROUPS_AT_ONCE: usize = 10_000;

/// What compares histories.
pub(super) struct Audit {
    pub(super) replicas: Arc<Replicas>,
    pub(super) peers: Arc<Peers>,
    /// Where it tells of replicas that must stop.
    pub(super) ending: mpsc::UnboundedSender<Ended>,
    /// The same for the metadata's.
    pub(super) metadata: mpsc::UnboundedSender<Ended>,
}

/// How far a replica's history was compared.
#[derive(Debug)]
struct Progress {
    /// What was committed at the last round.
    committed: Option<LogIndex>,
    /// What all others agreed with.
    agreed: Option<LogIndex>,
    /// Rounds since it was opened without an answer; `None` after the first.
    new: Option<u32>,
}

/// A replica's history at one entry, and what the others say.
struct Question {
    replica: Replica,
    head: Head,
    others: usize,
    answers: Vec<(BrokerId, Term, u32)>,
}

/// What the answers mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Nobody contradicts.
    Agreed,
    /// Some do, and it is they who are wrong, or it cannot be told.
    Contradicted,
    /// This replica is wrong.
    Wrong,
}

/// More of them on the other side decide; alone against one, the leader is believed.
fn verdict(agree: usize, differ: usize, leads: bool) -> Verdict {
    match differ {
        0 => Verdict::Agreed,
        _ if differ > agree + 1 || (differ == agree + 1 && !leads) => Verdict::Wrong,
        _ => Verdict::Contradicted,
    }
}

/// A replica that nobody has compared yet.
const OPENED: Progress = Progress {
    committed: None,
    agreed: None,
    new: Some(0),
};

impl Progress {
    /// Counts a round of a replica that nobody has compared since it was opened, and says how many
    /// there were.
    fn waited(&mut self) -> Option<u32> {
        let rounds = self.new.as_mut()?;
        *rounds = rounds.saturating_add(1);
        Some(*rounds)
    }
}

impl Audit {
    /// Runs until the broker stops.
    pub(super) async fn run(self) {
        let mut known: BTreeMap<ReplicaId, Progress> = BTreeMap::new();
        let mut next_round = clock::monotonic();
        loop {
            tokio::time::sleep(SOON).await;
            let in_time = clock::monotonic() >= next_round;
            if in_time {
                next_round = clock::monotonic() + EVERY;
            }
            let replicas = self.replicas.all();
            let mut questions: BTreeMap<GroupId, Question> = BTreeMap::new();
            for replica in replicas.values() {
                let progress = known.entry(replica.id()).or_insert(OPENED);
                if !in_time && progress.waited().is_none_or(|rounds| rounds > SOON_ROUNDS) {
                    continue;
                }
                if let Some(question) = question(replica, progress) {
                    questions.insert(replica.group(), question);
                }
            }
            if known.len() > replicas.len() {
                known.retain(|id, _| replicas.values().any(|replica| replica.id() == *id));
            }
            self.ask(&mut questions).await;
            for question in questions.into_values() {
                if let Some(progress) = known.get_mut(&question.replica.id()) {
                    self.judge(&question, progress);
                }
            }
        }
    }

    async fn ask(&self, questions: &mut BTreeMap<GroupId, Question>) {
        let me = self.peers.me().broker;
        let mut by_broker: BTreeMap<BrokerId, Vec<ChainAt>> = BTreeMap::new();
        for (group, question) in questions.iter() {
            let brokers = question.replica.members().brokers;
            for broker in brokers.values().filter(|broker| **broker != me) {
                let asked = by_broker.entry(*broker).or_default();
                asked.push(ChainAt {
                    group: Some(group.to_pb()),
                    index: question.head.index.0,
                    ..ChainAt::default()
                });
            }
        }
        // One that does not answer holds up none of the others.
        let all = by_broker.into_iter().map(|(broker, entries)| async move {
            let mut answers = Vec::new();
            for entries in entries.chunks(GROUPS_AT_ONCE) {
                answers.extend(self.answers(broker, entries.to_vec()).await);
            }
            (broker, answers)
        });
        for (broker, answers) in join_all(all).await {
            for answer in answers {
                let group = answer.group.as_ref().and_then(GroupId::from_pb);
                let question = group.and_then(|group| questions.get_mut(&group));
                if let Some(question) = question.filter(|q| q.head.index.0 == answer.index) {
                    let said = (broker, Term(answer.term), answer.chain);
                    question.answers.push(said);
                }
            }
        }
    }

    async fn answers(&self, broker: BrokerId, entries: Vec<ChainAt>) -> Vec<ChainAt> {
        let Some(link) = self.peers.link(broker) else {
            return Vec::new();
        };
        let hello = Some(self.peers.me().hello());
        let request = CompareChainsRequest { hello, entries };
        let mut calls = link.calls();
        match peer::call(ANSWER_LIMIT, calls.compare_chains(request)).await {
            Ok(response) => response.entries,
            Err(error) => {
                tracing::debug!(%broker, %error, "a broker does not compare its history");
                Vec::new()
            }
        }
    }

    fn judge(&self, question: &Question, progress: &mut Progress) {
        let Question {
            replica,
            head,
            others,
            answers,
        } = question;
        let same =
            |(_, term, chain): &&(BrokerId, Term, u32)| *term == head.term && *chain == head.chain;
        let agree = answers.iter().filter(same).count();
        if !answers.is_empty() {
            progress.new = None;
        }
        // The word of one leader is enough for a partition, which goes on elsewhere; the broker goes on
        // without its metadata only if more contradict it.
        let leads = replica.leadership_now().mine || replica.group() == GroupId::Metadata;
        let verdict = verdict(agree, answers.len() - agree, leads);
        if verdict == Verdict::Agreed {
            if agree == *others {
                progress.agreed = Some(head.index);
            }
            return;
        }
        let group = replica.group();
        let contradicts = answers.iter().find(|answer| !same(answer));
        let why = contradicts.map(|(broker, term, chain)| {
            format!(
                "entry {} of term {} has chain {:08x} here, and chain {chain:08x} of term {term} \
                 on broker {broker}; both are committed",
                head.index, head.term, head.chain
            )
        });
        let why = why.unwrap_or_default();
        tracing::error!(%group, replica = %replica.id(), ?verdict, %why, "two replicas disagree");
        if verdict != Verdict::Wrong {
            return;
        }
        let ending = match group {
            GroupId::Metadata => &self.metadata,
            GroupId::Partition(..) => &self.ending,
        };
        drop(ending.send(Ended {
            group,
            replica: replica.id(),
            kind: FaultKind::Diverged,
            why,
        }));
    }
}

/// What to ask about a replica, if there is anything that was not compared yet.
/// Of two that differ it is the leader who decides, so there has to be one.
fn question(replica: &Replica, progress: &mut Progress) -> Option<Question> {
    replica.leadership_now().leader?;
    let committed = replica.committed_index();
    let before = std::mem::replace(&mut progress.committed, committed);
    let index = match progress.new {
        Some(_) => committed?,
        None => before?,
    };
    let others = replica.others();
    if others == 0 || progress.agreed >= Some(index) || index < replica.reader().first_index() {
        return None;
    }
    let head = replica.reader().head(index).ok()??;
    Some(Question {
        replica: replica.clone(),
        head,
        others,
        answers: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_side_with_more_replicas_is_believed_and_of_two_the_leader() {
        assert_eq!(verdict(2, 0, false), Verdict::Agreed);
        assert_eq!(verdict(0, 0, true), Verdict::Agreed);
        for leads in [false, true] {
            assert_eq!(verdict(0, 2, leads), Verdict::Wrong);
            assert_eq!(verdict(1, 1, leads), Verdict::Contradicted);
        }
        assert_eq!(verdict(0, 1, false), Verdict::Wrong);
        assert_eq!(verdict(0, 1, true), Verdict::Contradicted);
    }
}
