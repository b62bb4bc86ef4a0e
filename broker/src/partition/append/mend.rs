//! How the leader goes on after the group has refused one of its proposals, as it does when no
//! majority has answered it for a lease: the brokers were held up, say, and nobody else leads.

use std::time::Duration;

use futures_util::FutureExt;
use highwater_proto::Term;
use tokio::time::{Instant, timeout};

use super::super::error::AppendError;
use super::AppendLoop;
use crate::clock::monotonic;
use crate::raft::{Line, Settling};

/// How long a majority may take at first: the question may have gone into a connection that is dead.
/// Each attempt may take twice as long as the one before.
const FIRST_ATTEMPT: Duration = Duration::from_millis(100);
const LONGEST_ATTEMPT: Duration = Duration::from_secs(2);
/// The time between the beginnings of two attempts at least.
const PAUSE: Duration = Duration::from_millis(50);
/// How long it is tried.
const GIVE_UP: Duration = Duration::from_secs(5);
/// Then nothing is tried for so long, nor sent to those that can be reached: longer than they wait
/// before they elect another.
const REST: Duration = Duration::from_secs(15);
/// So often they are asked meanwhile whether they would follow, which keeps nobody from electing.
const ASK: Duration = Duration::from_secs(1);

/// Attempts that are further apart have nothing to do with each other.
const AFRESH: Duration = Duration::from_secs(1);

/// How far the leader is with beginning a new line.
#[derive(Debug)]
pub(in crate::partition) struct Mending {
    /// What waits for so long is refused.
    limit: Duration,
    /// The time between two questions, while nothing is tried.
    ask: Duration,
    /// When the first attempt began, of those that came one after the other.
    since: Option<Instant>,
    /// When the last one ended.
    ended: Option<Instant>,
    /// What the next one may take.
    patience: Duration,
    /// Until when nothing is tried.
    rests: Option<Instant>,
    /// When the others are asked next, while nothing is tried.
    asks: Option<Instant>,
    /// Whether a rest was cut short, and what was tried since was in vain: then one lasts, or those
    /// that say that they would follow and do not keep the rest from electing.
    hurried: bool,
    /// What ends the old line, and its term: a majority has answered, and the disks are to follow.
    settling: Option<(Term, Settling)>,
}

impl Default for Mending {
    fn default() -> Self {
        Self::for_at_most(GIVE_UP)
    }
}

impl Mending {
    /// Not begun yet.
    pub(super) fn for_at_most(limit: Duration) -> Self {
        Self {
            limit,
            ask: ASK,
            since: None,
            ended: None,
            patience: Duration::ZERO,
            rests: None,
            asks: None,
            hurried: false,
            settling: None,
        }
    }

    /// Resting for so long from now on, and each batch asks. What is tried then has as long again.
    #[cfg(test)]
    pub(super) fn at_rest(time: Duration) -> Self {
        let now = monotonic();
        Self {
            ask: Duration::ZERO,
            since: Some(now),
            rests: Some(now + time),
            asks: Some(now),
            ..Self::for_at_most(time)
        }
    }

    /// Given up, while the disks are to follow.
    #[cfg(test)]
    pub(super) fn waiting_for_disks(term: Term, settling: Settling) -> Self {
        Self {
            settling: Some((term, settling)),
            ..Self::for_at_most(Duration::ZERO)
        }
    }

    /// How long an attempt may take that begins now; `None` when it has been tried for long enough.
    fn attempt(&mut self, now: Instant) -> Option<Duration> {
        let anew = match self.rests {
            Some(until) => now >= until,
            // Nothing was tried for a while: time in which others were the reason to refuse.
            None => self.ended.is_some_and(|ended| now - ended > AFRESH),
        };
        if anew {
            self.afresh();
            self.hurried = false;
        }
        let since = *self.since.get_or_insert(now);
        if self.rests.is_some() || now - since >= self.limit {
            if self.rests.is_none() {
                self.rests = Some(now + REST);
                self.asks = (!self.hurried).then_some(now + self.ask);
            }
            return None;
        }
        let patience = self.patience.max(FIRST_ATTEMPT);
        self.patience = (patience * 2).min(LONGEST_ATTEMPT);
        Some(patience)
    }

    fn afresh(&mut self) {
        (self.rests, self.asks, self.since) = (None, None, None);
        self.patience = Duration::ZERO;
    }

    /// Whether the others are to be asked now, while nothing is tried.
    fn asks(&mut self, now: Instant) -> bool {
        let due = self.asks.is_some_and(|at| now >= at);
        if due {
            self.asks = Some(now + self.ask);
        }
        due
    }

    /// The others would follow: it is tried again.
    fn hurry(&mut self) {
        self.afresh();
        self.hurried = true;
    }
}

impl AppendLoop {
    /// Nothing in flight counts any more, and what is judged from now on is a line of its own.
    pub(super) fn begin_line(&mut self) {
        self.shared.state().producers_mut().reset_in_flight();
        self.replica.room().forget_proposed();
        self.line = Line::begin();
        self.cuts = self.line.cuts();
        self.mending = Mending::default();
    }

