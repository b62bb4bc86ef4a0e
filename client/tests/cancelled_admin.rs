//! Calls about topics that are dropped at any point: what they ask for is done or not, as a whole, and
//! the client goes on.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod dropped;

use std::time::Duration;

use dropped::up_to;
use highwater_broker::testing::Broker;
use highwater_client::{
    BrokerId, Client, Error, NewTopic, Offset, PartitionIndex, Position, Reason, Record,
    TopicChanges, TrimTo,
};

const P0: PartitionIndex = PartitionIndex(0);
const RETENTION: &str = "retention.ms";
const LIMIT: Duration = Duration::from_secs(60);

async fn patiently<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, what).await.expect("in time")
}

/// Calls `once` with 0 polls, 1, 2 and so on until what it drops there is not dropped any more. Each
/// time the client knows nothing yet and has the most to wait for.
async fn at_each_point(once: impl AsyncFn(&Broker, Client, usize) -> bool) {
    let broker = Broker::start().await.unwrap();
    for polls in 0.. {
        let builder = Client::builder().bootstrap(broker.address());
        if once(&broker, builder.build().unwrap(), polls).await {
            assert!(polls > 1, "it had to wait");
            return;
        }
    }
}

/// Whether it was done; fails unless it was, or what it asks for is there already.
fn done<T>(result: Result<T, Error>, already: Reason) -> bool {
    match result {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.reason(), Some(already), "{error}");
            false
        }
    }
}

async fn write(client: &Client, topic: &str) -> Offset {
    let producer = client.producer(topic).build().await.unwrap();
    let delivery = producer.send(Record::new("v")).await.unwrap();
    patiently(delivery).await.unwrap().offset.unwrap()
}

#[tokio::test]
async fn a_topic_whose_creation_was_dropped_is_there_as_a_whole_or_not_at_all() {
    at_each_point(async |_, client, polls| {
        let name = format!("t{polls}");
        let topic = NewTopic::new(&*name).partitions(2);
        let created = up_to(polls, client.create_topic(topic.clone())).await;
        match client.describe_topic(&name).await {
            Ok(there) => assert_eq!(there.partitions.len(), 2),
            Err(error) => assert_eq!(error.reason(), Some(Reason::TopicNotFound), "{error}"),
        }
        if let Some(created) = created {
            assert_eq!(created.unwrap().name, name);
            return true;
        }
        done(client.create_topic(topic).await, Reason::TopicExists);
        assert_eq!(write(&client, &name).await, Offset(0));
        false
    })
    .await;
}

#[tokio::test]
async fn a_topic_whose_deletion_was_dropped_is_there_with_its_records_or_not_at_all() {
    at_each_point(async |broker, client, polls| {
        let name = format!("t{polls}");
        let other = Client::connect(broker.address()).await.unwrap();
        other.create_topic(NewTopic::new(&*name)).await.unwrap();
        write(&other, &name).await;
        let deleted = up_to(polls, client.delete_topic(&name)).await;
        match client.describe_topic(&name).await {
            Ok(there) => assert_eq!(there.partitions[0].high_watermark, Offset(1)),
            Err(error) => assert_eq!(error.reason(), Some(Reason::TopicNotFound), "{error}"),
        }
        if let Some(deleted) = deleted {
            deleted.unwrap();
            return true;
        }
        done(client.delete_topic(&name).await, Reason::TopicNotFound);
        let error = client.describe_topic(&name).await.unwrap_err();
        assert_eq!(error.reason(), Some(Reason::TopicNotFound), "{error}");
        false
    })
    .await;
}

