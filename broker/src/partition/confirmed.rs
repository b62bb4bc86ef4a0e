//! How fresh a replica is known to be. Whoever has to know asks the leader, which answers with its high
//! watermark once a majority has confirmed it; from the moment of the *question* on, by the monotonic
//! clock here, that answer ages. What was committed before the question lies below the high watermark
//! in the answer, so a replica that has reached it is no older than the question. Nothing is
//! concluded from messages that merely arrive: they may have waited anywhere.

use std::future::Future;
use std::time::Duration;

use highwater_proto::Offset;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::error::ReadError;
use super::partition::Partition;
use crate::clock::monotonic;

/// The leader is waited for no longer than this.
const ASK_LIMIT: Duration = Duration::from_secs(2);

/// What is known of the leader, shared by all who ask.
#[derive(Debug, Default)]
pub(super) struct Confirmed {
    // guards: the latest answer; held while the leader is asked, so that one question serves all.
    latest: Mutex<Latest>,
}

#[derive(Debug, Default)]
struct Latest {
    answer: Option<Answer>,
    failure: Option<(Instant, String)>,
}

#[derive(Debug, Clone, Copy)]
struct Answer {
    asked: Instant,
    high_watermark: Offset,
}

impl Partition {
    /// Resolves when everything committed `max_age` ago can be read here, with the moment up to which
    /// that is known, and fails when it cannot be made sure of. `ask` gives the leader's confirmed
    /// high watermark.
    pub async fn confirm<F>(
        &self,
        max_age: Duration,
        ask: impl FnOnce() -> F,
    ) -> Result<Instant, ReadError>
    where
        F: Future<Output = Result<Offset, String>>,
    {
        let answer = self.confirmed().answer(max_age, ask).await;
        let answer = answer.map_err(ReadError::Stale)?;
        let left = max_age.saturating_sub(answer.asked.elapsed());
        let mut published = self.published();
        let reached =
            published.wait_for(|now| now.high_watermark.offset() >= answer.high_watermark);
        match timeout(left, reached).await {
            Ok(Ok(_)) => Ok(answer.asked),
            Ok(Err(_)) => Err(ReadError::NotLeader),
            Err(_) => {
                let end = answer.high_watermark;
                let why = format!("it has not reached the leader's high watermark {end} in time");
                Err(ReadError::Stale(why))
            }
        }
    }
}

impl Confirmed {
    /// The latest answer if it is young enough, or a new one. Whoever waited while a question
    /// that began after its own failed shares that failure.
    async fn answer<F>(&self, max_age: Duration, ask: impl FnOnce() -> F) -> Result<Answer, String>
    where
        F: Future<Output = Result<Offset, String>>,
    {
        let arrived = monotonic();
        let mut latest = self.latest.lock().await;
        if let Some(answer) = latest
            .answer
            .filter(|answer| answer.asked.elapsed() < max_age)
        {
            return Ok(answer);
        }
        if let Some((asked, why)) = &latest.failure
            && *asked >= arrived
        {
            return Err(why.clone());
        }
        let asked = monotonic();
        let limit = max_age.min(ASK_LIMIT);
        match timeout(limit, ask()).await {
            Ok(Ok(high_watermark)) => {
                let answer = Answer {
                    asked,
                    high_watermark,
                };
                latest.answer = Some(answer);
                Ok(answer)
            }
            Ok(Err(why)) => {
                latest.failure = Some((asked, why.clone()));
                Err(why)
            }
            Err(_) => {
                let why = format!("the leader did not answer within {limit:?}");
                latest.failure = Some((asked, why.clone()));
                Err(why)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    async fn unasked() -> Result<Offset, String> {
        Err("asked again".to_owned())
    }

    #[tokio::test]
    async fn an_answer_ages_from_the_question_on() {
        let confirmed = Confirmed::default();
        let before = monotonic();
        let slow = || async {
            let begun = monotonic();
            while monotonic() == begun {
                tokio::task::yield_now().await;
            }
            Ok(Offset(5))
        };
        let first = confirmed.answer(LONG, slow).await.unwrap();
        assert_eq!(first.high_watermark, Offset(5));
        assert!(first.asked >= before && first.asked < monotonic());
        let again = confirmed.answer(LONG, unasked).await.unwrap();
        assert_eq!(again.asked, first.asked);
        let old = confirmed.answer(Duration::ZERO, unasked).await;
        assert!(old.is_err(), "an answer that is too old does not count");
    }

    #[tokio::test]
    async fn a_silent_leader_is_not_asked_by_each_in_turn() {
        let confirmed = Confirmed::default();
        let asks = AtomicUsize::new(0);
        let silent = || async {
            asks.fetch_add(1, Ordering::SeqCst);
            std::future::pending().await
        };
        let waits = (0..10).map(|_| confirmed.answer(Duration::from_millis(20), silent));
        for answer in futures_util::future::join_all(waits).await {
            assert!(answer.unwrap_err().contains("did not answer"));
        }
        assert_eq!(asks.load(Ordering::SeqCst), 2);
    }
}
