//! One replica of one group: our API over openraft.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use highwater_proto::{BrokerId, LogIndex, ReplicaId, Term};
use openraft::async_runtime::WatchReceiver;
use openraft::{ChangeMembers, Raft};
use tokio::sync::watch;
use tokio::time::Instant;

use super::GroupId;
use super::error::OpenError;
use super::floor::{Floor, settle};
use super::knowledge::{Leadership, leadership_of};
use super::log_store::LogStore;
use super::network::Network;
use super::replicated::Replicated;
use super::rooms::Rooms;
use super::settings::settings;
use super::state_machine::{Machine, OpenRaft, Snapshots};
use super::types::{ReplicaNode, members};
use super::watcher::Watcher;
use crate::clock::{Clock, monotonic};
use crate::log::{Dir, FileLimits, HardState, LastFrame, Log, LogReader, Room};
use crate::metrics::Metrics;
use crate::peer::Peers;

/// How long a stop waits for the core.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(5);

/// Resolves when the core of a replica that was stopped has ended.
pub type Ending = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What a replica is opened with.
pub struct OpenReplica {
    /// The group.
    pub group: GroupId,
    /// The replica.
    pub id: ReplicaId,
    /// Its recovered log.
    pub log: Log,
    /// Its directory, for saved states.
    pub dir: Arc<dyn Dir>,
    /// The votes of all replicas of this broker.
    pub hard_state: Arc<HardState>,
    /// A fresh machine.
    pub machine: Box<dyn Replicated>,
    /// The other brokers.
    pub peers: Arc<Peers>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Where it measures.
    pub metrics: Arc<Metrics>,
}

impl std::fmt::Debug for OpenReplica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenReplica")
            .field("group", &self.group)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// A replica of a group. Cheap to clone.
#[derive(Clone)]
pub struct Replica {
    group: GroupId,
    id: ReplicaId,
    raft: OpenRaft,
    pub(super) reader: LogReader,
    room: Room,
    pub(super) floor: Floor,
    pub(super) limits: Arc<FileLimits>,
    rolls: watch::Receiver<u32>,
    leadership: watch::Receiver<Leadership>,
    ended: watch::Receiver<Option<String>>,
    pass_leases: Arc<AtomicBool>,
    // guards: the term and until when its leader sends no heartbeats; held for a look or a change.
    silent: Arc<Mutex<Option<(Term, Instant)>>>,
    sync_failed: Arc<OnceLock<String>>,
    pub(super) rooms: Rooms,
    pub(super) peers: Arc<Peers>,
    diverged: Arc<OnceLock<String>>,
}

impl std::fmt::Debug for Replica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replica")
            .field("group", &self.group)
            .field("id", &self.id)
            .finish()
    }
}

impl Replica {
    /// Starts the replica on its recovered log. `tasks` runs what keeps [`Self::leadership`] true.
    pub async fn open(open: OpenReplica, tasks: &crate::tasks::Tasks) -> Result<Self, OpenError> {
        let OpenReplica {
            group,
            id,
            log,
            dir,
            hard_state,
            machine,
            peers,
            clock,
            metrics,
        } = open;
        let (reader, limits, room) = (log.reader(), log.limits(), log.room());
        let (log, floor) = settle(log, &dir, &hard_state, id).await?;
        let store = LogStore::new(log, hard_state, id, clock, floor.clone())?;
        check_vote(&store)?;
        let (sync_failed, rolls) = (store.sync_failed(), store.rolls());
        let diverged = store.diverged();
        let snapshots = match group {
            GroupId::Metadata => Snapshots::OfNow,
            GroupId::Partition(..) => Snapshots::AtFloor,
        };
        let machine = Machine::open(machine, reader.clone(), floor.clone(), snapshots)?;
        let (pass_leases, rooms) = (Arc::<AtomicBool>::default(), Rooms::default());
        let network = Network {
            group,
            replica: id,
            peers: Arc::clone(&peers),
            rooms: rooms.clone(),
            acknowledged: Default::default(),
            pass_leases: Arc::clone(&pass_leases),
            metrics,
        };
        let raft = Raft::new(id.0, settings(group), network, store, machine)
            .await
            .map_err(|e| OpenError::Raft(e.to_string()))?;
        let (tx, leadership) = watch::channel(leadership_of(&raft.metrics().borrow_watched()));
        let (ending, ended) = watch::channel(None);
        let watcher = Watcher {
            raft: raft.clone(),
            shares_heartbeats: matches!(group, GroupId::Partition(..)),
            leadership: tx,
            ended: ending,
        };
        if watcher.shares_heartbeats {
            raft.runtime_config().heartbeat(false);
        }
        tasks.spawn(watcher.run());
        let replica = Self {
            group,
            id,
            raft,
            reader,
            room,
            floor,
            limits,
            rolls,
            leadership,
            ended,
            pass_leases,
            silent: Arc::default(),
            sync_failed,
            rooms,
            peers,
            diverged,
        };
        replica.lead_if_alone().await;
        Ok(replica)
    }

