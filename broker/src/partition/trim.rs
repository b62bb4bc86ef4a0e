//! Moving the log start offset: a command in the partition's log, so that every replica agrees on
//! what can be read, whoever leads.

use std::sync::Arc;

use highwater_proto::{Offset, Term};
use tokio::sync::watch;

use super::append::Permission;
use super::command::{self, Command};
use super::error::AppendError;
use super::machine::Published;
use crate::clock::Clock;
use crate::log::Purpose;
use crate::raft::{
    Leadership, Line, Proposal, ProposalKind, ProposeError, Replica, Reply, make_room,
};

/// Proposes commands for the partition of one replica. Unlike batches they need no order among
/// themselves: each is judged when it is applied.
#[derive(Clone)]
pub(super) struct Trimmer {
    pub(super) replica: Replica,
    pub(super) leadership: watch::Receiver<Leadership>,
    pub(super) published: watch::Receiver<Published>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) permission: Permission,
}

impl std::fmt::Debug for Trimmer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trimmer").finish_non_exhaustive()
    }
}

impl Trimmer {
    /// The term in which this replica leads and may propose.
    pub(super) fn leading(&self) -> Result<Term, AppendError> {
        let leadership = *self.leadership.borrow();
        if !leadership.mine {
            return Err(AppendError::NotLeader);
        }
        self.may_propose()?;
        if self.published.borrow().term != leadership.term {
            return Err(AppendError::NotReady);
        }
        Ok(leadership.term)
    }

    /// Whether a leader may propose a command, which is small.
    pub(super) fn may_propose(&self) -> Result<(), AppendError> {
        (self.permission)(0)
    }

    /// Makes `to` the log start offset, if it is above the one there is and not beyond the high
    /// watermark; gives the one there is then. A majority has it on the disk when this returns.
    pub(super) async fn trim(&self, to: Offset) -> Result<Offset, AppendError> {
        let term = self.leading()?;
        let body = Command::SetLogStart(to).encode();
        let held = make_room(self.replica.room(), &[body.len()], Purpose::Raft).await;
        let _held = held.map_err(|no_room| AppendError::DiskFull(no_room.to_string()))?;
        let proposal = Proposal {
            kind: ProposalKind::Command,
            body,
            append_time: self.clock.now(),
            line: Line::default(),
        };
        let unknown = |why: String| AppendError::Unknown(why);
        let proposed = self.replica.propose(term, proposal).await;
        let fate = proposed.map_err(|error| AppendError::Stopped(error.to_string()))?;
        match fate.await {
            Ok(Reply::Command { bytes, .. }) => {
                command::decode_reply(&bytes).map_err(|error| unknown(error.to_string()))
            }
            Ok(other) => Err(unknown(format!("the group answered {other}"))),
            Err(ProposeError::Unknown(why)) => Err(unknown(why)),
            Err(ProposeError::Refused(why)) => Err(AppendError::Refused(why)),
            Err(ProposeError::Stopped(why)) => Err(AppendError::Stopped(why)),
        }
    }
}
