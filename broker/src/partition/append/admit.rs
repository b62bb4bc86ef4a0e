//! Whether a batch may be judged and proposed now: who leads, and whether there is room.

use highwater_proto::Term;

use super::super::error::AppendError;
use super::super::partition::BUDGET_BYTES;
use super::super::producers::Judgement;
use super::{AppendLoop, Request, sequenced};
use crate::log::{Held, Purpose, Shortage};
use crate::raft::room_changed;

impl AppendLoop {
    /// The term in which the batch may be judged, and room in the log for it. What is in the log
    /// already needs none.
    pub(super) async fn admit(
        &mut self,
        request: &Request,
    ) -> Result<(Term, Option<Held>), AppendError> {
        let mut seen = None;
        loop {
            let term = self.leading()?;
            let room = self.replica.room();
            let seen_now = match room.reserve([request.batch.len()], Purpose::Data, seen) {
                Ok(held) => return Ok((term, Some(held))),
                Err(Shortage::Full(_)) if self.is_known(request) => return Ok((term, None)),
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
            };
            let ended = |_| AppendError::Stopped("its log has ended".to_owned());
            changed.map_err(ended)?;
        }
    }

    /// Whether the table of producers has an answer without anything being appended.
    fn is_known(&self, request: &Request) -> bool {
        let judged = sequenced(request).map(|batch| self.shared.state().producers().judge(&batch));
        judged.is_some_and(|judged| !matches!(judged, Judgement::Fresh | Judgement::Gap { .. }))
    }

    /// Bytes of batches that wait here or are not yet committed.
    pub(super) fn on_its_way(&self) -> u64 {
        let left = u32::try_from(self.budget.available_permits()).unwrap_or(u32::MAX);
        u64::from(BUDGET_BYTES.saturating_sub(left))
    }
}
