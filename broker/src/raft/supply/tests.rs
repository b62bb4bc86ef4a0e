//! Answers of a log that changes between any two looks at it.

use std::cell::RefCell;
use std::collections::VecDeque;

use highwater_proto::{Offset, Timestamp};

use super::super::types::log_id;
use super::gather::Gathered;
use super::*;
use crate::log::FrameKind;

/// What a replica has at one moment.
#[derive(Debug, Clone)]
struct Moment {
    /// The terms of its entries, from index 0 on.
    log: Vec<u64>,
    applied: Option<u64>,
    confirmed: bool,
    one_of_two: bool,
}

/// A replica that has become another one before each of its calls, as long as there are others.
struct Changing {
    now: RefCell<Moment>,
    next: RefCell<VecDeque<Moment>>,
    most: usize,
}

impl Changing {
    /// Changes before call number `turn`, and whoever asks whether it leads waits for that.
    fn at(turn: usize, before: &Moment, after: &Moment, most: usize) -> Self {
        let same = std::iter::repeat_n(before.clone(), turn);
        Self {
            now: RefCell::new(before.clone()),
            next: RefCell::new(same.chain([after.clone()]).collect()),
            most,
        }
    }

    /// Grows with every call by one entry, of which the last three are not applied.
    fn growing(len: usize, most: usize) -> Self {
        let moment = |len: usize| Moment {
            log: vec![1; len],
            applied: Some(len as u64 - 4),
            confirmed: true,
            one_of_two: false,
        };
        Self {
            now: RefCell::new(moment(len)),
            next: RefCell::new((len + 1..len + 1000).map(moment).collect()),
            most,
        }
    }

    fn look(&self) -> Moment {
        if let Some(next) = self.next.borrow_mut().pop_front() {
            *self.now.borrow_mut() = next;
        }
        self.now.borrow().clone()
    }
}

fn head(index: u64, term: u64) -> Head {
    Head {
        kind: FrameKind::Blank,
        extension_len: 0,
        body_len: 0,
        term: Term(term),
        index: LogIndex(index),
        base_offset: Offset(0),
        append_time: Timestamp(0),
        max_timestamp: Timestamp(-1),
        record_count: 0,
        body_crc: 0,
        chain: 0,
    }
}

impl Source for Changing {
    fn is_one_of_two(&self) -> bool {
        self.now.borrow().one_of_two
    }

    fn last(&self) -> Option<LogIndex> {
        (self.look().log.len() as u64).checked_sub(1).map(LogIndex)
    }

    fn applied(&self) -> Option<LogId> {
        let Moment { log, applied, .. } = self.look();
        applied.map(|index| log_id(Term(log[index as usize]), LogIndex(index)))
    }

    async fn frames(&self, from: LogIndex, until: LogIndex) -> Result<Vec<Frame>, LogError> {
        let log = self.look().log;
        let there = (0..)
            .zip(log)
            .filter(|(at, _)| (from.0..until.0).contains(at));
        let frames = there.take(self.most).map(|(index, term)| Frame {
            head: head(index, term),
            body: Bytes::new(),
        });
        Ok(frames.collect())
    }

    async fn head(&self, index: LogIndex) -> Result<Option<Head>, LogError> {
        let term = self.look().log.get(index.0 as usize).copied();
        Ok(term.map(|term| head(index.0, term)))
    }

    async fn is_confirmed(&self) -> bool {
        while !self.look().confirmed {
            if self.next.borrow().is_empty() {
                return false;
            }
        }
        true
    }

    async fn until_applied(&self, index: LogIndex) {
        while self.now.borrow().applied < Some(index.0) && !self.next.borrow().is_empty() {
            self.look();
        }
    }
}

async fn ask(source: &Changing, from: u64) -> Gathered {
    gather(source, LogIndex(from)).await.unwrap()
}

fn ends(gathered: &Gathered) -> (Option<u64>, Option<u64>) {
    let last = gathered.frames.last().map(|frame| frame.head.index.0);
    (last, gathered.committed.map(|id| id.index))
}

#[tokio::test]
async fn what_is_said_to_be_committed_is_so_whenever_the_log_changes() {
    // It was cut off with entries of its own, and then gets those that were committed meanwhile.
    let before = Moment {
        log: vec![1; 8],
        applied: Some(4),
        confirmed: false,
        one_of_two: false,
    };
    for confirmed in [false, true] {
        let after = Moment {
            log: [vec![1; 5], vec![2; 5]].concat(),
            applied: Some(9),
            confirmed,
            one_of_two: false,
        };
        for (turn, from, most) in (0..10)
            .flat_map(|turn| (0..12).flat_map(move |from| [2, 100].map(|most| (turn, from, most))))
        {
            let case = format!("changed before call {turn}, from {from}, {most} at once");
            let source = Changing::at(turn, &before, &after, most);
            let gathered = ask(&source, from).await;
            let (last, committed) = ends(&gathered);
            let given = gathered.frames.iter().map(|frame| frame.head);
            for head in given.chain(gathered.before) {
                let is_right = head.term.0 == after.log[head.index.0 as usize];
                assert!(
                    is_right || Some(head.index.0) > committed,
                    "{case}: {head:?}"
                );
            }
            if gathered.complete {
                assert!(
                    confirmed && (last == Some(9) || from > 9),
                    "{case}: {last:?}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_log_that_never_stops_growing_ends_where_it_did_when_the_leader_was_confirmed() {
    for from in [0, 30, 37, 39, 40] {
        let gathered = ask(&Changing::growing(40, 1000), from).await;
        let (last, committed) = ends(&gathered);
        assert!(gathered.complete, "from {from}");
        assert!(
            last >= Some(39) && last <= committed,
            "{last:?}, {committed:?}"
        );
    }
}

#[tokio::test]
async fn who_asks_on_and_on_comes_to_the_end_of_a_log_that_grows_meanwhile() {
    let source = Changing::growing(40, 12);
    let mut from = 0;
    for _ in 0..40 {
        let gathered = ask(&source, from).await;
        let (last, committed) = ends(&gathered);
        assert!(last <= committed, "{last:?}, {committed:?}");
        if gathered.complete {
            assert!(from > 0);
            return;
        }
        from = last.unwrap() + 1;
    }
    panic!("no end in sight at {from}");
}

#[tokio::test]
async fn a_leader_whose_entries_are_not_committed_in_time_gives_no_end() {
    let stuck = Moment {
        log: vec![1; 8],
        applied: Some(4),
        confirmed: true,
        one_of_two: false,
    };
    for from in 0..10 {
        let gathered = ask(&Changing::at(0, &stuck, &stuck, 100), from).await;
        assert!(!gathered.complete, "from {from}");
        assert_eq!(ends(&gathered).1, Some(4));
    }
}

#[tokio::test]
async fn one_of_two_gives_the_other_all_that_it_has_though_no_majority_can_be_asked() {
    let alone = Moment {
        log: vec![1; 8],
        applied: Some(4),
        confirmed: false,
        one_of_two: true,
    };
    for from in 0..10 {
        let gathered = ask(&Changing::at(0, &alone, &alone, 100), from).await;
        let given = (from < 8).then_some(7);
        assert_eq!(ends(&gathered), (given, Some(7)), "from {from}");
        assert!(gathered.complete, "from {from}");
    }
    let some = ask(&Changing::at(0, &alone, &alone, 3), 2).await;
    assert_eq!(ends(&some), (Some(4), Some(7)));
    assert!(!some.complete, "more is to come");
}
