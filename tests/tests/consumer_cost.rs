//! What reading costs the client: the processor time of this process, which does nothing else.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(
    clippy::print_stdout,
    reason = "figures for those who ask with --nocapture"
)]

use std::time::Duration;

use highwater_client::{Client, Consumer, Record, Until};
use highwater_tests::api::Api;
use highwater_tests::{Broker, processor_time, program};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(120);

/// Without optimisation everything takes a multiple: at most 822 ns a record as a stream and 492 batch by
/// batch, beside compilers. Four times that passes, ten times does not.
const RECORDS: u64 = if cfg!(debug_assertions) {
    200_000
} else {
    5_000_000
};
const MOST_NANOS: u64 = if cfg!(debug_assertions) { 4_000 } else { 100 };
const MOST_NANOS_OF_BATCHES: u64 = if cfg!(debug_assertions) { 2_500 } else { 60 };

async fn consumer(client: &Client) -> Consumer {
    let builder = client.consumer("t").until(Until::Latest);
    builder.build().await.unwrap()
}

/// Reads record by record, as a stream gives them.
async fn by_records(mut consumer: Consumer) -> (u64, usize) {
    let (mut count, mut bytes) = (0, 0);
    while let Some(record) = consumer.next().await {
        count += 1;
        bytes += record.unwrap().value().map_or(0, <[u8]>::len);
    }
    (count, bytes)
}

/// Reads batch by batch and looks at the records where they are.
async fn by_batches(mut consumer: Consumer) -> (u64, usize) {
    let (mut count, mut bytes) = (0, 0);
    while let Some(batch) = consumer.next_batch().await {
        for record in batch.unwrap().records().unwrap().views() {
            count += 1;
            bytes += record.unwrap().value.map_or(0, <[u8]>::len);
        }
    }
    (count, bytes)
}

#[tokio::test]
async fn a_record_of_a_hundred_bytes_costs_little_to_read() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&program!(), dir.path(), &[]);
    Api::connect(broker.listen())
        .await
        .create("t", 1, &[])
        .await;
    let client = Client::connect(broker.listen()).await.unwrap();
    let producer = client
        .producer("t")
        .batch_bytes(64 << 10)
        .build()
        .await
        .unwrap();
    let value = [b'x'; 100];
    for _ in 0..RECORDS {
        drop(producer.send(Record::new(&value)).await.unwrap());
    }
    timeout(PATIENCE, producer.flush()).await.unwrap().unwrap();

    let everything = (RECORDS, RECORDS as usize * value.len());
    let mut costs = Vec::new();
    for round in 0..4 {
        let consumer = consumer(&client).await;
        let before = processor_time();
        let read = match round % 2 {
            0 => timeout(PATIENCE, by_records(consumer)).await,
            _ => timeout(PATIENCE, by_batches(consumer)).await,
        };
        assert_eq!(read.unwrap(), everything);
        costs.push((processor_time() - before).as_nanos() as u64 / RECORDS);
    }
    let (records, batches) = (costs[0].min(costs[2]), costs[1].min(costs[3]));
    println!("{records} ns a record as a stream, {batches} ns batch by batch");
    assert!(records <= MOST_NANOS, "{costs:?} ns");
    assert!(batches <= MOST_NANOS_OF_BATCHES, "{costs:?} ns");
}
