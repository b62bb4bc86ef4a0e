//! Sends lines of standard input to a topic: `cargo run --example produce -- localhost:7654 clicks`

use std::io::BufRead;
use std::time::Duration;

use highwater_client::{Client, Record, Result};

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or("localhost:7654".to_owned());
    let topic = arguments.next().unwrap_or("clicks".to_owned());

    let client = Client::connect(address).await?;
    let producer = client.producer(topic).build().await?;
    let mut deliveries = Vec::new();
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        // Waits only while the buffer is full; the delivery is ready when the record is durable.
        deliveries.push(producer.send(Record::new(line)).await?);
    }
    producer.flush().await?;
    for delivery in deliveries {
        let ack = delivery.await?;
        tracing::info!(partition = %ack.partition, offset = ?ack.offset, "durable");
    }
    producer.shutdown(Duration::from_secs(10)).await
}
