//! Reaching the cluster, and its errors as failures of a command.

use std::time::Duration;

use highwater_client::{Client, Error, Outcome};
use highwater_proto::Reason;

use crate::args::ClientArgs;
use crate::error::Failure;
use crate::suggest;

/// The name under which brokers show this program.
const CLIENT_ID: &str = concat!("highwater/", env!("CARGO_PKG_VERSION"));

/// How long looking for a better name of a topic may delay an error.
const SUGGESTION_TIMEOUT: Duration = Duration::from_secs(2);

/// Connects to the cluster of the arguments.
pub(crate) async fn connect(args: &ClientArgs) -> Result<Client, Failure> {
    connect_within(&args.brokers.join(","), args.call_timeout()).await
}

/// The same, from a place in `rack`; an empty one is nowhere.
pub(crate) async fn connect_from(args: &ClientArgs, rack: &str) -> Result<Client, Failure> {
    let brokers = args.brokers.join(",");
    let builder = Client::builder().bootstrap(brokers).client_id(CLIENT_ID);
    let builder = builder.request_timeout(args.call_timeout()).rack(rack);
    Ok(builder.connect().await?)
}

/// Connects to the cluster of `brokers`; each call takes at most `timeout`.
pub(crate) async fn connect_within(brokers: &str, timeout: Duration) -> Result<Client, Failure> {
    let builder = Client::builder().bootstrap(brokers).client_id(CLIENT_ID);
    Ok(builder.request_timeout(timeout).connect().await?)
}

/// The reason that an error is shown with. A connection that broke has none of its own.
pub(crate) fn reason_of(error: &Error) -> Reason {
    error.reason().unwrap_or(match error.outcome() {
        Outcome::Retriable => Reason::Unreachable,
        Outcome::Unknown => Reason::OutcomeUnknown,
        Outcome::Refused => Reason::Internal,
    })
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::api(reason_of(&error), error.message())
    }
}

/// The failure of a request about `topic`: when there is no such topic, with the nearest name.
pub(crate) async fn about_topic(client: &Client, topic: &str, error: Error) -> Failure {
    let reason = error.reason();
    let failure = Failure::from(error);
    if reason == Some(Reason::PartitionNotFound) {
        return failure.hint(format!("highwater topic describe {topic}"));
    }
    if reason != Some(Reason::TopicNotFound) {
        return failure;
    }
    let Ok(Ok(topics)) = tokio::time::timeout(SUGGESTION_TIMEOUT, client.list_topics()).await
    else {
        return failure;
    };
    match suggest::nearest(topic, topics.iter().map(|topic| topic.name.as_str())) {
        Some(near) => failure.hint(format!("did you mean {near:?}? all: highwater topic list")),
        None => failure,
    }
}
