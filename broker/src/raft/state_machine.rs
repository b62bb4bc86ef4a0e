//! openraft's state machine over a replicated machine. It saves the machine's state wherever a new
//! segment begins, so that a restart applies again only what came after.

use std::io;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use highwater_proto::{LogIndex, Term};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{OptionalSend, Snapshot, SnapshotMeta};

use super::blocking::offloaded;
use super::floor::Floor;
use super::replicated::{Committed, Replicated};
use super::saved::{self, Saved};
use super::types::{Entry, LogId, ReplicaNode, Reply, StoredMembership, Types};
use crate::log::{LastFrame, LogReader};

/// How many entries are applied before what they changed is made visible and answered.
const PUBLISH_EVERY: usize = 256;

pub(super) type RaftSnapshot = openraft::type_config::alias::SnapshotOf<Types, Bytes>;
type Responder = openraft::storage::ApplyResponder<Types>;

/// openraft over our types and machine.
pub(super) type OpenRaft = openraft::Raft<Types, Machine>;

/// One replica's machine and where it stands in the log.
pub(crate) struct Machine {
    machine: Box<dyn Replicated>,
    last_applied: Option<LogId>,
    membership: StoredMembership,
    log_end: Option<LastFrame>,
    reader: LogReader,
    boundary: Option<LogIndex>,
    floor: Floor,
    snapshots: Snapshots,
}

/// What a snapshot of a machine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Snapshots {
    /// The state as of now: the entries before it are of no more use.
    OfNow,
    /// The state at the floor, which was made ready before: the entries behind it hold the records.
    AtFloor,
}

impl Machine {
    /// Restores the newest saved state that the log reaches; `machine` must be fresh.
    pub(crate) fn open(
        mut machine: Box<dyn Replicated>,
        reader: LogReader,
        floor: Floor,
        snapshots: Snapshots,
    ) -> io::Result<Self> {
        let mut best = floor.state();
        let dir = floor.dir().as_ref();
        for index in saved::indexes(dir)? {
            // An older state, or none, only means that more is applied again.
            let saved = match saved::load_at(dir, index) {
                Ok(Some(saved)) => saved,
                Ok(None) => continue,
                Err(error) => {
                    tracing::warn!(%error, index, "a saved state cannot be used");
                    continue;
                }
            };
            let newer = best
                .as_ref()
                .is_none_or(|best| saved.last_applied > best.last_applied);
            if newer && reaches(&reader, saved.last_applied)? {
                best = Some(saved);
                break;
            }
        }
        if let Some(best) = &best {
            restore(machine.as_mut(), best)?;
        }
        machine.publish();
        Ok(Self {
            machine,
            last_applied: best.as_ref().and_then(|best| best.last_applied),
            log_end: best.as_ref().and_then(|best| best.log_end),
            membership: best.map(|best| best.membership).unwrap_or_default(),
            reader,
            boundary: None,
            floor,
            snapshots,
        })
    }

    fn apply_one(&mut self, entry: &Entry) -> io::Result<Reply> {
        self.save_before(entry.log_id.index);
        let Some((head, body)) = &entry.frame else {
            return Err(io::Error::other(format!(
                "entry {} was not read from the log",
                entry.log_id
            )));
        };
        if let openraft::EntryPayload::Membership(membership) = &entry.payload {
            self.membership = StoredMembership::new(Some(entry.log_id), membership.clone());
        }
        let reply = self
            .machine
            .apply(&Committed { head, body })
            .map_err(io::Error::other)?;
        self.last_applied = Some(entry.log_id);
        self.log_end = Some(LastFrame::from(head));
        Ok(reply)
    }

    /// Saves the state when the entry about to be applied begins a segment. Only now is that known
    /// for sure: the entries before it may have been applied before the segment existed. The write
    /// runs on an I/O thread.
    fn save_before(&mut self, next: u64) {
        let Some(LogId { index, .. }) = self.last_applied else {
            return;
        };
        if self.boundary.is_none_or(|boundary| boundary.0 < next) {
            self.boundary = self.reader.next_boundary(LogIndex(index));
        }
        if self.boundary != Some(LogIndex(next)) {
            return;
        }
        self.floor.save(index, &self.saved());
    }

