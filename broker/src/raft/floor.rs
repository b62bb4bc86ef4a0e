//! Raft's floor: the first entry that a replica still has, and the state that stands before it. The
//! state holds no records; a follower that needs entries from before the floor begins with it.
//!
//! The state is durable before the purge is noted, and the purge is noted before anything of the log
//! is removed. So a crash between any two steps leaves a log that reaches down to a noted floor, or
//! a state whose log is still to be made to fit: [`settle`] does that at the next start.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use highwater_proto::{LogIndex, ReplicaId};
use tokio::sync::watch;

use super::blocking::offloaded;
use super::error::OpenError;
use super::lost_state::intact;
use super::noted::{note_purged, purged};
use super::saved::{self, Saved};
use super::types::LogId;
use crate::log::{Dir, HardState, LastFrame, Log};

/// The file with the state.
pub(super) const FILE: &str = "snapshot";

/// The state that stands before the floor of one replica's log. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Floor {
    dir: Arc<dyn Dir>,
    // guards: the state; held for a copy only.
    state: Arc<Mutex<Option<Saved>>>,
    // guards: the file; held while it is written, by I/O threads and by the machine, and around
    // `state`, never inside.
    writing: Arc<Mutex<()>>,
    /// How many states are being saved.
    saving: Arc<watch::Sender<usize>>,
}

impl Floor {
    /// Reads the state that the replica in `dir` has, if any. `ErrorKind::InvalidData`: it is damaged.
    pub(crate) fn load(dir: Arc<dyn Dir>) -> io::Result<Self> {
        let state = saved::load(dir.as_ref(), FILE)?;
        Ok(Self::with(dir, state))
    }

    /// The same where another state is about to take the place of one that is damaged: none.
    pub(super) fn load_beyond_damage(dir: Arc<dyn Dir>) -> io::Result<Self> {
        let state = match saved::load(dir.as_ref(), FILE) {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => None,
            loaded => loaded?,
        };
        Ok(Self::with(dir, state))
    }

    fn with(dir: Arc<dyn Dir>, state: Option<Saved>) -> Self {
        Self {
            dir,
            state: Arc::new(Mutex::new(state)),
            writing: Arc::default(),
            saving: Arc::new(watch::Sender::new(0)),
        }
    }

    /// The state.
    pub(crate) fn state(&self) -> Option<Saved> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.clone()
    }

    /// The index that the state stands after.
    pub(crate) fn index(&self) -> Option<u64> {
        self.state().and_then(|state| state.index())
    }

    /// Replaces the state by a later one, durably; a floor never moves back. Older states that
    /// nothing needs any more are removed.
    pub(crate) fn keep(&self, state: Saved) -> io::Result<()> {
        let write = |state: &Saved| saved::write(self.dir.as_ref(), FILE, &state.encode());
        self.replace(state, write)
    }

    /// The same with a state that was saved in a file of its own, which is given the floor's name:
    /// a full disk must not keep a log from being purged.
    pub(crate) fn adopt(&self, state: Saved) -> io::Result<()> {
        let rename = |state: &Saved| match state.index() {
            Some(index) => saved::rename(self.dir.as_ref(), index, FILE),
            None => Ok(()),
        };
        self.replace(state, rename)
    }

    fn replace(
        &self,
        state: Saved,
        write: impl FnOnce(&Saved) -> io::Result<()>,
    ) -> io::Result<()> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.index() > state.index() {
            return Ok(());
        }
        write(&state)?;
        let index = state.index();
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = Some(state);
        match index {
            Some(index) => saved::forget_below(self.dir.as_ref(), index),
            None => Ok(()),
        }
    }

    /// Saves a state in a file of its own, in the background: later the floor may rise to it.
    pub(crate) fn save(&self, index: u64, state: &Saved) {
        let encoded = state.encode();
        self.saving.send_modify(|saving| *saving += 1);
        let (dir, saving) = (Arc::clone(&self.dir), Arc::clone(&self.saving));
        self.dir.offload(Box::new(move || {
            if let Err(error) = saved::save(dir.as_ref(), index, &encoded) {
                tracing::warn!(%error, index, "the state was not saved; a restart replays more");
            }
            saving.send_modify(|saving| *saving -= 1);
        }));
    }

    /// How many states are being saved, and every change of that.
    pub(crate) fn saving(&self) -> watch::Receiver<usize> {
        self.saving.subscribe()
    }

    /// The directory of the replica.
    pub(crate) fn dir(&self) -> &Arc<dyn Dir> {
        &self.dir
    }

    /// Where a log goes on after the entry `id`, if the state stands after it.
    pub(crate) fn log_end(&self, id: &LogId) -> Option<LastFrame> {
        let state = self.state()?;
        state.log_end.filter(|_| state.last_applied == Some(*id))
    }
}