    /// A group with one member needs no timers and has nobody to ask. The core is asked for the
    /// members: its metrics are empty until it has gone round once.
    async fn lead_if_alone(&self) {
        let id = self.id.0;
        let alone = self.raft.with_raft_state(move |state| {
            let members = state.membership_state.effective().membership();
            members.nodes().all(|(member, _)| *member == id) && members.get_node(&id).is_some()
        });
        if alone.await.unwrap_or(false) {
            self.raft.runtime_config().tick(false);
            drop(self.raft.trigger().elect(false).await);
        }
    }

    /// The group.
    pub fn group(&self) -> GroupId {
        self.group
    }

    /// The replica.
    pub fn id(&self) -> ReplicaId {
        self.id
    }

    /// Reads the replica's log.
    pub fn reader(&self) -> &LogReader {
        &self.reader
    }

    /// The room in the replica's log.
    pub fn room(&self) -> &Room {
        &self.room
    }

    /// Begins a group whose log has no founding entry with these voters. Only one replica of a group
    /// may ever do so, on an empty log; a group that has begun is left as it is.
    pub async fn initialize(
        &self,
        voters: impl IntoIterator<Item = (ReplicaId, BrokerId)>,
    ) -> Result<(), OpenError> {
        if self
            .raft
            .is_initialized()
            .await
            .map_err(|e| OpenError::Raft(e.to_string()))?
        {
            return Ok(());
        }
        let begun = self.raft.initialize(members(voters)).await;
        begun.map_err(|e| OpenError::Raft(e.to_string()))?;
        self.lead_if_alone().await;
        Ok(())
    }

    /// Stands for election if nothing was ever decided in the group, as far as this replica knows:
    /// one replica of a new group does so, that the others need not find out that nobody leads.
    pub async fn lead_if_new(&self) {
        if self.is_new() {
            drop(self.raft.trigger().elect(true).await);
        }
    }

    /// True while the log holds no more than the founding entry.
    pub fn is_new(&self) -> bool {
        let founding = |last: &LastFrame| last.index == LogIndex(0);
        self.reader.last().as_ref().is_some_and(founding)
    }

    /// The number of the newest segment file, and every change of it.
    pub fn rolls(&self) -> watch::Receiver<u32> {
        self.rolls.clone()
    }

    /// Who leads, and every change of it.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    /// Who leads now. Takes part in no count of receivers, as what is asked of every replica again and
    /// again should not.
    pub fn leadership_now(&self) -> Leadership {
        *self.leadership.borrow()
    }

    /// How a sync of this replica's log or vote has failed, if one has.
    pub fn sync_failed(&self) -> Option<&str> {
        self.sync_failed.get().map(String::as_str)
    }

    /// How the leader's history differs from the one here, if that is why the core ended.
    pub fn diverged(&self) -> Option<&str> {
        self.diverged.get().map(String::as_str)
    }

