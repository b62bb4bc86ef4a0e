//! A snapshot on its way from a leader to a follower, in parts. It holds no records, so it is small;
//! the follower takes it up as a whole or not at all.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use highwater_proto::ReplicaId;
use highwater_proto::pb::peer::{Hello, SendSnapshotRequest, SendSnapshotResponse};

use super::saved::Saved;
use super::state_machine::into_snapshot;
use super::types::Vote;
use super::{GroupId, Replica, Replicas, wire};

/// How long one transfer may take.
pub(super) const LIMIT: Duration = Duration::from_secs(60);
/// Bytes of one part.
const PART: usize = 1 << 20;
/// No snapshot is larger: the metadata of all topics, or the producers of a partition.
const MOST: u64 = 256 << 20;

/// The parts of a snapshot for a replica.
pub(super) fn parts(
    hello: Hello,
    (group, to): (GroupId, ReplicaId),
    vote: &Vote,
    snapshot: Bytes,
) -> impl Iterator<Item = SendSnapshotRequest> + Send + 'static {
    let first = SendSnapshotRequest {
        hello: Some(hello),
        group: Some(group.to_pb()),
        to_replica: to.0,
        vote: Some(wire::encode_vote(vote)),
        total_bytes: snapshot.len() as u64,
        data: Bytes::new(),
    };
    let starts = (0..snapshot.len()).step_by(PART);
    let part = move |start: usize| SendSnapshotRequest {
        data: snapshot.slice(start..snapshot.len().min(start + PART)),
        ..SendSnapshotRequest::default()
    };
    std::iter::once(first).chain(starts.map(part))
}

/// Why a snapshot is not taken up. Nothing was changed, unless the replica has stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the snapshot is not taken up: {0}")]
pub struct TransferError(String);

impl TransferError {
    fn new(why: impl std::fmt::Display) -> Self {
        Self(why.to_string())
    }
}

/// A snapshot that comes in.
#[derive(Debug)]
pub struct Incoming {
    replica: Replica,
    vote: Vote,
    total: u64,
    data: BytesMut,
}

impl Incoming {
    /// Begins with the first part.
    pub fn begin(replicas: &Replicas, first: SendSnapshotRequest) -> Result<Self, TransferError> {
        let group = first.group.as_ref().and_then(GroupId::from_pb);
        let group = group.ok_or_else(|| TransferError::new("it names no group"))?;
        let to = ReplicaId(first.to_replica);
        let replica = replicas.get(group).filter(|replica| replica.id() == to);
        let missing = || TransferError::new(format!("replica {to} of {group} is not here"));
        let replica = replica.ok_or_else(missing)?;
        if first.total_bytes > MOST {
            let (total, most) = (first.total_bytes, MOST);
            return Err(TransferError::new(format!(
                "it has {total} bytes, more than the {most} that any may have"
            )));
        }
        let mut incoming = Self {
            replica,
            vote: wire::decode_vote(first.vote).map_err(TransferError::new)?,
            total: first.total_bytes,
            data: BytesMut::new(),
        };
        incoming.push(&first.data)?;
        Ok(incoming)
    }

    /// Takes the next bytes.
    pub fn push(&mut self, data: &[u8]) -> Result<(), TransferError> {
        if (self.data.len() + data.len()) as u64 > self.total {
            return Err(TransferError::new("it is longer than it said"));
        }
        self.data.extend_from_slice(data);
        Ok(())
    }

    /// Hands the whole to the replica, and answers when it is installed.
    pub async fn install(self) -> Result<SendSnapshotResponse, TransferError> {
        if self.data.len() as u64 != self.total {
            return Err(TransferError::new("it ended early"));
        }
        let saved = Saved::decode(&self.data).map_err(TransferError::new)?;
        let (Some(id), Some(_)) = (saved.last_applied, saved.log_end) else {
            return Err(TransferError::new("it does not say where the log goes on"));
        };
        if id.leader_id.term > self.vote.leader_id.term {
            return Err(TransferError::new("it is of a later term than its leader"));
        }
        let committed = self.replica.committed();
        if committed.is_some_and(|here| here.index >= id.index && here < id) {
            return Err(TransferError::new(
                "another entry is committed here in place of its last one",
            ));
        }
        tracing::info!(group = %self.replica.group(), entry = %id, "taking up a snapshot");
        let snapshot = into_snapshot(&saved);
        let raft = self.replica.raft();
        let installed = raft.install_full_snapshot(self.vote, snapshot).await;
        let response = installed.map_err(TransferError::new)?;
        let vote = Some(wire::encode_vote(&response.vote));
        Ok(SendSnapshotResponse { vote })
    }
}
