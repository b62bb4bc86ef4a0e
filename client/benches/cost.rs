//! What a record costs the client: CPU time of the threads that run it, against an in-memory
//! broker on threads of its own. Answers: is the client's share of a 100-byte record below 100 ns?
//! Linux only, where a thread's CPU time can be read from /proc.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement, printed for people"
)]

#[path = "../tests/fake/mod.rs"]
mod fake;

use std::time::{Duration, Instant};

use fake::FakeCluster;
use highwater_client::{Client, Record, Until};
use tokio::runtime::{Builder, Runtime};

const RECORDS: u32 = 4_000_000;
const CLIENT: &str = "client";

fn main() {
    // `cargo test` runs benches too, to see that they work.
    let records = if std::env::args().any(|a| a == "--bench") {
        RECORDS
    } else {
        1000
    };
    // Numbers among the arguments choose the cases by their partitions.
    let numbers = std::env::args().filter(|a| a.parse::<u32>().is_ok());
    let only: Vec<String> = numbers.collect();
    let value = [b'v'; 90];
    for (partitions, batch_bytes) in [(1, 64 << 10), (1, 256 << 10), (16, 64 << 10), (64, 4 << 10)]
    {
        if !only.is_empty() && !only.contains(&partitions.to_string()) {
            continue;
        }
        let cluster = FakeCluster::start(1);
        cluster.create_topic("t", partitions);
        let runtime = runtime();
        let client = runtime
            .block_on(Client::connect(cluster.bootstrap()))
            .unwrap();
        println!(
            "{partitions} partitions, batches of {} KiB",
            batch_bytes >> 10
        );
        measure("produce", records, || {
            runtime.block_on(spawned(produce(
                client.clone(),
                batch_bytes,
                records,
                value,
            )));
        });
        measure("produce many", records, || {
            runtime.block_on(spawned(produce_many(
                client.clone(),
                batch_bytes,
                records,
                value,
            )));
        });
        let records = 2 * records;
        measure("consume records", records, || {
            assert_eq!(runtime.block_on(spawned(consume(client.clone()))), records);
        });
        measure("consume batches", records, || {
            assert_eq!(
                runtime.block_on(spawned(consume_batches(client.clone()))),
                records
            );
        });
        runtime.shutdown_timeout(Duration::from_secs(1));
    }
}

/// Runs `work` on the client's own threads, whose CPU time is what counts.
async fn spawned<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    tokio::spawn(work).await.unwrap()
}

async fn produce(client: Client, batch_bytes: usize, records: u32, value: [u8; 90]) {
    let producer = client
        .producer("t")
        .batch_bytes(batch_bytes)
        .build()
        .await
        .unwrap();
    let mut last = None;
    for i in 0..records {
        let key = i.to_le_bytes();
        last = Some(producer.send(Record::new(&value).key(&key)).await.unwrap());
    }
    last.unwrap().await.unwrap();
    producer.flush().await.unwrap();
}

/// The same with a call for each thousand of records.
async fn produce_many(client: Client, batch_bytes: usize, records: u32, value: [u8; 90]) {
    let builder = client.producer("t").batch_bytes(batch_bytes);
    let producer = builder.build().await.unwrap();
    let keys: Vec<[u8; 4]> = (0..records).map(u32::to_le_bytes).collect();
    for keys in keys.chunks(1000) {
        let many = keys.iter().map(|key| Record::new(&value).key(key));
        let many: Vec<Record<'_>> = many.collect();
        drop(producer.send_all(&many).await.unwrap());
    }
    producer.flush().await.unwrap();
}

async fn consume(client: Client) -> u32 {
    let mut consumer = client
        .consumer("t")
        .until(Until::Latest)
        .build()
        .await
        .unwrap();
    let (mut count, mut bytes) = (0, 0);
    while let Some(record) = consumer.next().await {
        bytes += record.unwrap().value().unwrap_or_default().len();
        count += 1;
    }
    assert!(bytes > 0);
    count
}

async fn consume_batches(client: Client) -> u32 {
    let mut consumer = client
        .consumer("t")
        .until(Until::Latest)
        .build()
        .await
        .unwrap();
    let mut count = 0;
    while let Some(batch) = consumer.next_batch().await {
        for record in batch.unwrap().records().unwrap() {
            count += u32::from(record.unwrap().value().is_some());
        }
    }
    count
}

fn runtime() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1).thread_name(CLIENT).enable_all();
    builder.build().unwrap()
}

fn measure(what: &str, records: u32, work: impl FnOnce()) {
    let (cpu, start) = (cpu_of_client(), Instant::now());
    work();
    let wall = start.elapsed();
    let cpu = cpu_of_client() - cpu;
    println!(
        "  {what:16} {:6.1} ns CPU per record, {:5.2} M records/s",
        cpu.as_nanos() as f64 / f64::from(records),
        f64::from(records) / wall.as_secs_f64() / 1e6,
    );
}

/// The CPU time of all threads that run the client.
fn cpu_of_client() -> Duration {
    let mut total = 0;
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let task = task.unwrap().path();
        if std::fs::read_to_string(task.join("comm")).unwrap().trim() == CLIENT {
            let stat = std::fs::read_to_string(task.join("schedstat")).unwrap();
            total += stat.split(' ').next().unwrap().parse::<u64>().unwrap();
        }
    }
    Duration::from_nanos(total)
}
