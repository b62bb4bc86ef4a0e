//! Writes a topic's records to standard output, up to where it ends now:
//! `cargo run --example consume -- localhost:7654 clicks`

use std::io::Write;

use highwater_client::{Client, Result, Start, Until};

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or("localhost:7654".to_owned());
    let topic = arguments.next().unwrap_or("clicks".to_owned());

    let client = Client::connect(address).await?;
    let mut consumer = client
        .consumer(topic)
        .start(Start::Earliest)
        .until(Until::Latest)
        .build()
        .await?;
    let mut out = std::io::stdout().lock();
    while let Some(record) = consumer.next().await {
        let record = record?;
        let value = record.value().unwrap_or_default();
        let value = String::from_utf8_lossy(value);
        // Whoever reads our output may stop before its end.
        if writeln!(out, "{}/{} {value}", record.partition(), record.offset()).is_err() {
            break;
        }
    }
    Ok(())
}
