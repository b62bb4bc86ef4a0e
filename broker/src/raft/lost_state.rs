//! The state before a log is lost, and the log itself is whole: its file has rotten, or is gone. The
//! replica stays out until it has a state again: one that it saved itself further up in its log, or
//! that of another replica. All that either stands for is committed.

use std::io;
use std::sync::Arc;

use highwater_proto::{LogIndex, ReplicaId};

use super::blocking::beside;
use super::error::OpenError;
use super::floor::{FILE, Floor};
use super::noted::purged;
use super::saved;
use super::types::LogId;
use crate::log::{Dir, HardState, LastFrame, LogReader};

/// That the state before a replica's log is lost.
#[derive(Debug)]
pub struct LostState {
    why: String,
    purged: Option<LogId>,
}

impl LostState {
    /// What is lost before the log of the replica in `dir`, if anything is.
    pub async fn find(
        dir: &Arc<dyn Dir>,
        hard_state: &Arc<HardState>,
        replica: ReplicaId,
    ) -> Result<Option<Self>, OpenError> {
        let home = Arc::clone(dir);
        let loaded = beside(dir, move || Floor::load(home)).await?;
        let purged = purged(hard_state, replica)?;
        match intact(loaded, purged.as_ref()) {
            Ok(_) => Ok(None),
            Err(OpenError::StateLost(why)) => Ok(Some(Self { why, purged })),
            Err(error) => Err(error),
        }
    }

    /// What is lost.
    pub fn why(&self) -> &str {
        &self.why
    }

    /// Restores it from what the replica itself has, durably: from the first state that was saved after
    /// an entry of its log. A log that was never purged needs none. False if there is no such state.
    pub fn restore_here(&self, dir: &Arc<dyn Dir>, log: &LogReader) -> io::Result<bool> {
        let Some(purged) = self.purged else {
            dir.remove(FILE)?;
            dir.sync_dir()?;
            return Ok(true);
        };
        let above = |index: &u64| *index > purged.index;
        let saved = saved::indexes(dir.as_ref())?.into_iter().rev();
        for index in saved.filter(above) {
            let Ok(Some(state)) = saved::load_at(dir.as_ref(), index) else {
                continue;
            };
            let head = log.head(LogIndex(index)).map_err(io::Error::other)?;
            let here = head.map(|head| LastFrame::from(&head));
            if here.is_some() && here == state.log_end && state.index() == Some(index) {
                Floor::load_beyond_damage(Arc::clone(dir))?.keep(state)?;
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The floor that was read, unless its state is lost: damaged, or not the one that a log needs which
/// is purged up to `noted`.
pub(super) fn intact(loaded: io::Result<Floor>, noted: Option<&LogId>) -> Result<Floor, OpenError> {
    let floor = match loaded {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return Err(OpenError::StateLost(error.to_string()));
        }
        loaded => loaded?,
    };
    let noted = noted.map(|id| id.index);
    match noted {
        Some(noted) if floor.index() < Some(noted) => Err(OpenError::StateLost(format!(
            "the log is purged up to entry {noted}, and the state that stands there is missing \
             from the file {FILE}"
        ))),
        Some(_) | None => Ok(floor),
    }
}
