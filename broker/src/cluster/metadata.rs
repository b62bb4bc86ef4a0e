//! The cluster's metadata as a broker uses it: read from the local replica, changed through the
//! group's leader wherever that is.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use highwater_proto::pb::peer::{ProposeMetadataRequest, ReadMetadataRequest};
use highwater_proto::{LogIndex, Reason};
use tokio::sync::watch;

use super::command::Command;
use super::leaders::{Leader, Leaders};
use super::machine::Published;
use super::refusal::Refusal;
use super::reply::Reply;
use super::state::ClusterState;
use crate::clock::{self, Clock};
use crate::log::Purpose;
use crate::peer::{self, CallError, Peers};
use crate::raft::{self, GroupId, Proposal, ProposalKind, Replica};

/// How long one attempt at a proposal may take.
const ATTEMPT: Duration = Duration::from_secs(5);
/// How long to wait for a leader to be known before asking again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What is told of a change that is still on its way when time runs out.
const LATE: &str = "the metadata group did not commit it in time, and may do so later; a majority of \
                    the brokers that hold the metadata must answer";

/// The metadata of the cluster. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metadata {
    replica: Replica,
    published: watch::Receiver<Published>,
    leaders: Arc<Leaders>,
    peers: Arc<Peers>,
    clock: Arc<dyn Clock>,
}

/// What the local replica of the metadata group can answer to a proposal.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// Another broker leads the group, or nobody; nothing was proposed.
    #[error("this broker does not lead the metadata group")]
    NotLeader,
    /// The command may or may not take effect.
    #[error("whether the metadata changed is not known: {0}")]
    Unknown(String),
}

impl Metadata {
    /// The metadata, from the local replica and what it publishes.
    pub fn new(
        replica: Replica,
        published: watch::Receiver<Published>,
        leaders: Arc<Leaders>,
        peers: Arc<Peers>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            replica,
            published,
            leaders,
            peers,
            clock,
        }
    }

    /// The state as last applied here; it may be behind the leader's.
    pub fn state(&self) -> Arc<ClusterState> {
        Arc::clone(&self.published.borrow().state)
    }

    /// The state and every change of it.
    pub fn watch(&self) -> watch::Receiver<Published> {
        self.published.clone()
    }

    /// The local replica of the group.
    pub fn replica(&self) -> &Replica {
        &self.replica
    }

    /// Waits until the entry at `index` is applied here.
    pub async fn applied(&self, index: LogIndex) {
        let mut published = self.published.clone();
        drop(
            published
                .wait_for(|published| published.applied >= index)
                .await,
        );
    }

    /// How far the metadata goes, no older than the call, as the leader of the group.
    pub async fn read_here(&self) -> Result<LogIndex, LocalError> {
        if !self.replica.leadership_now().mine {
            return Err(LocalError::NotLeader);
        }
        let barrier = self.replica.read_barrier().await;
        barrier.map_err(|_| LocalError::NotLeader)?;
        Ok(self.published.borrow().applied)
    }

    /// Waits until everything that was done before the call is applied here. False when it gave up
    /// after `limit`, as without a leader: the metadata here may be behind.
    pub async fn catch_up(&self, limit: Duration) -> bool {
        let mut changes = self.leaders.changes();
        let caught_up = async {
            loop {
                match self.read_leader().await {
                    Ok(index) => return self.applied(index).await,
                    Err(error) => tracing::debug!(%error, "the metadata here may be behind"),
                }
                drop(tokio::time::timeout(LOOK_AGAIN, changes.changed()).await);
            }
        };
        tokio::time::timeout(limit, caught_up).await.is_ok()
    }

    async fn read_leader(&self) -> Result<LogIndex, LocalError> {
        let leader = self.leaders.leader(GroupId::Metadata);
        let leader = leader.ok_or(LocalError::NotLeader)?;
        unless_replaced(&self.leaders, leader, Box::pin(self.read_at(leader))).await
    }

    async fn read_at(&self, leader: Leader) -> Result<LogIndex, LocalError> {
        if leader.broker == self.peers.me().broker {
            return self.read_here().await;
        }
        let link = self.peers.link(leader.broker);
        let mut calls = link.ok_or(LocalError::NotLeader)?.calls();
        let hello = Some(self.peers.me().hello());
        let answer = calls.read_metadata(ReadMetadataRequest { hello });
        let response = peer::call(ATTEMPT, answer).await;
        let unknown = |error: CallError| LocalError::Unknown(error.to_string());
        Ok(LogIndex(response.map_err(unknown)?.index))
    }

    /// Proposes here, as the leader of the group. What is not committed in time stays unknown.
    pub async fn propose_here(&self, command: &Command) -> Result<(LogIndex, Reply), LocalError> {
        let leadership = self.replica.leadership_now();
        if !leadership.mine {
            return Err(LocalError::NotLeader);
        }
        let body = command.encode();
        let room = raft::make_room(self.replica.room(), &[body.len()], purpose(command)).await;
        let _held = match room {
            Ok(held) => held,
            Err(no_room) => {
                let refusal = Refusal::new(Reason::DiskFull, no_room.to_string());
                return Ok((LogIndex(0), Reply::Refused(refusal)));
            }
        };
        let proposal = Proposal {
            kind: ProposalKind::Command,
            body,
            append_time: self.clock.now(),
            line: raft::Line::default(),
        };
        let unknown = |error| match error {
            raft::ProposeError::Refused(_) => LocalError::NotLeader,
            other => LocalError::Unknown(other.to_string()),
        };
        let answered = self
            .replica
            .propose(leadership.term, proposal)
            .await
            .map_err(unknown)?;
        let answered = tokio::time::timeout(ATTEMPT, answered);
        let late = |_| LocalError::Unknown(format!("it was not committed within {ATTEMPT:?}"));
        match answered.await.map_err(late)?.map_err(unknown)? {
            raft::Reply::Command { index, bytes } => {
                let reply = Reply::decode(&bytes);
                Ok((
                    index,
                    reply.map_err(|e| LocalError::Unknown(e.to_string()))?,
                ))
            }
            other => Err(LocalError::Unknown(format!("the group answered {other}"))),
        }
    }

    /// Proposes `command` to the leader wherever it is, and waits until its effect is visible
    /// here. A command whose fate is not known is proposed again: a repetition changes nothing, or
    /// says so.
    pub async fn propose(&self, command: &Command, deadline: Duration) -> Result<Reply, Refusal> {
        let until = clock::monotonic() + deadline;
        let mut unsure: Option<String> = None;
        let mut changes = self.leaders.changes();
        loop {
            let attempt = tokio::time::timeout_at(until, self.attempt(command)).await;
            match attempt {
                Ok(Ok((index, reply))) => {
                    drop(tokio::time::timeout_at(until, self.applied(index)).await);
                    return match reply.accepted() {
                        Err(refusal) if unsure.is_some() && repeats(command, &refusal) => {
                            Ok(Reply::Done)
                        }
                        answered => answered,
                    };
                }
                Ok(Err(LocalError::NotLeader)) => {}
                Ok(Err(LocalError::Unknown(why))) => unsure = Some(why),
                Err(_) => {
                    unsure.get_or_insert_with(|| LATE.to_owned());
                }
            }
            if clock::monotonic() >= until {
                return Err(match unsure {
                    Some(why) => Refusal::new(Reason::TimedOut, why),
                    None => Refusal::new(
                        Reason::NotReady,
                        "the metadata group has no leader that can be reached; `highwater cluster \
                         brokers` shows which brokers are down",
                    ),
                });
            }
            drop(tokio::time::timeout(LOOK_AGAIN, changes.changed()).await);
        }
    }

    async fn attempt(&self, command: &Command) -> Result<(LogIndex, Reply), LocalError> {
        let leader = self
            .leaders
            .leader(GroupId::Metadata)
            .ok_or(LocalError::NotLeader)?;
        let proposed = Box::pin(self.propose_at(leader, command));
        unless_replaced(&self.leaders, leader, proposed).await
    }

    async fn propose_at(
        &self,
        leader: Leader,
        command: &Command,
    ) -> Result<(LogIndex, Reply), LocalError> {
        if leader.broker == self.peers.me().broker {
            return self.propose_here(command).await;
        }
        let link = self
            .peers
            .link(leader.broker)
            .ok_or(LocalError::NotLeader)?;
        let hello = Some(self.peers.me().hello());
        let request = ProposeMetadataRequest {
            hello,
            command: command.encode(),
        };
        let mut calls = link.calls();
        let response = match peer::call(ATTEMPT, calls.propose_metadata(request)).await {
            Ok(response) => response,
            Err(CallError::NotSent(_) | CallError::Refused(_)) => {
                return Err(LocalError::NotLeader);
            }
            Err(CallError::Unknown(why)) => return Err(LocalError::Unknown(why)),
        };
        let reply = Reply::decode(&response.reply);
        let reply = reply.map_err(|error| LocalError::Unknown(error.to_string()))?;
        Ok((LogIndex(response.index), reply))
    }
}

