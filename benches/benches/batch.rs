//! What a record costs where batches are built, checked and read.
//!
//! Napkin: a record of 100 bytes is one copy (about 5 ns), its share of one CRC-32C pass over the batch
//! (about 4 ns) and a few varints; a codec costs 1 to 3 ns a byte beside that. Every record that is
//! read is compared with what was written.

#![expect(clippy::print_stdout, reason = "a benchmark reports on stdout")]

use std::error::Error;
use std::time::Instant;

use bytes::Bytes;
use highwater_benches::median;
use highwater_proto::Timestamp;
use highwater_proto::batch::{BatchBuilder, Codec, RecordBatch, StoredBatch};

type Failure = Box<dyn Error>;

/// A batch of about 64 KiB, which is what a busy client sends at least.
const RECORDS: usize = 600;
const VALUE: usize = 100;
const ROUNDS: usize = 2_000;

fn main() -> Result<(), Failure> {
    let values: Vec<Vec<u8>> = (0..RECORDS).map(value).collect();
    for codec in [
        Codec::None,
        Codec::Lz4,
        Codec::Snappy,
        Codec::Zstd,
        Codec::Gzip,
    ] {
        let batch = build(&values, codec)?;
        println!(
            "{codec:?}: {RECORDS} records, {} bytes; a record:",
            batch.len()
        );
        let built = time(|| build(&values, codec))?;
        println!("  build: {built}");
        let checked = time(|| Ok(RecordBatch::parse(batch.clone(), batch.len())?))?;
        println!("  check, by the broker: {checked}");
        let read = time(|| read(&batch, &values))?;
        println!("  read and compare: {read}");
    }
    Ok(())
}

/// Text like that of a log, which codecs can do something with; no two are equal.
fn value(number: usize) -> Vec<u8> {
    let line = format!(
        "{number:08} INFO order accepted customer={} ",
        number * 7919
    );
    line.bytes().cycle().take(VALUE).collect()
}

fn build(values: &[Vec<u8>], codec: Codec) -> Result<Bytes, Failure> {
    let mut builder = BatchBuilder::with_capacity(RECORDS * (VALUE + 16));
    for value in values {
        builder.push(Timestamp(1), None, Some(value), &[]);
    }
    Ok(builder.build(codec, None)?)
}

fn read(batch: &Bytes, values: &[Vec<u8>]) -> Result<(), Failure> {
    let records = StoredBatch::decode(batch.clone())?.records()?;
    let mut read = 0;
    for (record, value) in records.views().zip(values) {
        if record?.value != Some(value.as_slice()) {
            return Err(format!("record {read} is another").into());
        }
        read += 1;
    }
    (read == values.len())
        .then_some(())
        .ok_or_else(|| format!("{read} records were read").into())
}

/// The time of one record, over many batches.
fn time<T>(mut work: impl FnMut() -> Result<T, Failure>) -> Result<String, Failure> {
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        work()?;
        times.push(start.elapsed().as_nanos() / RECORDS as u128);
    }
    Ok(median(times))
}
