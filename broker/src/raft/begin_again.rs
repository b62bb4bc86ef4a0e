//! What another replica has before its log, for one whose own entries from there are lost: it can
//! begin again behind that, for all of it is committed and its records are purged.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use highwater_proto::ReplicaId;

use super::blocking::beside;
use super::error::OpenError;
use super::floor::Floor;
use super::noted::{note_file, note_purged, note_vote, purged, vote};
use super::saved::Saved;
use super::types::{LeaderId, LogId, Vote};
use super::wire::WireError;
use crate::log::{Dir, HardState, LastFrame};

/// The state before a log.
#[derive(Clone)]
pub struct FloorState {
    state: Saved,
    after: LogId,
    end: LastFrame,
}

impl std::fmt::Debug for FloorState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FloorState")
            .field("after", &self.after)
            .finish_non_exhaustive()
    }
}

impl FloorState {
    /// Reads it; `None` if it does not say where a log goes on.
    pub(super) fn decode(bytes: &Bytes) -> Result<Option<Self>, WireError> {
        let state = Saved::decode(bytes)?;
        let end = state.last_applied.zip(state.log_end);
        Ok(end.map(|(after, end)| Self { state, after, end }))
    }

    /// How the log stands there.
    pub fn end(&self) -> LastFrame {
        self.end
    }

    /// Makes this the state before the log in `dir`, which goes on with file `file` behind it. All
    /// is durable when this returns; without the file the log is refused from here on.
    ///
    /// The vote's term is raised to that of the entry: a replica may take note of a term at any
    /// time, and votes for nobody else in it. Without a stored vote, nobody knows what it voted.
    pub async fn note(
        self,
        dir: &Arc<dyn Dir>,
        hard_state: &Arc<HardState>,
        replica: ReplicaId,
        file: u32,
    ) -> Result<(), OpenError> {
        let term = self.after.leader_id.term;
        let stored = vote(hard_state, replica)?;
        let Some(stored) = stored else {
            return Err(OpenError::VoteLost { log: term, vote: 0 });
        };
        if purged(hard_state, replica)?.is_some_and(|purged| purged > self.after) {
            let why = format!("it is purged beyond entry {} already", self.after.index);
            return Err(OpenError::Floor(why));
        }
        note_file(hard_state, replica, file)
            .await?
            .map_err(io::Error::other)?;
        raise_vote(hard_state, replica, &stored, term).await?;
        let after = self.after;
        self.keep(dir).await?;
        let noted = note_purged(hard_state, replica, &after).await?;
        Ok(noted.map_err(io::Error::other)?)
    }

    /// Makes this the state before the log in `dir`, which is whole and is purged up to `purged`, in
    /// the place of one that is lost. Durable when this returns. Where the log does not reach this
    /// state, it begins behind it once it is opened: all that it had up to there is committed, or
    /// never was.
    ///
    /// The vote's term is raised as in [`Self::note`], before anything else.
    pub async fn stand_in(
        self,
        dir: &Arc<dyn Dir>,
        hard_state: &Arc<HardState>,
        replica: ReplicaId,
    ) -> Result<(), OpenError> {
        let purged = purged(hard_state, replica)?;
        if let Some(purged) = purged.filter(|purged| purged.index > self.after.index) {
            return Err(OpenError::Floor(format!(
                "the state there stands after entry {}, and the log here begins behind entry {}",
                self.after.index, purged.index
            )));
        }
        let term = self.after.leader_id.term;
        let stored = vote(hard_state, replica)?;
        let stored = stored.ok_or(OpenError::VoteLost { log: term, vote: 0 })?;
        raise_vote(hard_state, replica, &stored, term).await?;
        self.keep(dir).await
    }

    /// Keeps the state, durably, in the place of whatever is there.
    async fn keep(self, dir: &Arc<dyn Dir>) -> Result<(), OpenError> {
        let (home, after) = (Arc::clone(dir), self.after);
        let kept = beside(dir, move || {
            let floor = Floor::load_beyond_damage(home)?;
            floor.keep(self.state)?;
            io::Result::Ok(floor.index())
        });
        if kept.await?? != Some(after.index) {
            let why = format!("a state after entry {} stands before it", after.index);
            return Err(OpenError::Floor(why));
        }
        Ok(())
    }
}

/// Raises the term of the vote, durably, if it is below `term`.
async fn raise_vote(
    hard_state: &Arc<HardState>,
    replica: ReplicaId,
    stored: &Vote,
    term: u64,
) -> Result<(), OpenError> {
    if stored.leader_id.term >= term {
        return Ok(());
    }
    let leader_id = LeaderId {
        term,
        voted_for: replica.0,
    };
    let raised = Vote {
        leader_id,
        committed: false,
    };
    let noted = note_vote(hard_state, replica, &raised).await?;
    Ok(noted.map_err(io::Error::other)?)
}