/// What has to be done to a log so that it fits to its floor.
#[derive(Debug, PartialEq, Eq)]
enum Remedy {
    /// Nothing: nothing was purged, or all of it is gone.
    None,
    /// A purge was noted, and what it removes may still be there.
    Purge(LogIndex),
    /// A state was received, and the log is still the one before it.
    Reset(LastFrame),
}

/// Brings the log of a replica in line with its floor, as a crash may have left them.
pub(crate) async fn settle(
    log: Log,
    dir: &Arc<dyn Dir>,
    hard_state: &Arc<HardState>,
    replica: ReplicaId,
) -> Result<(Log, Floor), OpenError> {
    let home = Arc::clone(dir);
    let floor = offloaded(dir, move || Floor::load(home)).await?;
    let noted = purged(hard_state, replica)?;
    let floor = intact(floor, noted.as_ref())?;
    let state = floor.state();
    let remedy = remedy(&log, noted, state.as_ref()).map_err(OpenError::Floor)?;
    tracing::debug!(%replica, ?remedy, "the floor of the log");
    if let (Remedy::Reset(_), Some(id)) = (&remedy, state.and_then(|state| state.last_applied)) {
        let noted = note_purged(hard_state, replica, &id).await?;
        noted.map_err(io::Error::other)?;
    }
    let log = offloaded(dir, move || apply(log, &remedy)).await?;
    Ok((log?, floor))
}

fn apply(mut log: Log, remedy: &Remedy) -> io::Result<Log> {
    match remedy {
        Remedy::None => Ok(()),
        Remedy::Purge(through) => log.purge(*through),
        Remedy::Reset(last) => log.reset(*last),
    }
    .map_err(io::Error::other)?;
    Ok(log)
}

/// What is to be done to `log`, whose purge is noted up to `noted` and before which `state` stands.
fn remedy(log: &Log, noted: Option<LogId>, state: Option<&Saved>) -> Result<Remedy, String> {
    let first = log.first_index().0;
    let noted = noted.map(|id| id.index);
    let floor = state.and_then(Saved::index);
    let end = state.and_then(|state| state.log_end);
    if let Some(floor) = floor
        && !reaches(log, floor, end)?
    {
        let no_end = || format!("the state after entry {floor} does not say how its log goes on");
        return end.map(Remedy::Reset).ok_or_else(no_end);
    }
    match noted {
        Some(noted) if first > noted + 1 => Err(front_missing(first, noted + 1)),
        None if first > 0 => Err(front_missing(first, 0)),
        Some(noted) if first <= noted => Ok(Remedy::Purge(LogIndex(noted))),
        Some(_) | None => Ok(Remedy::None),
    }
}

fn front_missing(first: u64, expected: u64) -> String {
    format!(
        "the log begins at entry {first} and must begin at {expected}: files at its front are \
         missing; restore them from a copy that was made after the last purge"
    )
}

/// Whether the log has, or had, the entry that the floor's state stands after. Another entry in its
/// place was never committed.
fn reaches(log: &Log, floor: u64, end: Option<LastFrame>) -> Result<bool, String> {
    if log.last().is_none_or(|last| last.index.0 < floor) {
        return Ok(false);
    }
    let (index, Some(end)) = (LogIndex(floor), end) else {
        return Ok(true);
    };
    if index < log.first_index() {
        return Ok(true);
    }
    let head = log
        .reader()
        .head(index)
        .map_err(|error| error.to_string())?;
    match head {
        Some(head) if head.term == end.term && head.chain != end.chain => Err(format!(
            "the log and the saved state differ at entry {floor}: one of them is damaged; restore \
             both from one copy"
        )),
        Some(head) => Ok(head.term == end.term),
        None => Ok(false),
    }
}

#[cfg(test)]
mod tests;
