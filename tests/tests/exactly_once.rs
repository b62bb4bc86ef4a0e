//! Every record is in the log once and in order, although one of ten answers is lost on the way and
//! leaders are killed with SIGKILL. `HIGHWATER_TEST_RECORDS` says how many records; see
//! docs/testing.md for the long form.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use highwater_client::{Client, PartitionIndex, Record, Until};
use highwater_tests::{Cluster, Proxy, figure, program};

const PARTITIONS: u32 = 6;
/// Of a thousand answers, so many are lost.
const LOST: u64 = 100;
const SEED: u64 = 20_261;
/// So many records later the next leader is killed.
const KILL_EVERY: u64 = 250_000;
/// The longest that the whole may take for each record.
const PATIENCE: Duration = Duration::from_micros(900);

fn records() -> u64 {
    let given = std::env::var("HIGHWATER_TEST_RECORDS").ok();
    given.map_or(1_000_000, |text| text.parse().unwrap())
}

/// 100 bytes that begin with the record's number.
fn value(number: u64) -> String {
    format!("{number:020}{:80}", "")
}

/// Kills the leader of one partition after another, one each time it is told, and lets it come back.
fn kill_leaders(mut cluster: Cluster, turns: mpsc::Receiver<u64>) -> (Cluster, u64) {
    let mut killed = 0;
    for turn in turns {
        let partition = (turn * 7 + 3) % u64::from(PARTITIONS);
        let leader = cluster.leader_of("t", usize::try_from(partition).unwrap());
        cluster.brokers[leader].kill();
        killed += 1;
        cluster.brokers[leader].restart();
        cluster.until_healthy();
    }
    (cluster, killed)
}

async fn produce(client: &Client, count: u64, turns: mpsc::Sender<u64>) {
    let builder = client.producer("t").batch_bytes(64 << 10);
    let patience = Duration::from_secs(600);
    let producer = builder.delivery_timeout(patience).build().await.unwrap();
    for number in 0..count {
        let partition = PartitionIndex(u32::try_from(number % u64::from(PARTITIONS)).unwrap());
        let record = Record::new(value(number)).partition(partition);
        drop(producer.send(record).await.unwrap());
        if number % KILL_EVERY == KILL_EVERY / 2 {
            turns.send(number / KILL_EVERY).unwrap();
        }
    }
    producer.flush().await.unwrap();
}

/// Fails unless each partition has its records, each once, in order, and nothing else.
async fn verify(client: &Client, count: u64) {
    let builder = client.consumer("t").until(Until::Latest);
    let mut consumer = builder.build().await.unwrap();
    let mut next: Vec<u64> = (0..u64::from(PARTITIONS)).collect();
    while let Some(batch) = consumer.next_batch().await {
        let batch = batch.unwrap();
        let next = &mut next[batch.partition().0 as usize];
        for record in batch.records().unwrap() {
            let record = record.unwrap();
            let number = std::str::from_utf8(&record.value.unwrap()[..20])
                .unwrap()
                .parse();
            assert_eq!(
                number,
                Ok(*next),
                "at offset {} of {}",
                record.offset,
                record.partition
            );
            *next += u64::from(PARTITIONS);
        }
    }
    for (partition, next) in (0..).zip(next) {
        assert!(next >= count, "partition {partition} ends before {next}");
        assert_eq!(next % u64::from(PARTITIONS), partition);
        assert!(
            next < count + u64::from(PARTITIONS),
            "partition {partition}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_record_is_there_once_and_in_order_though_answers_are_lost_and_leaders_killed() {
    let count = records();
    let (cluster, proxies) = Cluster::behind_proxies(&program!(), 3, 0, SEED);
    let partitions = PARTITIONS.to_string();
    cluster
        .run(&["topic", "create", "t", "-p", &partitions, "-r", "3"])
        .ok();
    cluster.until_healthy();
    let client = Client::connect(cluster.addresses()).await.unwrap();
    proxies.iter().for_each(|proxy| proxy.lose(LOST));
    let (turns, told) = mpsc::channel();
    let killer = thread::spawn(move || kill_leaders(cluster, told));

    let began = Instant::now();
    let limit = Duration::from_secs(120) + PATIENCE * u32::try_from(count).unwrap();
    let producing = produce(&client, count, turns);
    tokio::time::timeout(limit, producing)
        .await
        .expect("all is acknowledged in time");
    let produced = began.elapsed();
    let (cluster, killed) = killer.join().unwrap();
    assert_eq!(
        killed,
        count.saturating_add(KILL_EVERY / 2 - 1) / KILL_EVERY
    );
    let lost = proxies.iter().map(Proxy::lost);
    let lost = lost
        .reduce(|sum, lost| (sum.0 + lost.0, sum.1 + lost.1))
        .unwrap();
    assert!(lost.0 > 0 && lost.1 > 0, "answers were lost: {lost:?}");

    proxies.iter().for_each(|proxy| proxy.lose(0));
    cluster.until_healthy();
    let verifying = verify(&client, count);
    tokio::time::timeout(limit, verifying)
        .await
        .expect("all is read in time");
    figure(&format!(
        "{count} records acknowledged in {produced:.0?} and verified, {:.0?} in all; {killed} leaders \
         killed; {} answers lost with their connection, {} alone",
        began.elapsed(),
        lost.0,
        lost.1
    ));
}