/// What the leader answers. One that stands still does not, but is replaced long before its time is
/// over: what was asked of it is unknown then, and is to be asked of the next one.
async fn unless_replaced<T>(
    leaders: &Leaders,
    leader: Leader,
    answer: impl Future<Output = Result<T, LocalError>>,
) -> Result<T, LocalError> {
    tokio::select! {
        biased;
        answer = answer => answer,
        () = leaders.replaced(GroupId::Metadata, leader) => {
            let why = format!("broker {} led the metadata group and does not any more", leader.broker);
            Err(LocalError::Unknown(why))
        }
    }
}

/// What a command may use of a full disk: whatever frees room or keeps brokers in the cluster may
/// use what is left for Raft.
fn purpose(command: &Command) -> Purpose {
    match command {
        Command::CreateTopic { .. }
        | Command::AlterTopic { .. }
        | Command::AllocateProducerIds { .. } => Purpose::Data,
        _ => Purpose::Raft,
    }
}

/// True when a repeated command is refused because its first proposal took effect.
fn repeats(command: &Command, refusal: &Refusal) -> bool {
    matches!(command, Command::DeleteTopic { .. }) && refusal.reason == Reason::TopicNotFound
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use highwater_proto::{BrokerId, ReplicaId, Term};

    use super::*;

    #[tokio::test]
    async fn a_leader_that_does_not_answer_is_waited_for_until_it_is_replaced() {
        let leaders = Leaders::new(BrokerId(1), 5);
        let metadata = GroupId::Metadata;
        leaders.announce(BrokerId(2), 1, [(metadata, ReplicaId(2), Term(4))]);
        let leader = leaders.leader(metadata).unwrap();
        let answered = unless_replaced(&leaders, leader, async { Ok(7) });
        assert!(matches!(answered.now_or_never(), Some(Ok(7))));

        let silence = std::future::pending::<Result<(), _>>();
        let mut asked = Box::pin(unless_replaced(&leaders, leader, silence));
        assert!(asked.as_mut().now_or_never().is_none());
        leaders.lost(BrokerId(2));
        let given_up = asked.now_or_never();
        assert!(matches!(given_up, Some(Err(LocalError::Unknown(_)))));
    }
}
