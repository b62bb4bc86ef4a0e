//! Handles each record at least once, also when the program is killed: it keeps the offset of the next
//! record in a file, and begins there: `cargo run --example resume -- localhost:7654 clicks offset`

use std::fs;
use std::io::Write;

use highwater_client::{Client, Offset, PartitionIndex, Start};

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or("localhost:7654".to_owned());
    let topic = arguments.next().unwrap_or("clicks".to_owned());
    let file = arguments.next().unwrap_or("offset".to_owned());

    let start = match fs::read_to_string(&file) {
        Ok(text) => Start::Offset(Offset(text.trim().parse()?)),
        Err(_) => Start::Earliest,
    };
    let client = Client::connect(address).await?;
    let consumer = client.consumer(topic).partitions([PartitionIndex(0)]);
    let mut consumer = consumer.start(start).build().await?;
    let mut out = std::io::stdout().lock();
    while let Some(record) = consumer.next().await {
        let record = record?;
        let value = record.value().unwrap_or_default();
        writeln!(
            out,
            "{} {}",
            record.offset(),
            String::from_utf8_lossy(value)
        )?;
        // After the work, never before it: what a crash repeats is not lost.
        keep(&file, record.offset().0 + 1)?;
    }
    Ok(())
}

/// Replaces the file as a whole, so that a crash leaves the old offset or the new one.
fn keep(file: &str, next: u64) -> Result<(), Failure> {
    let beside = format!("{file}.new");
    fs::write(&beside, next.to_string())?;
    Ok(fs::rename(beside, file)?)
}
