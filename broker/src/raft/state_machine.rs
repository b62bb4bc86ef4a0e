//! openraft's state machine over a replicated machine. It saves the machine's state wherever a new
//! segment begins, so that a restart applies again only what came after.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use highwater_proto::{LogIndex, Term};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{OptionalSend, Snapshot, SnapshotMeta};

use super::replicated::{Committed, Replicated};
use super::types::{Entry, LogId, ReplicaNode, Reply, StoredMembership, Types};
use super::wire::Saved;
use crate::log::small_file::{read_file, write_file};
use crate::log::{Dir, LogReader};

/// How many entries are applied before what they changed is made visible and answered.
const PUBLISH_EVERY: usize = 256;

const STATE_PREFIX: &str = "state-";
const SNAPSHOT_FILE: &str = "snapshot";
/// States kept: the newest may stand after entries that a power loss took from the log's tail.
const STATES_KEPT: usize = 2;

type RaftSnapshot = openraft::type_config::alias::SnapshotOf<Types, Bytes>;
type Responder = openraft::storage::ApplyResponder<Types>;

/// One replica's machine and where it stands in the log.
pub(crate) struct Machine {
    machine: Box<dyn Replicated>,
    last_applied: Option<LogId>,
    membership: StoredMembership,
    reader: LogReader,
    dir: Arc<dyn Dir>,
    boundary: Option<LogIndex>,
    snapshot: CurrentSnapshot,
}

// guards: the last snapshot taken or received; held for a copy only.
type CurrentSnapshot = Arc<Mutex<Option<RaftSnapshot>>>;

impl Machine {
    /// Restores the newest saved state that the log reaches; `machine` must be fresh.
    pub(crate) fn open(
        mut machine: Box<dyn Replicated>,
        reader: LogReader,
        dir: Arc<dyn Dir>,
    ) -> io::Result<Self> {
        let snapshot = load(dir.as_ref(), SNAPSHOT_FILE)?;
        let mut best = snapshot
            .as_ref()
            .map(|s| (s.last_applied, s.membership.clone(), s.machine.clone()));
        for name in state_files(dir.as_ref())? {
            // An older state, or none, only means that more is applied again.
            let saved = match load(dir.as_ref(), &name) {
                Ok(Some(saved)) => saved,
                Ok(None) => continue,
                Err(error) => {
                    tracing::warn!(%error, name, "a saved state cannot be used");
                    continue;
                }
            };
            let newer = best
                .as_ref()
                .is_none_or(|(last, ..)| saved.last_applied > *last);
            if newer && reaches(&reader, saved.last_applied)? {
                best = Some((saved.last_applied, saved.membership, saved.machine));
                break;
            }
        }
        let (last_applied, membership) = match best {
            Some((last_applied, membership, state)) => {
                machine.restore(&state).map_err(io::Error::other)?;
                (last_applied, membership)
            }
            None => (None, StoredMembership::default()),
        };
        machine.publish();
        let snapshot = Arc::new(Mutex::new(snapshot.map(into_snapshot)));
        Ok(Self {
            machine,
            last_applied,
            membership,
            reader,
            dir,
            boundary: None,
            snapshot,
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
        let saved = self.saved().encode();
        let dir = Arc::clone(&self.dir);
        self.dir.offload(Box::new(move || {
            if let Err(error) = save_state(dir.as_ref(), index, &saved) {
                tracing::warn!(%error, index, "the state was not saved; a restart replays more");
            }
        }));
    }

    fn saved(&self) -> Saved {
        Saved {
            last_applied: self.last_applied,
            membership: self.membership.clone(),
            machine: Bytes::from(self.machine.save()),
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

/// The names of the saved states, the newest first.
fn state_files(dir: &dyn Dir) -> io::Result<Vec<String>> {
    let mut names: Vec<_> = dir.list()?;
    names.retain(|name| name.starts_with(STATE_PREFIX) && !name.ends_with(".tmp"));
    names.sort_unstable_by(|a, b| b.cmp(a));
    Ok(names)
}

fn save_state(dir: &dyn Dir, index: u64, saved: &[u8]) -> io::Result<()> {
    write_file(dir, &format!("{STATE_PREFIX}{index:020}"), saved).map_err(io::Error::other)?;
    for old in state_files(dir)?.into_iter().skip(STATES_KEPT) {
        dir.remove(&old)?;
    }
    Ok(())
}

fn load(dir: &dyn Dir, name: &str) -> io::Result<Option<Saved>> {
    let Some(bytes) = read_file(dir, name).map_err(io::Error::other)? else {
        return Ok(None);
    };
    Saved::decode(&bytes).map(Some).map_err(io::Error::other)
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

fn into_snapshot(saved: Saved) -> RaftSnapshot {
    let meta = SnapshotMeta {
        last_log_id: saved.last_applied,
        last_membership: saved.membership,
    };
    Snapshot {
        meta,
        snapshot: saved.machine,
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
        SnapshotBuilder {
            saved: self.saved(),
            dir: Arc::clone(&self.dir),
            current: Arc::clone(&self.snapshot),
        }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta<super::types::CommittedLeaderId, u64, ReplicaNode>,
        snapshot: Bytes,
    ) -> Result<(), io::Error> {
        self.machine.restore(&snapshot).map_err(io::Error::other)?;
        self.machine.publish();
        self.last_applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        keep_snapshot(self.dir.as_ref(), &self.snapshot, self.saved())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<RaftSnapshot>, io::Error> {
        Ok(self
            .snapshot
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone())
    }
}

/// Writes down the state that a machine had when the builder was made.
pub(crate) struct SnapshotBuilder {
    saved: Saved,
    dir: Arc<dyn Dir>,
    current: CurrentSnapshot,
}

impl RaftSnapshotBuilder<Types> for SnapshotBuilder {
    type SnapshotData = Bytes;

    async fn build_snapshot(&mut self) -> Result<RaftSnapshot, io::Error> {
        let saved = self.saved.clone();
        keep_snapshot(self.dir.as_ref(), &self.current, saved.clone())?;
        Ok(into_snapshot(saved))
    }
}

fn keep_snapshot(dir: &dyn Dir, current: &CurrentSnapshot, saved: Saved) -> io::Result<()> {
    write_file(dir, SNAPSHOT_FILE, &saved.encode()).map_err(io::Error::other)?;
    *current.lock().unwrap_or_else(PoisonError::into_inner) = Some(into_snapshot(saved));
    Ok(())
}