#[tokio::test]
async fn a_setting_whose_change_was_dropped_is_the_old_or_the_new_one() {
    at_each_point(async |broker, client, polls| {
        let other = Client::connect(broker.address()).await.unwrap();
        let created = other.create_topic(NewTopic::new("t")).await;
        done(created, Reason::TopicExists);
        let before = other.describe_topic("t").await.unwrap().config;
        let new = (1_000_000 + polls).to_string();
        let changes = TopicChanges::new().set(RETENTION, &*new);
        let altered = up_to(polls, client.alter_topic("t", changes.clone())).await;
        let mut after = client.describe_topic("t").await.unwrap().config;
        assert!([&before[RETENTION], &new].contains(&&after[RETENTION]));
        after.insert(RETENTION.to_owned(), before[RETENTION].clone());
        assert_eq!(after, before, "nothing else has changed");
        if let Some(altered) = altered {
            assert_eq!(altered.unwrap()[RETENTION], new);
            return true;
        }
        let altered = client.alter_topic("t", changes).await.unwrap();
        assert_eq!(altered[RETENTION], new);
        false
    })
    .await;
}

#[tokio::test]
async fn a_partition_whose_trim_was_dropped_begins_where_it_did_or_where_it_was_to() {
    at_each_point(async |broker, client, polls| {
        let other = Client::connect(broker.address()).await.unwrap();
        let created = other.create_topic(NewTopic::new("t")).await;
        done(created, Reason::TopicExists);
        let end = Offset(write(&other, "t").await.0 + 1);
        let trim = || client.trim("t", P0, TrimTo::Offset(end), false);
        let trimmed = up_to(polls, trim()).await;
        let here = client.describe_topic("t").await.unwrap().partitions[0].log_start_offset;
        assert!([Offset(end.0 - 1), end].contains(&here), "{here} of {end}");
        let was_dropped = trimmed.is_none();
        let trimmed = match trimmed {
            Some(trimmed) => trimmed,
            None => trim().await,
        };
        assert_eq!(trimmed.unwrap().log_start_offset, end);
        !was_dropped
    })
    .await;
}

#[tokio::test]
async fn questions_that_were_dropped_are_answered_when_they_are_asked_again() {
    /// Drops the question after so many polls, asks again, and says whether it was dropped.
    async fn asked<T, F: Future<Output = Result<T, Error>>>(
        polls: usize,
        ask: impl Fn() -> F,
    ) -> bool {
        let answered = up_to(polls, ask()).await;
        ask().await.map(drop).unwrap();
        answered.map(Result::unwrap).is_none()
    }
    at_each_point(async |broker, client, polls| {
        let other = Client::connect(broker.address()).await.unwrap();
        let created = other.create_topic(NewTopic::new("t")).await;
        done(created, Reason::TopicExists);
        let dropped = [
            asked(polls, || client.describe_topic("t")).await,
            asked(polls, || client.list_topics()).await,
            asked(polls, || client.cluster()).await,
            asked(polls, || client.brokers()).await,
            asked(polls, || client.metadata(&["t"])).await,
            asked(polls, || client.list_offsets("t", P0, Position::Latest)).await,
            asked(polls, || client.partition_count("t")).await,
            asked(polls, || Client::connect(broker.address())).await,
        ];
        assert_eq!(client.list_topics().await.unwrap().len(), 1);
        !dropped.contains(&true)
    })
    .await;
}

#[tokio::test]
async fn a_broker_whose_drain_was_dropped_is_drained_or_not_and_can_be_set_either_way() {
    at_each_point(async |broker, client, polls| {
        let (id, other) = (BrokerId(broker.id()), Client::connect(broker.address()));
        let other = other.await.unwrap();
        let is_drained = async || other.brokers().await.unwrap()[0].draining;
        let drained = up_to(polls, client.drain_broker(id)).await;
        is_drained().await;
        let was_dropped = drained.is_none();
        drained.map(Result::unwrap);
        patiently(client.drain_broker(id)).await.unwrap();
        assert!(is_drained().await);
        let cancelled = up_to(polls, client.cancel_drain(id)).await;
        is_drained().await;
        let too = cancelled.is_none();
        cancelled.map(Result::unwrap);
        patiently(client.cancel_drain(id)).await.unwrap();
        assert!(!is_drained().await);
        !(was_dropped || too)
    })
    .await;
}
