//! Opening replicas: directory, log, votes, machine.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use highwater_proto::{BrokerId, ReplicaId};
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::entropy;
use crate::log::{Dir, HardKey, HardState, Log, LogOptions, OpenError, Owner, SyncDone, SyncError};
use crate::metrics::Metrics;
use crate::peer::Peers;
use crate::raft::{
    self, GroupId, OpenReplica, Replica, Replicated, durable_file, founding_entry, has_begun,
    unpurged, voted,
};
use crate::service::FaultKind;
use crate::tasks::Tasks;

/// Notes that a replica's log was begun: if its directory or the log is missing later, data is
/// missing.
const PLACED: u8 = 2;
const GROUPS_DIR: &str = "groups";

/// Where the replicas of this broker are kept.
#[derive(Debug)]
pub(super) struct Groups {
    pub(super) root: Arc<dyn Dir>,
    pub(super) hard_state: Arc<HardState>,
    pub(super) peers: Arc<Peers>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<Metrics>,
}

/// What the metadata says of a partition's log.
#[derive(Debug, Clone, Copy)]
pub(super) struct PartitionLog<'a> {
    pub(super) max_segment_bytes: u64,
    pub(super) segment_ms: Option<i64>,
    /// The replicas that the partition was founded with; all of them write the same first entry.
    pub(super) voters: &'a [(ReplicaId, BrokerId)],
}

/// Why a replica was not opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NotOpened {
    /// What it had on the disk is damaged; other replicas may have it.
    Damaged(String),
    /// Its history differs from that of its group.
    Diverged(String),
    /// Anything else.
    Failed(String),
}

impl From<String> for NotOpened {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
}

impl From<OpenError> for NotOpened {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Damaged(_) | OpenError::SuspiciousCut { .. } => {
                Self::Damaged(error.to_string())
            }
            OpenError::Io { .. } | OpenError::Unsupported { .. } | OpenError::Foreign { .. } => {
                Self::Failed(error.to_string())
            }
        }
    }
}

impl fmt::Display for NotOpened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(why) | Self::Failed(why) => f.write_str(why),
            Self::Diverged(why) => write!(
                f,
                "the replica stays closed, since its history differs from that of its group: {why}. \
                 Nothing of it is cleaned up; do not delete anything before the cause is known"
            ),
        }
    }
}

impl NotOpened {
    /// What, where, why.
    pub(super) fn why(&self) -> &str {
        match self {
            Self::Damaged(why) | Self::Diverged(why) | Self::Failed(why) => why,
        }
    }

    /// How it is out of its group.
    pub(super) fn kind(&self) -> FaultKind {
        match self {
            Self::Damaged(_) => FaultKind::Damaged,
            Self::Diverged(_) => FaultKind::Diverged,
            Self::Failed(_) => FaultKind::Stopped,
        }
    }
}

impl Groups {
    /// Opens the replica `id` of `group`, recovering what it holds.
    pub(super) async fn open(
        &self,
        group: GroupId,
        id: ReplicaId,
        partition: Option<PartitionLog<'_>>,
        machine: Box<dyn Replicated>,
        tasks: &Tasks,
    ) -> Result<Replica, NotOpened> {
        let key = placed_key(id);
        let placed = self.was_placed(id);
        let dir = self.directory(group, id, placed).await?;
        let options = self.options(group, id, partition);
        let opened = beside(&self.root, {
            let dir = Arc::clone(&dir);
            move || Ok(Log::open(dir, options))
        });
        let (mut log, recovered) = opened.await??;
        if let Some(why) = self.is_diverged(id, &log.reader()) {
            return Err(NotOpened::Diverged(why));
        }
        let begun = has_begun(&log, &self.hard_state, id);
        if let (Some(partition), false) = (partition, begun) {
            if placed {
                return Err(gone("what was in", &directory_name(group, id)).into());
            }
            found(&mut log, partition.voters).await?;
        }
        if !placed {
            // Only now: from here on a log without an entry is one that was lost.
            let (done, durable) = awaited();
            self.hard_state.put(key, Bytes::from_static(b"1"), done);
            synced(durable).await?;
        }
        tracing::debug!(%group, replica = %id, ?recovered, "the log is open");
        let reader = log.reader();
        let open = OpenReplica {
            group,
            id,
            log,
            dir,
            hard_state: Arc::clone(&self.hard_state),
            machine,
            peers: Arc::clone(&self.peers),
            clock: Arc::clone(&self.clock),
            metrics: Arc::clone(&self.metrics),
        };
        let opened = Replica::open(open, tasks).await;
        opened.map_err(|error| match (reader.damage(), error) {
            (Some(damage), _) => NotOpened::Damaged(damage.to_string()),
            (None, error @ raft::OpenError::StateLost(_)) => NotOpened::Damaged(error.to_string()),
            (None, error) => NotOpened::Failed(error.to_string()),
        })
    }

