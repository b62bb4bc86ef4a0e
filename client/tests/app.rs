//! How an application tests itself with a broker inside the test; quoted by
//! `docs/guides/test-your-app.md`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use highwater_broker::testing::Broker;
use highwater_client::{Client, NewTopic, Record, Result, Until};

/// The application: it counts the orders in a topic.
async fn orders(client: &Client) -> Result<usize> {
    let consumer = client.consumer("orders").until(Until::Latest);
    let mut consumer = consumer.build().await?;
    let mut count = 0;
    while let Some(order) = consumer.next().await {
        order?;
        count += 1;
    }
    Ok(count)
}

#[tokio::test]
async fn orders_are_counted() {
    let broker = Broker::start().await.unwrap();
    let client = Client::connect(broker.address()).await.unwrap();
    client.create_topic(NewTopic::new("orders")).await.unwrap();
    assert_eq!(orders(&client).await.unwrap(), 0);

    let producer = client.producer("orders").build().await.unwrap();
    let delivery = producer.send(Record::new("a book")).await.unwrap();
    delivery.await.unwrap();
    assert_eq!(orders(&client).await.unwrap(), 1);
}

#[tokio::test]
async fn orders_survive_a_broker_that_is_killed() {
    let mut broker = Broker::start().await.unwrap();
    let client = Client::connect(broker.address()).await.unwrap();
    client.create_topic(NewTopic::new("orders")).await.unwrap();
    let producer = client.producer("orders").build().await.unwrap();
    let delivery = producer.send(Record::new("a book")).await.unwrap();
    delivery.await.unwrap();

    broker.kill().await;
    broker.restart().await.unwrap();
    assert_eq!(orders(&client).await.unwrap(), 1);
}

#[tokio::test]
async fn orders_go_after_a_week() {
    let broker = Broker::start().await.unwrap();
    let client = Client::connect(broker.address()).await.unwrap();
    let topic = NewTopic::new("orders").config("retention.ms", "7d");
    client.create_topic(topic).await.unwrap();
    let producer = client.producer("orders").build().await.unwrap();
    let delivery = producer.send(Record::new("a book")).await.unwrap();
    delivery.await.unwrap();

    let day = Duration::from_secs(24 * 60 * 60);
    broker.advance(6 * day);
    assert_eq!(orders(&client).await.unwrap(), 1);
    broker.advance(2 * day);
    let gone = async { while orders(&client).await.unwrap() > 0 {} };
    let soon = Duration::from_secs(30);
    tokio::time::timeout(soon, gone).await.unwrap();
}
