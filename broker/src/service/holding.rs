//! How long what comes to a leader that hands over is held back: a while, in which its successor catches
//! up and is elected. A group that nobody has taken over until then is served again, and handed over
//! again later.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::raft::GroupId;

/// How long at first: for a follower to get what is on its way to it, and for two elections.
const HOLD: Duration = Duration::from_secs(5);
/// How often again.
const EVERY: Duration = Duration::from_secs(20);
/// How long each further time: for one election.
const AGAIN: Duration = Duration::from_secs(1);

/// Since when each group is handed over.
#[derive(Debug, Default)]
pub struct Holding {
    // guards: the times; held for map operations only.
    since: Mutex<BTreeMap<GroupId, Instant>>,
}

impl Holding {
    /// Whether what comes to `group` is held back at `now`. The first question begins the first hold:
    /// it is for a group that is led here and that another broker could lead. Leading it again in
    /// between begins none, so that no group is held back for more than its share.
    pub fn holds(&self, group: GroupId, now: Instant) -> bool {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        let since = *since.entry(group).or_insert(now);
        is_hold(now.saturating_duration_since(since))
    }

    /// Nothing was handed over before.
    pub fn restart(&self) {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        since.clear();
    }
}

fn is_hold(passed: Duration) -> bool {
    let since_try = passed.as_millis() % EVERY.as_millis();
    passed < HOLD || since_try < AGAIN.as_millis()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::monotonic;

    #[test]
    fn a_group_that_is_not_taken_over_is_held_back_for_a_while_now_and_then() {
        let holding = Holding::default();
        let begun = monotonic();
        let holds =
            |seconds| holding.holds(GroupId::Metadata, begun + Duration::from_secs(seconds));
        let held: Vec<u64> = (0..60).filter(|second| holds(*second)).collect();
        assert_eq!(held, [0, 1, 2, 3, 4, 20, 40]);
    }

    #[test]
    fn another_drain_begins_with_a_hold() {
        let holding = Holding::default();
        let begun = monotonic();
        let later = begun + HOLD;
        assert!(holding.holds(GroupId::Metadata, begun));
        assert!(!holding.holds(GroupId::Metadata, later));
        holding.restart();
        assert!(holding.holds(GroupId::Metadata, later));
    }
}
