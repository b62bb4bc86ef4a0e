//! Reads again what came in the last so many seconds, up to where the topic ends now, and counts the
//! records of each key: `cargo run --example replay -- localhost:7654 clicks 3600`

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use highwater_client::{Client, Start, Timestamp, Until};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or("localhost:7654".to_owned());
    let topic = arguments.next().unwrap_or("clicks".to_owned());
    let seconds = arguments.next().unwrap_or("3600".to_owned()).parse()?;

    let since = SystemTime::now() - Duration::from_secs(seconds);
    let since = i64::try_from(since.duration_since(UNIX_EPOCH)?.as_millis())?;
    let client = Client::connect(address).await?;
    let mut consumer = client
        .consumer(topic)
        .start(Start::Timestamp(Timestamp(since)))
        .until(Until::Latest)
        .build()
        .await?;
    let mut counts: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
    while let Some(record) = consumer.next().await {
        let record = record?;
        let key = record.key().unwrap_or_default();
        *counts.entry(key.to_vec()).or_default() += 1;
    }
    let mut out = std::io::stdout().lock();
    for (key, count) in counts {
        writeln!(out, "{} {count}", String::from_utf8_lossy(&key))?;
    }
    Ok(())
}
