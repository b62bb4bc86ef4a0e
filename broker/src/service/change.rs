//! Changes of the metadata that a client waits for. A leader of the metadata group that steps down
//! leaves the fate of a proposal open; these commands may be proposed again, because what an
//! earlier attempt has done can be seen.

use std::time::Duration;

use highwater_proto::Reason;

use super::routing::CATCH_UP;
use super::{Error, Services};
use crate::clock;
use crate::cluster::{ClusterState, Command, Reply};

/// How long to wait for news of a leader before proposing again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

impl Services {
    /// Proposes `command` until its outcome is known or the deadline has passed. `None` when an
    /// earlier attempt turns out to have done it, which `is_done` tells.
    pub(super) async fn change(
        &self,
        command: &Command,
        deadline: Duration,
        is_done: impl Fn(&ClusterState) -> bool,
    ) -> Result<Option<Reply>, Error> {
        let until = clock::monotonic() + deadline;
        let mut changes = self.leaders.changes();
        let mut repeated = false;
        loop {
            changes.mark_unchanged();
            let left = until.saturating_duration_since(clock::monotonic());
            let refusal = match self.metadata.propose(command, left).await {
                Ok(reply) => return Ok(Some(reply)),
                Err(refusal) => refusal,
            };
            let unknown = refusal.reason == Reason::TimedOut;
            if !unknown && !repeated {
                return Err(refusal.into());
            }
            self.metadata.catch_up(CATCH_UP).await;
            if is_done(&self.metadata.state()) {
                return Ok(None);
            }
            if !unknown || clock::monotonic() >= until {
                return Err(refusal.into());
            }
            tracing::debug!(why = %refusal, "proposing again");
            repeated = true;
            drop(tokio::time::timeout(LOOK_AGAIN, changes.changed()).await);
        }
    }
}
