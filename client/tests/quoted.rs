//! What the pages of the documentation quote beside the examples, run against a broker.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use highwater_broker::testing::Broker;
use highwater_client::{
    Client, Delivery, Event, Freshness, NewTopic, Offset, PartitionIndex, Producer, ReadFrom,
    Reason, Record, Result, Start, Until,
};

const P0: PartitionIndex = PartitionIndex(0);
const LIMIT: Duration = Duration::from_secs(60);

async fn patiently<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, what).await.expect("in time")
}

/// A broker with the topics of the pages.
async fn broker() -> (Broker, Client) {
    let broker = Broker::start().await.unwrap();
    let client = Client::connect(broker.address()).await.unwrap();
    for topic in ["clicks", "orders"] {
        client.create_topic(NewTopic::new(topic)).await.unwrap();
    }
    (broker, client)
}

/// docs/client.md
async fn first_steps(addresses: String) -> Result<Offset> {
    let client = Client::connect(addresses).await?; // such as "localhost:7654,localhost:7664"
    let clicks = client.producer("clicks").build().await?;
    let delivery = clicks.send(Record::new("v1").key("user-1")).await?; // waits for buffer space only
    let ack = delivery.await?; // durable
    Ok(ack.offset.unwrap())
}

/// docs/client.md, docs/guides/produce-safely.md
async fn take_name(client: &Client) -> Result<Producer> {
    let orders = client
        .producer("orders")
        .name("orders-writer")
        .build()
        .await?;
    Ok(orders)
}

/// docs/guides/produce-safely.md: whether this instance goes on.
async fn still_mine(orders: &Producer, order: &str) -> Result<bool> {
    let sent = async { orders.send(order).await?.await };
    match sent.await {
        Ok(_) => Ok(true),
        // Another instance has the name: it writes now, and this one ends.
        Err(error) if error.reason() == Some(Reason::ProducerFenced) => Ok(false),
        Err(error) => Err(error),
    }
}

/// docs/guides/produce-safely.md: none where the caller is told to come back later.
fn accept(producer: &Producer, line: &str) -> Result<Option<Delivery>> {
    match producer.try_send(line) {
        Ok(delivery) => Ok(Some(delivery)),
        Err(full) if full.error.reason() == Some(Reason::Overloaded) => Ok(None),
        Err(refused) => Err(refused.error),
    }
}

/// docs/guides/consume.md: the values up to the end, and where that is.
async fn up_to_the_end(client: &Client) -> Result<(usize, Offset)> {
    let mut orders = client.consumer("orders").build().await?;
    let mut bytes = 0;
    while let Some(event) = orders.next_event().await {
        match event? {
            Event::Batch(batch) => {
                for record in batch.records()?.views() {
                    bytes += record?.value.map_or(0, <[u8]>::len);
                }
            }
            // What was there is handed out: the state that is built from it is up to date.
            Event::CaughtUp(news) => return Ok((bytes, news.high_watermark)),
            _ => {}
        }
    }
    Ok((bytes, Offset(0)))
}

/// docs/guides/consume.md
async fn near_and_fresh(client: &Client) -> Result<Option<Vec<u8>>> {
    let consumer = client
        .consumer("orders")
        .read_from(ReadFrom::Nearest)
        .freshness(Freshness::Bounded(Duration::from_secs(1)));
    let mut consumer = consumer.until(Until::Latest).build().await?;
    let first = consumer.next().await.transpose()?;
    Ok(first.and_then(|record| record.value().map(Vec::from)))
}

/// docs/guides/consume.md
async fn moved(client: &Client) -> Result<Offset> {
    let mut consumer = client.consumer("orders").build().await?;
    consumer.pause(P0)?; // its broker sends nothing more, and it holds up no other partition
    consumer.seek(P0, Start::LastN(1)).await?; // no record of the old position comes after this
    consumer.resume(P0)?;
    let last = consumer.next().await.transpose()?;
    Ok(last.map_or(Offset(0), |record| record.offset()))
}

#[tokio::test]
async fn what_the_pages_quote_does_what_they_say() {
    let (broker, client) = broker().await;
    assert_eq!(
        patiently(first_steps(broker.address())).await.unwrap(),
        Offset(0)
    );

    let first = patiently(take_name(&client)).await.unwrap();
    assert!(patiently(still_mine(&first, "one")).await.unwrap());
    let second = patiently(take_name(&client)).await.unwrap();
    for _ in 0..2 {
        assert!(!patiently(still_mine(&first, "lost")).await.unwrap());
    }
    assert!(patiently(still_mine(&second, "two")).await.unwrap());

    let third = accept(&second, "three").unwrap().unwrap();
    patiently(third).await.unwrap();
    let full = client.producer("orders").buffer_bytes(1000);
    let full = full.linger(LIMIT).build().await.unwrap();
    let is_full = |_| accept(&full, "more").unwrap().is_none();
    assert!((0..1000).any(is_full));
    patiently(full.shutdown(LIMIT)).await.unwrap();

    let (bytes, end) = patiently(up_to_the_end(&client)).await.unwrap();
    assert_eq!(bytes as u64, 3 + 3 + 5 + 4 * (end.0 - 3));
    let value = patiently(near_and_fresh(&client)).await.unwrap();
    assert_eq!(value.as_deref(), Some(&b"one"[..]));
    assert_eq!(patiently(moved(&client)).await.unwrap(), Offset(end.0 - 1));
}
