//! How the leader goes on after the group has refused one of its proposals, as it does when no
//! majority has answered it for a lease: the brokers were held up, say, and nobody else leads.

use std::time::Duration;

use highwater_proto::Term;

use super::AppendLoop;
use crate::clock::monotonic;
use crate::raft::Line;

/// How long a majority may take at first: the question may have gone into a connection that is dead.
/// Each attempt may take twice as long as the one before.
const FIRST_ATTEMPT: Duration = Duration::from_millis(100);
const LONGEST_ATTEMPT: Duration = Duration::from_secs(2);
/// The time between the beginnings of two attempts at least.
const PAUSE: Duration = Duration::from_millis(50);

impl AppendLoop {
    /// Nothing in flight counts any more, and what is judged from now on is a line of its own.
    pub(super) fn begin_line(&mut self) {
        self.shared.state().producers_mut().reset_in_flight();
        self.replica.room().forget_proposed();
        self.line = Line::begin();
        self.cuts = self.line.cuts();
        self.patience = FIRST_ATTEMPT;
    }

    /// Tries once to begin a new line in `term`. What the old one has in the log is applied before
    /// that, and what it has not will never be: then nothing is in flight.
    pub(super) async fn mend(&mut self, term: Term) {
        // What was judged on the old line is refused with it.
        self.propose().await;
        let group = self.replica.group();
        let (begun, patience) = (monotonic(), self.patience);
        self.patience = (patience * 2).min(LONGEST_ATTEMPT);
        tokio::select! {
            settled = tokio::time::timeout(patience, self.replica.settle(term)) => match settled {
                Ok(Ok(())) => {
                    tracing::info!(%group, %term, "a majority answers the leader again");
                    self.begin_line();
                    return self.shared.wake();
                }
                Ok(Err(error)) => tracing::debug!(%group, %term, %error, "not yet"),
                Err(_) => tracing::debug!(%group, %term, ?patience, "no majority has answered"),
            },
            _ = self.leadership.changed() => return,
        }
        tokio::time::sleep_until(begun + PAUSE).await;
    }
}
