//! `highwater cluster`.

mod drain;

use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt, stream};
use highwater_client::{BrokerId, Client};
use highwater_proto::Reason;

use crate::args::{ClientArgs, ClusterArgs, ClusterVerb};
use crate::connection::{connect, connect_within};
use crate::error::Failure;
use crate::exit::ExitCode;
use crate::health::Health;
use crate::output;
use crate::view::{BrokerRow, ClusterView, TopicView};

const LOOK_EVERY: Duration = Duration::from_millis(100);
const LOOK_TIMEOUT: Duration = Duration::from_secs(3);
const TOPICS_AT_ONCE: usize = 16;

pub(super) async fn run(client: &ClientArgs, args: ClusterArgs) -> Result<(), Failure> {
    let form = client.output;
    match args.verb {
        ClusterVerb::Info => {
            let cluster = connect(client).await?.cluster().await?;
            output::object(form, &ClusterView::from(cluster), ClusterView::text)
        }
        ClusterVerb::Brokers => {
            let brokers = connect(client).await?.brokers().await?;
            let rows: Vec<BrokerRow> = brokers.into_iter().map(Into::into).collect();
            output::list(form, &rows)
        }
        ClusterVerb::Drain {
            broker,
            cancel,
            wait,
        } => drain::run(client, BrokerId(broker), cancel, wait).await,
        ClusterVerb::Health { wait } => {
            let health = health_of(client, wait).await?;
            output::object(form, &health, Health::text)?;
            match health.is_healthy() {
                true => Ok(()),
                false => Err(Failure::Told(ExitCode::Failure)),
            }
        }
    }
}

async fn health_of(args: &ClientArgs, wait: Option<Duration>) -> Result<Health, Failure> {
    match wait {
        None => look(&args.brokers.join(","), &[], args.call_timeout()).await,
        Some(limit) => wait_until_healthy(&args.brokers.join(","), limit).await,
    }
}

/// Looks until the cluster is healthy; after `limit` gives what was seen last.
async fn wait_until_healthy(brokers: &str, limit: Duration) -> Result<Health, Failure> {
    wait(brokers, &[], limit).await
}

/// The same for a cluster that all brokers at these addresses must belong to.
pub(crate) async fn wait_until_healthy_with(
    members: &[String],
    limit: Duration,
) -> Result<Health, Failure> {
    wait(&members.join(","), members, limit).await
}

async fn wait(brokers: &str, members: &[String], limit: Duration) -> Result<Health, Failure> {
    let deadline = Instant::now() + limit;
    let mut before = None;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let time = left.clamp(LOOK_EVERY, LOOK_TIMEOUT);
        let seen = look(brokers, members, time).await;
        let seen = last_word(seen, time, before);
        let healthy = seen.as_ref().is_ok_and(Health::is_healthy);
        if healthy || Instant::now() + LOOK_EVERY >= deadline {
            return seen;
        }
        before = seen.ok();
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What is known after a look that had so much `time`. One that the end cut short and that got no
/// answer says nothing about the cluster: then what was seen `before` counts.
fn last_word(
    seen: Result<Health, Failure>,
    time: Duration,
    before: Option<Health>,
) -> Result<Health, Failure> {
    match (seen, before) {
        (Err(_), Some(before)) if time < LOOK_TIMEOUT => Ok(before),
        (seen, _) => seen,
    }
}

/// Asks once for the state of everything.
async fn look(brokers: &str, members: &[String], timeout: Duration) -> Result<Health, Failure> {
    let client = connect_within(brokers, timeout).await?;
    let cluster = ClusterView::from(client.cluster().await?);
    let brokers = client
        .brokers()
        .await?
        .into_iter()
        .map(BrokerRow::from)
        .collect::<Vec<_>>();
    let topics = client.list_topics().await?;
    let descriptions = stream::iter(topics)
        .map(|topic| describe(&client, topic.name))
        .buffered(TOPICS_AT_ONCE)
        .try_collect::<Vec<_>>()
        .await?;
    let topics: Vec<TopicView> = descriptions.into_iter().flatten().collect();
    Ok(Health::judge(&cluster, &brokers, &topics).with_all_of(members, &brokers))
}

/// The state of a topic, or none when it was deleted since it was listed.
async fn describe(client: &Client, name: String) -> Result<Option<TopicView>, Failure> {
    match client.describe_topic(&name).await {
        Ok(topic) => Ok(Some(topic.into())),
        Err(error) if error.reason() == Some(Reason::TopicNotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::Status;

    fn degraded() -> Health {
        Health {
            status: Status::Degraded,
            broker_count: 3,
            topic_count: 0,
            partition_count: 0,
            draining: vec![],
            problems: vec![],
        }
    }

    #[test]
    fn a_look_that_the_end_cuts_short_does_not_hide_what_was_seen_before() {
        let no_answer = || Err(Failure::usage("no answer"));
        let short = LOOK_TIMEOUT / 2;
        let seen = last_word(no_answer(), short, Some(degraded()));
        assert_eq!(seen.unwrap(), degraded());
        assert!(last_word(no_answer(), short, None).is_err());
        assert!(last_word(no_answer(), LOOK_TIMEOUT, Some(degraded())).is_err());
    }
}