    fn saved(&self) -> Saved {
        Saved {
            last_applied: self.last_applied,
            membership: self.membership.clone(),
            machine: Bytes::from(self.machine.save()),
            log_end: self.log_end,
        }
    }

    fn publish(&mut self, answers: &mut Vec<(Option<Responder>, Reply)>) {
        self.machine.publish();
        for (responder, reply) in answers.drain(..) {
            if let Some(responder) = responder {
                responder.send(reply);
            }
        }
    }
}

fn restore(machine: &mut dyn Replicated, saved: &Saved) -> io::Result<()> {
    let index = LogIndex(saved.index().unwrap_or(0));
    let restored = machine.restore(&saved.machine, index);
    restored.map_err(io::Error::other)
}

/// True when the log still holds the entry that a state stands after.
fn reaches(reader: &LogReader, last_applied: Option<LogId>) -> io::Result<bool> {
    let Some(id) = last_applied else {
        return Ok(true);
    };
    if reader.last().is_none_or(|last| last.index.0 < id.index) {
        return Ok(false);
    }
    let head = reader.head(LogIndex(id.index)).map_err(io::Error::other)?;
    Ok(head.is_some_and(|head| head.term == Term(id.leader_id.term)))
}

/// The snapshot that holds a saved state as bytes.
pub(super) fn into_snapshot(saved: &Saved) -> RaftSnapshot {
    let meta = SnapshotMeta {
        last_log_id: saved.last_applied,
        last_membership: saved.membership.clone(),
    };
    Snapshot {
        meta,
        snapshot: saved.encode().into(),
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = Bytes;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.last_applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        let mut answers = Vec::new();
        while let Some(entry) = entries.next().await {
            let (entry, responder) = entry?;
            let reply = self.apply_one(&entry)?;
            answers.push((responder, reply));
            if answers.len() >= PUBLISH_EVERY {
                self.publish(&mut answers);
            }
        }
        self.publish(&mut answers);
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        let fresh = match self.snapshots {
            Snapshots::OfNow => Some(self.saved()),
            Snapshots::AtFloor => None,
        };
        SnapshotBuilder {
            fresh,
            floor: self.floor.clone(),
        }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta<super::types::CommittedLeaderId, u64, ReplicaNode>,
        snapshot: Bytes,
    ) -> Result<(), io::Error> {
        let saved = Saved::decode(&snapshot).map_err(io::Error::other)?;
        if saved.last_applied != meta.last_log_id {
            return Err(io::Error::other("the snapshot is not of the entry it says"));
        }
        // Durable first: from here on the log may lose what the state stands for.
        self.floor.keep(saved.clone())?;
        restore(self.machine.as_mut(), &saved)?;
        self.machine.publish();
        self.last_applied = saved.last_applied;
        self.log_end = saved.log_end;
        self.membership = saved.membership;
        self.boundary = None;
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<RaftSnapshot>, io::Error> {
        Ok(self.floor.state().as_ref().map(into_snapshot))
    }
}

/// Makes the state that a machine had when the builder was made the one at the floor, or gives the
/// one that is there.
pub(crate) struct SnapshotBuilder {
    fresh: Option<Saved>,
    floor: Floor,
}

impl RaftSnapshotBuilder<Types> for SnapshotBuilder {
    type SnapshotData = Bytes;

    async fn build_snapshot(&mut self) -> Result<RaftSnapshot, io::Error> {
        if let Some(fresh) = self.fresh.take() {
            let floor = self.floor.clone();
            offloaded(self.floor.dir(), move || floor.keep(fresh)).await??;
        }
        let state = self.floor.state();
        let state = state.ok_or_else(|| io::Error::other("no state was made ready"))?;
        Ok(into_snapshot(&state))
    }
}
