//! Unary calls with their retries: questions, which any broker may be asked any number of times,
//! and commands, which are sent again only while the caller knows what a second time would mean.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use highwater_proto::{PartitionIndex, Reason};
use tokio::time::{Instant, sleep, timeout_at};
use tonic::{Response, Status};

use crate::channels::{Address, Api};
use crate::entropy;
use crate::error::{Error, Outcome, Result};
use crate::metadata::{Metadata, is_believed, more_telling, no_address, silent};
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
        self.ask_until(self.deadline(), call).await
    }

    /// The same, until `deadline`.
    pub(crate) async fn ask_until<T, F>(
        &self,
        deadline: Instant,
        call: impl Fn(Api) -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        retried(deadline, || self.ask_any(deadline, &call)).await
    }

    /// Sends a command to one broker after another until one answers or the request timeout.
    pub(crate) async fn command<T, F>(&self, call: impl Fn(Api) -> F) -> Commanded<T>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let deadline = self.deadline();
        let mut backoff = Backoff::default();
        let mut round = self.addresses_of_command(deadline).await;
        let mut words = Words::default();
        let mut maybe_done_before = false;
        loop {
            if round.is_empty() {
                round = self.addresses_of_command(deadline).await;
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
                    result: Err(concluded(error, maybe_done_before)),
                    maybe_done_before,
                };
            }
            maybe_done_before |= error.outcome() == Outcome::Unknown;
            let wait = self.next_address(&mut round, &error, &mut backoff);
            words.note(address, error);
            if too_late(wait, deadline) {
                return Commanded {
                    result: Err(concluded(words.most_telling(), maybe_done_before)),
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
            Err(_) => Err(silent(self.request_timeout()).in_context(address)),
        }
    }

    /// Asks the partition's leader, following it, until `deadline`. A leader that does not
    /// know the topic is asked again as long as others do, unless it says that the name stands for
    /// another topic than the one with `topic_id` now, or others have said so for a while.
    pub(crate) async fn ask_leader<T, F>(
        self: &Arc<Self>,
        (topic, topic_id): (&str, &str),
        partition: PartitionIndex,
        deadline: Instant,
        call: impl Fn(Api) -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let mut backoff = Backoff::default();
        let (mut last, mut missing) = (None, None);
        loop {
            if let Err(error) = self.topic(topic, deadline).await {
                return Err(last_words(last, error));
            }
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
            if refused {
                return Err(error);
            }
            if too_late(wait, deadline) {
                return Err(last_words(last, error));
            }
            sleep(wait).await;
            if !self.learn_from(&error, topic_id)
                && let Err(error) = self.refresh(topic, asked, deadline).await
                && error.outcome() == Outcome::Refused
            {
                return Err(error);
            }
            if !self.is_recreated(topic, topic_id) {
                missing = None;
            } else if error.is_another_topic() || is_believed(&mut missing) {
                return Err(recreated(topic));
            }
            last = Some(last_words(last, error));
        }
    }
}

/// The last word of each broker while a command is tried again and again.
#[derive(Debug, Default)]
struct Words(BTreeMap<Address, Error>);

impl Words {
    fn note(&mut self, address: Address, error: Error) {
        let before = self.0.remove(&address);
        self.0.insert(address, last_words(before, error));
    }

    /// Of the last words the one that says most.
    fn most_telling(self) -> Error {
        let told = self.0.into_values();
        let told = told.reduce(|told, error| more_telling(Some(told), error));
        told.unwrap_or_else(no_address)
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

/// Asks again and again until `deadline`, unless refused.
pub(crate) async fn retried<T, F>(deadline: Instant, ask: impl Fn() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let mut backoff = Backoff::default();
    let mut last = None;
    loop {
        let error = match ask().await {
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

/// Of a question's last two errors the one to tell: that time ran out says less than why.
pub(crate) fn last_words(before: Option<Error>, error: Error) -> Error {
    match error.reason() {
        Some(Reason::TimedOut) if !error.is_answer() => before.unwrap_or(error),
        _ => error,
    }
}

/// The last error of a command, which must not claim more than all its attempts allow.
fn concluded(error: Error, maybe_done: bool) -> Error {
    match maybe_done {
        true => error.maybe_done(),
        false => error,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use highwater_proto::reason::DOMAIN;
    use tonic_types::{ErrorDetails, StatusExt};

    use super::*;

    fn answer(reason: Reason) -> Error {
        let details = ErrorDetails::with_error_info(reason.as_str(), DOMAIN, HashMap::new());
        Status::with_error_details(reason.code(), "why", details).into()
    }

    fn told(said: impl IntoIterator<Item = (&'static str, Error)>) -> (Option<Reason>, bool) {
        let mut words = Words::default();
        for (address, error) in said {
            words.note(Address::from(address), error);
        }
        let told = words.most_telling();
        (told.reason(), told.is_answer())
    }

    #[test]
    fn of_what_brokers_said_last_the_most_telling_is_told() {
        use Reason::{NotReady, QuorumLost, TimedOut, Unreachable};
        let (a, b) = ("a:1", "b:1");
        let away = || Error::new(Unreachable, "gone");
        let late = || Error::new(TimedOut, "silent");
        assert_eq!(told([]), (Some(Unreachable), false));
        assert_eq!(
            told([(a, answer(NotReady)), (b, away())]),
            (Some(NotReady), true)
        );
        assert_eq!(
            told([(b, away()), (a, answer(TimedOut))]),
            (Some(TimedOut), true)
        );
        assert_eq!(
            told([(a, answer(TimedOut)), (b, away())]),
            (Some(TimedOut), true)
        );
        // Silence says less than what was said before, and a lost connection more.
        let silent = [(a, answer(QuorumLost)), (a, late()), (b, late())];
        assert_eq!(told(silent), (Some(QuorumLost), true));
        assert_eq!(
            told([(a, answer(NotReady)), (a, away())]),
            (Some(Unreachable), false)
        );
    }

    #[test]
    fn a_command_that_may_have_been_done_is_never_reported_as_not_done() {
        let error = concluded(Error::new(Reason::NotReady, "why"), true);
        assert_eq!(error.outcome(), Outcome::Unknown);
        assert!(error.message().contains("may have taken effect"), "{error}");
        let error = concluded(Error::new(Reason::NotReady, "why"), false);
        assert_eq!(
            (error.outcome(), error.message()),
            (Outcome::Retriable, "why")
        );
    }
}