    /// Why the replica's core has ended, if it has.
    pub fn stopped(&self) -> Option<String> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics
            .running_state
            .as_ref()
            .err()
            .map(ToString::to_string)
    }

    /// Resolves with the reason when the replica's core ends.
    pub async fn ended(&self) -> String {
        let mut ended = self.ended.clone();
        let why = ended.wait_for(Option::is_some).await;
        let why = why.ok().and_then(|why| why.clone());
        why.unwrap_or_else(|| "the core has ended".to_owned())
    }

    /// Has the others told that this replica still leads. Nothing is sent when the core is too busy
    /// to take note.
    pub(super) fn heartbeat(&self) {
        drop(self.raft.trigger().heartbeat().now_or_never());
    }

    /// Sends no heartbeats as the leader of `term` before `until`: whoever can be elected is to be.
    pub fn be_silent(&self, term: Term, until: Instant) {
        let mut silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        *silent = Some((term, until));
    }

    /// Whether this replica leads and sends heartbeats.
    pub(crate) fn is_heard(&self) -> bool {
        let leadership = *self.leadership.borrow();
        let silent = *self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        let is_silent =
            silent.is_some_and(|(term, until)| term == leadership.term && monotonic() < until);
        leadership.mine && !is_silent
    }

    /// Stands for election past the leases that the voters gave to a leader which is known to be
    /// gone. Only for a replica that a majority of the voters has told so; Raft's votes still
    /// decide.
    pub async fn take_over(&self) {
        self.pass_leases.store(true, Ordering::Relaxed);
        tracing::info!(group = %self.group, replica = %self.id, "standing for election");
        drop(self.raft.trigger().elect(false).await);
    }

    /// From now on elections wait for leases again.
    pub fn respect_leases(&self) {
        self.pass_leases.store(false, Ordering::Relaxed);
    }

    /// Adds `replica` without a vote, so that it learns the log. Only the leader can.
    pub async fn add_learner(&self, replica: ReplicaId, broker: BrokerId) -> Result<(), String> {
        self.raft.runtime_config().tick(true);
        let added = self
            .raft
            .add_learner(replica.0, ReplicaNode { broker }, false)
            .await;
        added.map(drop).map_err(|e| e.to_string())
    }

    /// Gives votes to learners. Only the leader can.
    pub async fn add_voters(
        &self,
        replicas: impl IntoIterator<Item = ReplicaId>,
    ) -> Result<(), String> {
        let ids = replicas.into_iter().map(|replica| replica.0).collect();
        let changed = self
            .raft
            .change_membership(ChangeMembers::AddVoterIds(ids), false)
            .await;
        changed.map(drop).map_err(|e| e.to_string())
    }

    /// Stops the replica; what is proposed and not committed stays unknown. A core that hangs, in a call
    /// to the disk for example, is not waited for longer than 5 s: this gives back what ends with it,
    /// and before that nobody else may have its log.
    pub async fn shutdown(&self) -> Option<Ending> {
        self.shutdown_within(SHUTDOWN_LIMIT).await
    }

    pub(super) async fn shutdown_within(&self, limit: Duration) -> Option<Ending> {
        let raft = self.raft.clone();
        // One future from beginning to end: whoever asks a second time does not wait for the core.
        let mut ending: Ending = Box::pin(async move { drop(raft.shutdown().await) });
        let ended = tokio::time::timeout(limit, &mut ending).await;
        ended.is_err().then(|| {
            tracing::warn!(group = %self.group, "the group did not stop within {limit:?}");
            ending
        })
    }

    pub(super) fn raft(&self) -> &OpenRaft {
        &self.raft
    }
}

/// An entry of a term is written only after the vote of that term is durable.
fn check_vote(store: &LogStore) -> Result<(), OpenError> {
    let log = store.last_log_id().map_or(0, |id| id.leader_id.term);
    let vote = store.vote().map_or(0, |vote| vote.leader_id.term);
    if log > vote {
        Err(OpenError::VoteLost { log, vote })
    } else {
        Ok(())
    }
}
