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
        None => look(&args.brokers.join(","), args.call_timeout()).await,
        Some(limit) => wait_until_healthy(&args.brokers.join(","), limit).await,
    }
}

/// Looks until the cluster is healthy; after `limit` gives what was seen last.
pub(crate) async fn wait_until_healthy(brokers: &str, limit: Duration) -> Result<Health, Failure> {
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let seen = look(brokers, left.clamp(LOOK_EVERY, LOOK_TIMEOUT)).await;
        let healthy = seen.as_ref().is_ok_and(Health::is_healthy);
        if healthy || Instant::now() + LOOK_EVERY >= deadline {
            return seen;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Asks once for the state of everything.
async fn look(brokers: &str, timeout: Duration) -> Result<Health, Failure> {
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
    Ok(Health::judge(&cluster, &brokers, &topics))
}

/// The state of a topic, or none when it was deleted since it was listed.
async fn describe(client: &Client, name: String) -> Result<Option<TopicView>, Failure> {
    match client.describe_topic(&name).await {
        Ok(topic) => Ok(Some(topic.into())),
        Err(error) if error.reason() == Some(Reason::TopicNotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
