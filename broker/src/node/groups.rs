//! Opening replicas: directory, log, votes, machine.

use std::sync::Arc;

use bytes::Bytes;
use highwater_proto::ReplicaId;
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::entropy;
use crate::log::{Dir, HardKey, HardState, Log, LogOptions, Owner};
use crate::peer::Peers;
use crate::raft::{GroupId, OpenReplica, Replica, Replicated};
use crate::tasks::Tasks;

/// Notes that a replica's directory was made: if it is missing later, data is missing.
const PLACED: u8 = 2;
const GROUPS_DIR: &str = "groups";

/// Where the replicas of this broker are kept.
#[derive(Debug)]
pub(super) struct Groups {
    pub(super) root: Arc<dyn Dir>,
    pub(super) hard_state: Arc<HardState>,
    pub(super) peers: Arc<Peers>,
    pub(super) clock: Arc<dyn Clock>,
}

/// How the segments of a group are sized.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) max_segment_bytes: u64,
    pub(super) segment_ms: Option<i64>,
}

impl Groups {
    /// Opens the replica `id` of `group`, recovering what it holds.
    pub(super) async fn open(
        &self,
        group: GroupId,
        id: ReplicaId,
        sizes: Option<Sizes>,
        machine: Box<dyn Replicated>,
        tasks: &Tasks,
    ) -> Result<Replica, String> {
        let dir = self.directory(group, id).await?;
        let owner = Owner {
            cluster: self.peers.me().cluster,
            group: group.topic_bytes(),
            partition: group.partition_number(),
            replica: id,
        };
        let mut options = LogOptions::new(owner);
        options.salt = entropy::random_u32();
        if let Some(sizes) = sizes {
            options.max_segment_bytes = sizes.max_segment_bytes;
            options.segment_ms = sizes.segment_ms;
        }
        let (log, recovered) = offloaded(&self.root, {
            let dir = Arc::clone(&dir);
            move || Log::open(dir, options).map_err(|error| error.to_string())
        })
        .await?;
        tracing::debug!(%group, replica = %id, ?recovered, "the log is open");
        let open = OpenReplica {
            group,
            id,
            log,
            dir,
            hard_state: Arc::clone(&self.hard_state),
            machine,
            peers: Arc::clone(&self.peers),
            clock: Arc::clone(&self.clock),
        };
        Replica::open(open, tasks)
            .await
            .map_err(|error| error.to_string())
    }

    /// The replica's directory. One that was made before and is gone is never made anew: that
    /// would forget what the replica has acknowledged.
    async fn directory(&self, group: GroupId, id: ReplicaId) -> Result<Arc<dyn Dir>, String> {
        let name = directory_name(group, id);
        let key = HardKey {
            replica: id,
            slot: PLACED,
        };
        let placed = self.hard_state.get(key).is_some();
        let (found, dir) = offloaded(&self.root, {
            let (root, name) = (Arc::clone(&self.root), name.clone());
            move || -> Result<_, String> {
                let groups = root.subdir(GROUPS_DIR).map_err(|error| error.to_string())?;
                let there = groups.list_subdirs().map_err(|error| error.to_string())?;
                let found = there.contains(&name);
                if placed && !found {
                    return Ok((found, None));
                }
                let dir = groups.subdir(&name).map_err(|error| error.to_string())?;
                Ok((found, Some(dir)))
            }
        })
        .await?;
        let Some(dir) = dir else {
            return Err(format!(
                "the directory {GROUPS_DIR}/{name} is gone, and with it what the replica has \
                 acknowledged; restore it"
            ));
        };
        if !placed {
            tracing::debug!(%group, replica = %id, found, "a new replica");
            let (done, durable) = oneshot::channel();
            let noted = Box::new(move |result| drop(done.send(result)));
            self.hard_state.put(key, Bytes::from_static(b"1"), noted);
            let durable = durable.await.map_err(|error| error.to_string())?;
            durable.map_err(|error| error.to_string())?;
        }
        Ok(dir)
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
        let (done, durable) = oneshot::channel();
        let removed = Box::new(move |result| drop(done.send(result)));
        self.hard_state.remove_replica(id, removed);
        let durable = durable.await.map_err(|error| error.to_string())?;
        durable.map_err(|error| error.to_string())
    }
}

fn directory_name(group: GroupId, id: ReplicaId) -> String {
    match group {
        GroupId::Metadata => format!("metadata.{id}"),
        GroupId::Partition(topic, partition) => format!("{topic}-{partition}.{id}"),
    }
}

/// Runs blocking file work on an I/O thread.
pub(super) async fn offloaded<T: Send + 'static>(
    dir: &Arc<dyn Dir>,
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let (done, result) = oneshot::channel();
    dir.offload(Box::new(move || drop(done.send(work()))));
    result
        .await
        .unwrap_or_else(|_| Err("the I/O thread has ended".to_owned()))
}
