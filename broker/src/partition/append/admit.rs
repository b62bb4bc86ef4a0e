//! Whether a batch may be judged and proposed now: who leads, and whether there is room.

use std::time::Duration;

use highwater_proto::Term;

use super::super::error::AppendError;
use super::super::producers::Judgement;
use super::{AppendLoop, Work, sequenced};
use crate::log::{Held, Purpose, Shortage};
use crate::raft::{Leadership, room_changed};

/// How long a batch that waits for room goes without a look at whether it may be proposed at all.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// More than the command of a fence takes.
const FENCE_BYTES: usize = 64;

/// Why a replica that does not lead judges nothing. What this broker leaves to others waits until it is
/// known to whom: then it is sent there, while without a leader its sender would have to look for one.
pub(in crate::partition) fn elsewhere(
    leadership: &Leadership,
    permitted: &Result<(), AppendError>,
) -> AppendError {
    match (leadership.leader, permitted) {
        (None, Err(AppendError::NotReady)) => AppendError::NotReady,
        _ => AppendError::NotLeader,
    }
}

impl AppendLoop {
    /// The term in which the batch may be judged, and room in the log for it. What is in the log
    /// already needs none.
    pub(super) async fn admit(&mut self, work: &Work) -> Result<(Term, Option<Held>), AppendError> {
        let bytes = match work {
            Work::Batch(request) => request.batch.len(),
            Work::Fence(_) => FENCE_BYTES,
        };
        let mut seen = None;
        loop {
            let term = self.leading()?;
            if self.line.is_cut() {
                self.mend(term).await?;
                continue;
            }
            let room = self.replica.room();
            let seen_now = match room.reserve([bytes], Purpose::Data, seen) {
                Ok(held) => return Ok((term, Some(held))),
                Err(Shortage::Full(_)) if self.is_known(work) => return Ok((term, None)),
                Err(Shortage::Full(no_room)) => {
                    return Err(AppendError::DiskFull(no_room.to_string()));
                }
                Err(Shortage::Wait(seen)) => seen,
            };
            seen = Some(seen_now);
            // What is gathered holds room, too.
            self.propose().await;
            let changed = tokio::select! {
                () = room_changed(self.replica.room(), seen_now) => Ok(()),
                changed = self.leadership.changed() => changed,
                // Nothing tells of a majority that cannot be reached any more.
                () = tokio::time::sleep(ASK_AGAIN) => Ok(()),
            };
            let ended = |_| AppendError::Stopped("its log has ended".to_owned());
            changed.map_err(ended)?;
        }
    }

    /// Whether the table of producers has an answer without anything being appended.
    fn is_known(&self, work: &Work) -> bool {
        let Work::Batch(request) = work else {
            return false;
        };
        let now = self.clock.now();
        let judge = |batch| self.shared.state().producers().judge(&batch, now);
        let judged = sequenced(request).map(judge);
        judged.is_some_and(|judged| !matches!(judged, Judgement::Fresh | Judgement::Gap { .. }))
    }

    /// Bytes of batches that wait here or are not yet committed.
    pub(super) fn on_its_way(&self) -> u64 {
        self.budget.taken()
    }
}

#[cfg(test)]
mod tests {
    use highwater_proto::{BrokerId, ReplicaId};

    use super::*;

    #[test]
    fn a_broker_that_hands_over_sends_nobody_away_before_it_knows_where_to() {
        let mut leadership = Leadership {
            term: Term(3),
            leader: None,
            mine: false,
        };
        let leaving = Err(AppendError::NotReady);
        assert_eq!(elsewhere(&leadership, &leaving), AppendError::NotReady);
        assert_eq!(elsewhere(&leadership, &Ok(())), AppendError::NotLeader);
        leadership.leader = Some((ReplicaId(2), BrokerId(2)));
        assert_eq!(elsewhere(&leadership, &leaving), AppendError::NotLeader);
    }
}