    /// How the log of a replica is to be kept, and what is known of it from elsewhere.
    pub(super) fn options(
        &self,
        group: GroupId,
        id: ReplicaId,
        partition: Option<PartitionLog<'_>>,
    ) -> LogOptions {
        let mut options = LogOptions::new(Owner {
            cluster: self.peers.me().cluster,
            group: group.topic_bytes(),
            partition: group.partition_number(),
            replica: id,
        });
        options.salt = entropy::random_u32();
        options.durable_file = durable_file(&self.hard_state, id);
        options.unpurged = unpurged(&self.hard_state, id);
        options.voted = voted(&self.hard_state, id);
        if let Some(partition) = partition {
            options.max_segment_bytes = partition.max_segment_bytes;
            options.first_segment_bytes =
                options.first_segment_bytes.min(partition.max_segment_bytes);
            options.segment_ms = partition.segment_ms;
        }
        options
    }

    /// The replica's directory. One that was made before and is gone is never made anew: that
    /// would forget what the replica has acknowledged.
    pub(super) async fn directory(
        &self,
        group: GroupId,
        id: ReplicaId,
        placed: bool,
    ) -> Result<Arc<dyn Dir>, String> {
        let name = directory_name(group, id);
        let root = Arc::clone(&self.root);
        beside(&self.root, move || {
            let groups = root.subdir(GROUPS_DIR).map_err(|error| error.to_string())?;
            let there = groups.list_subdirs().map_err(|error| error.to_string())?;
            if placed && !there.contains(&name) {
                return Err(gone("the directory", &name));
            }
            groups.subdir(&name).map_err(|error| error.to_string())
        })
        .await
    }

    /// Whether the replica's log was ever begun here.
    pub(super) fn was_placed(&self, id: ReplicaId) -> bool {
        self.hard_state.get(placed_key(id)).is_some()
    }

    /// Deletes the files of a replica that the metadata names as removed.
    pub(super) async fn delete(&self, group: GroupId, id: ReplicaId) -> Result<(), String> {
        let name = directory_name(group, id);
        let root = Arc::clone(&self.root);
        offloaded(&self.root, move || {
            let groups = root.subdir(GROUPS_DIR).map_err(|error| error.to_string())?;
            groups
                .remove_subdir(&name)
                .map_err(|error| error.to_string())
        })
        .await?;
        let (done, durable) = awaited();
        self.hard_state.remove_replica(id, done);
        synced(durable).await
    }
}

/// Writes the first entry of a new partition's log; it is durable when this returns.
async fn found(log: &mut Log, voters: &[(ReplicaId, BrokerId)]) -> Result<(), String> {
    let entry = founding_entry(voters.iter().copied())?;
    let (done, durable) = awaited();
    log.append([entry], done)
        .map_err(|error| error.to_string())?;
    synced(durable).await
}

fn placed_key(replica: ReplicaId) -> HardKey {
    HardKey {
        replica,
        slot: PLACED,
    }
}

fn gone(what: &str, name: &str) -> String {
    format!(
        "{what} {GROUPS_DIR}/{name} is gone, and with it what the replica has acknowledged; \
         restore it"
    )
}

/// A callback for a sync, and what receives its result.
pub(super) fn awaited() -> (SyncDone, oneshot::Receiver<Result<(), SyncError>>) {
    let (done, durable) = oneshot::channel();
    (Box::new(move |result| drop(done.send(result))), durable)
}

pub(super) async fn synced(
    durable: oneshot::Receiver<Result<(), SyncError>>,
) -> Result<(), String> {
    let durable = durable.await.map_err(|error| error.to_string())?;
    durable.map_err(|error| error.to_string())
}

fn directory_name(group: GroupId, id: ReplicaId) -> String {
    match group {
        GroupId::Metadata => format!("metadata.{id}"),
        GroupId::Partition(topic, partition) => format!("{topic}-{partition}.{id}"),
    }
}

/// Runs blocking file work on one of several I/O threads: logs are opened beside each other.
pub(super) async fn beside<T: Send + 'static>(
    dir: &Arc<dyn Dir>,
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    raft::beside(dir, work).await.map_err(ended)?
}

/// Runs blocking file work on the I/O thread for what nobody is in a hurry for.
pub(super) async fn offloaded<T: Send + 'static>(
    dir: &Arc<dyn Dir>,
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    raft::offloaded(dir, work).await.map_err(ended)?
}

/// Runs file work that may take minutes, like reading a whole log, beside everything else.
pub(super) async fn apart<T: Send + 'static>(
    dir: &Arc<dyn Dir>,
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    raft::apart(dir, work).await.map_err(ended)?
}

fn ended(error: std::io::Error) -> String {
    error.to_string()
}
