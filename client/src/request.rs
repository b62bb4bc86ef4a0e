//! Unary calls with their retries: questions, which any broker may be asked any number of times,
//! and commands, which are sent again only while the caller knows what a second time would mean.

use std::sync::Arc;
use std::time::Duration;

use highwater_proto::{PartitionIndex, Reason};
use tokio::time::{Instant, sleep, timeout_at};
use tonic::{Response, Status};

use crate::channels::{Address, Api};
use crate::entropy;
use crate::error::{Error, Outcome, Result};
use crate::metadata::{Metadata, silent};
use crate::retry::Backoff;

/// An attempt with less time than this is not begun.
const SHORTEST_ATTEMPT: Duration = Duration::from_millis(10);

/// How a command ended, and whether an earlier attempt of it may have taken effect.
#[derive(Debug)]
pub(crate) struct Commanded<T> {
    pub(crate) result: Result<T>,
    pub(crate) maybe_done_before: bool,
}

impl Metadata {
    /// Asks any broker, again and again until the request timeout, unless refused.
    pub(crate) async fn ask<T, F>(&self, call: impl Fn(Api) -> F) -> Result<T>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let deadline = self.deadline();
        let mut backoff = Backoff::default();
        let mut last = None;
        loop {
            let error = match self.ask_any(deadline, &call).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let wait = backoff.next(entropy::random());
            match error.outcome() == Outcome::Refused {
                true => return Err(error),
                false if too_late(wait, deadline) => return Err(last_words(last, error)),
                false => sleep(wait).await,
            }
            last = Some(error);
        }
    }

    /// Sends a command to one broker after another until one answers or the request timeout.
    pub(crate) async fn command<T, F>(&self, call: impl Fn(Api) -> F) -> Commanded<T>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let deadline = self.deadline();
        let mut backoff = Backoff::default();
        let mut round = self.addresses();
        let mut maybe_done_before = false;
        loop {
            if round.is_empty() {
                round = self.addresses();
            }
            let address = round.remove(0);
            let error = match self.once(&address, deadline, &call).await {
                Ok(answer) => {
                    let result = Ok(answer);
                    return Commanded {
                        result,
                        maybe_done_before,
                    };
                }
                Err(error) => error,
            };
            if error.outcome() == Outcome::Refused && error.not_leader().is_none() {
                return Commanded {
                    result: Err(error),
                    maybe_done_before,
                };
            }
            maybe_done_before |= error.outcome() == Outcome::Unknown;
            let wait = self.next_address(&mut round, &error, &mut backoff);
            if too_late(wait, deadline) {
                return Commanded {
                    result: Err(concluded(error, maybe_done_before)),
                    maybe_done_before,
                };
            }
            sleep(wait).await;
        }
    }

    /// Puts the broker that the error names first; waits only after a whole round.
    fn next_address(
        &self,
        round: &mut Vec<Address>,
        error: &Error,
        backoff: &mut Backoff,
    ) -> Duration {
        let named = error.not_leader().map(|hint| hint.leader_listen.as_str());
        if let Some(listen) = named.filter(|listen| !listen.is_empty()) {
            round.insert(0, Arc::from(listen));
        }
        match (named, round.is_empty()) {
            (None, false) => Duration::ZERO,
            _ => backoff.next(entropy::random()),
        }
    }

    async fn once<T, F>(
        &self,
        address: &Address,
        deadline: Instant,
        call: impl Fn(Api) -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let remaining = deadline.saturating_duration_since(Instant::now());
        let api = self.channels().shared(address)?.within(remaining);
        match timeout_at(deadline, call(api)).await {
            Ok(answer) => answer
                .map(Response::into_inner)
                .map_err(|status| Error::from(status).in_context(address)),
            Err(_) => Err(silent(remaining).in_context(address)),
        }
    }

    /// Asks the partition's leader, following it, until the request timeout. A leader that does not
    /// know the topic is asked again as long as others do, unless they say that the name stands for
    /// another topic than the one with `topic_id` now.
    pub(crate) async fn ask_leader<T, F>(
        &self,
        (topic, topic_id): (&str, &str),
        partition: PartitionIndex,
        call: impl Fn(Api) -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let deadline = self.deadline();
        let mut backoff = Backoff::default();
        loop {
            self.topic(topic, deadline).await?;
            let asked = Instant::now();
            let error = match self.leader(topic, partition) {
                None => no_leader(topic, partition),
                Some(leader) => match self.once(&leader, deadline, &call).await {
                    Ok(answer) => return Ok(answer),
                    Err(error) => error,
                },
            };
            let wait = backoff.next(entropy::random());
            let refused = error.outcome() == Outcome::Refused && !error.is_missing_topic();
            if refused || too_late(wait, deadline) {
                return Err(error);
            }
            sleep(wait).await;
            if !self.learn_from(&error)
                && let Err(error) = self.refresh(topic, asked, deadline).await
                && error.outcome() == Outcome::Refused
            {
                return Err(error);
            }
            if self.is_recreated(topic, topic_id) {
                return Err(recreated(topic));
            }
        }
    }
}

/// The error of whatever goes on with a topic whose name stands for another one now.
pub(crate) fn recreated(topic: &str) -> Error {
    let message = format!("topic {topic:?} was deleted and created anew");
    Error::new(Reason::TopicIdMismatch, message)
}

pub(crate) fn no_leader(topic: &str, partition: PartitionIndex) -> Error {
    let message = format!("partition {partition} of topic {topic:?} has no known leader");
    Error::new(Reason::NoLeader, message)
}

/// Whether there is no time left for another attempt after `wait`.
pub(crate) fn too_late(wait: Duration, deadline: Instant) -> bool {
    Instant::now() + wait + SHORTEST_ATTEMPT >= deadline
}

/// Of a question's last two errors the one to tell: that time ran out says less than why.
pub(crate) fn last_words(before: Option<Error>, error: Error) -> Error {
    match error.reason() {
        Some(Reason::TimedOut) => before.unwrap_or(error),
        _ => error,
    }
}

/// The last error of a command, which must not claim more than all its attempts allow.
fn concluded(error: Error, maybe_done: bool) -> Error {
    match maybe_done {
        true => error.with_outcome(Outcome::Unknown),
        false => error,
    }
}
