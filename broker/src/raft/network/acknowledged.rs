//! What followers said that they have. The leader counts on it from then on; one that has less later in the
//! same term runs on files that are older than its word, and must get nothing that would hide that.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use highwater_proto::{BrokerId, LogIndex, ReplicaId, Term};
use openraft::raft::{StreamAppendError, StreamAppendResult};

use crate::raft::GroupId;
use crate::raft::types::Types;

/// By follower, for the term that this replica leads in. Its clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Acknowledged(
    // guards: what followers said; held for one look-up.
    Arc<Mutex<BTreeMap<ReplicaId, Said>>>,
);

#[derive(Debug, Clone, Copy)]
struct Said {
    term: Term,
    last: LogIndex,
    told: bool,
}

/// A follower has less than it said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lost {
    /// The last entry that it had.
    last: LogIndex,
    /// True the first time that it is noticed in the term.
    is_news: bool,
}

/// To whom appends go, and what it said before.
#[derive(Debug, Clone)]
pub(super) struct Follower {
    pub(super) group: GroupId,
    pub(super) replica: ReplicaId,
    pub(super) broker: BrokerId,
    pub(super) acknowledged: Acknowledged,
}

impl Follower {
    /// Remembers what it has. An error if it misses what it had in this `term`, which is logged once.
    pub(super) fn check(
        &self,
        term: Term,
        result: &StreamAppendResult<Types>,
    ) -> Result<(), &'static str> {
        let (said, replica) = (&self.acknowledged, self.replica);
        let missing = match result {
            Ok(Some(last)) => {
                said.note(replica, term, LogIndex(last.index));
                return Ok(());
            }
            Ok(None) | Err(StreamAppendError::HigherVote(_)) => return Ok(()),
            Err(StreamAppendError::Conflict(at)) => LogIndex(at.index),
        };
        let Some(lost) = said.misses(replica, term, missing) else {
            return Ok(());
        };
        let why = "a replica has not what it acknowledged: the data directory of its broker is older \
                   than that. Was it replaced by a copy? Stop that broker: with its vote, what was \
                   acknowledged can be lost. The replica gets nothing from here";
        if lost.is_news {
            let (group, broker, acknowledged) = (self.group, self.broker, lost.last);
            tracing::error!(%group, %broker, %replica, %acknowledged, %missing, "{why}");
        }
        Err(why)
    }
}

impl Acknowledged {
    /// `follower` has everything up to `last`.
    fn note(&self, follower: ReplicaId, term: Term, last: LogIndex) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let new = Said {
            term,
            last,
            told: false,
        };
        let said = all.entry(follower).or_insert(new);
        match said.term == term {
            true => said.last = said.last.max(last),
            false => *said = new,
        }
    }

    /// `follower` has no such entry at `index`: whether it said in this term that it has.
    fn misses(&self, follower: ReplicaId, term: Term, index: LogIndex) -> Option<Lost> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let said = all.get_mut(&follower)?;
        if said.term != term || said.last < index {
            return None;
        }
        Some(Lost {
            last: said.last,
            is_news: !std::mem::replace(&mut said.told, true),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::types::log_id;

    const ONE: ReplicaId = ReplicaId(1);

    #[test]
    fn a_follower_gets_nothing_more_once_it_misses_what_it_acknowledged_in_the_term() {
        let follower = Follower {
            group: GroupId::Metadata,
            replica: ONE,
            broker: BrokerId(1),
            acknowledged: Acknowledged::default(),
        };
        let entry = |index| log_id(Term(3), LogIndex(index));
        let (has, misses) = (
            |i| Ok(Some(entry(i))),
            |i| Err(StreamAppendError::Conflict(entry(i))),
        );
        let is_sent_more = |term, said| follower.check(Term(term), &said).is_ok();
        assert!(
            is_sent_more(3, misses(9)),
            "where it has not been looked for before"
        );
        assert!(is_sent_more(3, has(4)) && is_sent_more(3, Ok(None)) && is_sent_more(3, misses(5)));
        assert!(!is_sent_more(3, misses(4)) && !is_sent_more(3, misses(2)));
        assert!(
            is_sent_more(4, misses(4)),
            "another leader may have replaced it"
        );
    }

    #[test]
    fn who_said_that_it_has_an_entry_and_misses_it_has_lost_it() {
        let all = Acknowledged::default();
        all.note(ONE, Term(3), LogIndex(7));
        all.note(ONE, Term(3), LogIndex(5));
        assert_eq!(all.misses(ONE, Term(3), LogIndex(8)), None);
        assert_eq!(all.misses(ReplicaId(2), Term(3), LogIndex(1)), None);
        let lost = |is_news| {
            let last = LogIndex(7);
            Some(Lost { last, is_news })
        };
        assert_eq!(all.clone().misses(ONE, Term(3), LogIndex(7)), lost(true));
        assert_eq!(all.misses(ONE, Term(3), LogIndex(2)), lost(false));
    }

    #[test]
    fn what_was_said_to_an_earlier_leader_may_have_been_replaced() {
        let all = Acknowledged::default();
        all.note(ONE, Term(3), LogIndex(7));
        assert_eq!(all.misses(ONE, Term(5), LogIndex(7)), None);
        all.note(ONE, Term(5), LogIndex(4));
        assert_eq!(all.misses(ONE, Term(5), LogIndex(7)), None);
        assert!(all.misses(ONE, Term(5), LogIndex(4)).is_some());
    }
}