    /// Tries once to begin a new line in `term`. What the old one has in the log is applied before
    /// that, and what it has not will never be: then nothing is in flight. An error after a while:
    /// what waits is refused, and others may elect a leader if they can.
    pub(super) async fn mend(&mut self, term: Term) -> Result<(), AppendError> {
        // What was judged on the old line is refused with it.
        self.propose().await;
        let begun = monotonic();
        let attempt = self.mending.attempt(begun);
        if attempt.is_none() && self.mending.settling.is_none() {
            return self.rest(term, begun).await;
        }
        let mut leadership = self.leadership.clone();
        let settled = tokio::select! {
            settled = self.settle(term, attempt) => Some(settled),
            _ = leadership.changed() => None,
        };
        self.mending.ended = Some(monotonic());
        let Some(settled) = settled else {
            return Ok(());
        };
        let group = self.replica.group();
        match (settled, attempt) {
            (true, _) => {
                tracing::info!(%group, %term, "a majority answers the leader again");
                self.begin_line();
                self.shared.wake();
            }
            (false, None) => return Err(AppendError::QuorumLost),
            (false, Some(patience)) => {
                tracing::debug!(%group, %term, ?patience, "no majority yet");
                tokio::time::sleep_until(begun + PAUSE).await;
            }
        }
        Ok(())
    }

    /// Nothing is tried, unless a majority of the voters would follow again.
    async fn rest(&mut self, term: Term, now: Instant) -> Result<(), AppendError> {
        if self.mending.asks(now) && self.replica.would_lead(term).await {
            tracing::debug!(group = %self.replica.group(), %term, "a majority would follow");
            self.mending.hurry();
            self.replica.be_silent(term, now);
            return Ok(());
        }
        if let Some(until) = self.mending.rests {
            self.replica.be_silent(term, until);
        }
        Err(AppendError::QuorumLost)
    }

    /// Whether the old line has ended. Once a majority has answered, that takes as long as the disks
    /// do: a later attempt waits for the same entry. Without an attempt it is only looked at, so that
    /// all that waits is refused at once.
    async fn settle(&mut self, term: Term, attempt: Option<Duration>) -> bool {
        let patience = attempt.unwrap_or_default();
        let known = self.mending.settling.take();
        let settling = match known.filter(|(of, _)| *of == term) {
            Some((_, settling)) => settling,
            None => match timeout(patience, self.replica.settle(term)).await {
                Ok(Ok(settling)) => settling,
                Ok(Err(_)) | Err(_) => return false,
            },
        };
        let slot = &mut self.mending.settling;
        let (_, settling) = slot.insert((term, settling));
        let settled = match attempt {
            Some(patience) => timeout(patience, settling).await.ok(),
            None => settling.now_or_never(),
        };
        if settled.is_some() {
            *slot = None;
        }
        settled.is_some_and(|settled| settled.is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_grow_end_after_5_s_and_begin_anew_after_a_rest() {
        let (mut mending, begun) = (Mending::default(), monotonic());
        let mut at = |ms| mending.attempt(begun + Duration::from_millis(ms));
        for round in [0, 20_000] {
            for (after, patience) in [(0, 100), (100, 200), (300, 400), (700, 800), (1_500, 1_600)]
            {
                let patience = Some(Duration::from_millis(patience));
                assert_eq!(at(round + after), patience, "after {after}");
            }
            assert_eq!(at(round + 3_100), Some(LONGEST_ATTEMPT));
            assert_eq!(at(round + 4_999), Some(LONGEST_ATTEMPT));
            for resting in [5_000, 7_000, 19_999] {
                assert_eq!(at(round + resting), None, "{resting}");
            }
        }
    }

    #[test]
    fn a_rest_is_cut_short_once_and_then_lasts() {
        let (mut mending, begun) = (Mending::default(), monotonic());
        let at = |ms| begun + Duration::from_millis(ms);
        assert!(!mending.asks(begun), "while it is tried nobody is asked");
        for round in [0, 40_000] {
            assert!(mending.attempt(at(round)).is_some());
            assert_eq!(mending.attempt(at(round + 5_000)), None);
            assert!(!mending.asks(at(round + 5_999)));
            assert!(mending.asks(at(round + 6_000)) && !mending.asks(at(round + 6_999)));
            assert!(mending.asks(at(round + 7_000)));
            mending.hurry();
            assert_eq!(mending.attempt(at(round + 7_100)), Some(FIRST_ATTEMPT));
            // In vain: now those that can be reached hear nothing for long enough.
            assert_eq!(mending.attempt(at(round + 12_100)), None);
            assert!(!mending.asks(at(round + 27_000)));
            assert_eq!(mending.attempt(at(round + 27_099)), None);
        }
    }

    #[test]
    fn an_attempt_long_after_the_last_one_is_a_first_one() {
        let (mut mending, begun) = (Mending::default(), monotonic());
        assert_eq!(mending.attempt(begun), Some(FIRST_ATTEMPT));
        mending.ended = Some(begun + FIRST_ATTEMPT);
        let later = begun + Duration::from_secs(60);
        assert_eq!(mending.attempt(later), Some(FIRST_ATTEMPT));
        // But a rest lasts.
        mending.ended = Some(later + GIVE_UP);
        assert_eq!(mending.attempt(later + GIVE_UP), None);
        assert_eq!(mending.attempt(later + REST), None);
    }
}
