//! Sends lines of standard input to a topic, and says where each of them is once it is durable:
//! `cargo run --example produce -- localhost:7654 clicks`

use std::io::{Write, stdin, stdout};
use std::time::Duration;

use highwater_client::{Client, Outcome, Record, Result};

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or("localhost:7654".to_owned());
    let topic = arguments.next().unwrap_or("clicks".to_owned());

    let client = Client::connect(address).await?;
    let producer = client.producer(topic).build().await?;
    let mut deliveries = Vec::new();
    for line in stdin().lines().map_while(std::result::Result::ok) {
        // Waits only while the buffer is full; the delivery is ready when the record is durable.
        deliveries.push(producer.send(Record::new(line)).await?);
    }

    let mut out = stdout().lock();
    for delivery in deliveries {
        let said = match delivery.await {
            Ok(ack) => format!("{} {:?}", ack.partition, ack.offset.map(|offset| offset.0)),
            // Nothing proves that it was not written: it may be there, or may still appear.
            Err(error) if error.outcome() == Outcome::Unknown => format!("unknown: {error}"),
            // Proven not to be written: it is safe to send it again.
            Err(error) => format!("not written: {error}"),
        };
        drop(writeln!(out, "{said}"));
    }
    producer.shutdown(Duration::from_secs(10)).await
}
