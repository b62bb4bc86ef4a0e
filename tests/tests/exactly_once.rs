//! Every record is in the log once and in order, although one of ten answers is lost on the way and
//! leaders are killed with SIGKILL at random. `HIGHWATER_TEST_RECORDS` says how many records; see
//! docs/testing.md for the long form. `HIGHWATER_SEED=n` repeats the choices of a run, which prints its
//! seed.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use highwater_client::{Client, PartitionIndex, Record, Until};
use highwater_tests::proxy::Answers;
use highwater_tests::random::{Random, seed};
use highwater_tests::{Cluster, Proxy, figure, program};

const PARTITIONS: u32 = 6;
/// Of a thousand answers, so many are lost.
const LOST: u64 = 100;
/// A leader is killed once in so many records, somewhere among them.
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

/// When a leader is killed, and of which partition: the number of a record in each run of
/// `KILL_EVERY` that is whole.
fn kills(count: u64, seed: u64) -> Vec<(u64, usize)> {
    let mut random = Random(seed);
    (0..count / KILL_EVERY)
        .map(|run| {
            let at = run * KILL_EVERY + random.below(KILL_EVERY);
            (at, random.below(u64::from(PARTITIONS)) as usize)
        })
        .collect()
}

/// Kills the leader of each partition that it is told, counts it, and lets it come back.
fn kill_leaders(
    mut cluster: Cluster,
    partitions: mpsc::Receiver<usize>,
    killed: &AtomicUsize,
) -> Cluster {
    for partition in partitions {
        let leader = cluster.leader_of("t", partition);
        cluster.brokers[leader].kill();
        killed.fetch_add(1, Ordering::SeqCst);
        cluster.brokers[leader].restart();
        cluster.until_healthy();
    }
    cluster
}

/// About one of ten answers was lost, in both ways.
#[track_caller]
fn assert_were_lost(answers: Answers) {
    let lost = answers.broken + answers.swallowed;
    let of_thousand = lost * 1000 / (lost + answers.passed);
    assert!((LOST / 3..LOST * 3).contains(&of_thousand), "{answers:?}");
    let rarer = answers.broken.min(answers.swallowed);
    assert!(rarer > lost / 20, "{answers:?}");
}

async fn produce(
    client: &Client,
    count: u64,
    kills: &[(u64, usize)],
    partitions: mpsc::SyncSender<usize>,
) {
    let mut kills = kills.iter().peekable();
    let builder = client.producer("t").batch_bytes(64 << 10);
    let patience = Duration::from_secs(600);
    let producer = builder.delivery_timeout(patience).build().await.unwrap();
    for number in 0..count {
        let partition = PartitionIndex(u32::try_from(number % u64::from(PARTITIONS)).unwrap());
        let record = Record::new(value(number)).partition(partition);
        drop(producer.send(record).await.unwrap());
        if let Some((_, partition)) = kills.next_if(|(at, _)| *at == number) {
            // Until the cluster has healed from the kill before, if it has not yet.
            tokio::task::block_in_place(|| partitions.send(*partition)).unwrap();
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
            let number = std::str::from_utf8(&record.value().unwrap()[..20])
                .unwrap()
                .parse();
            assert_eq!(
                number,
                Ok(*next),
                "at offset {} of {}",
                record.offset(),
                record.partition()
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
    let seed = seed();
    figure(&format!("HIGHWATER_SEED={seed}"));
    let kills = kills(count, seed);
    let (cluster, proxies) = Cluster::behind_proxies(&program!(), 3, 0, seed);
    let partitions = PARTITIONS.to_string();
    cluster
        .run(&["topic", "create", "t", "-p", &partitions, "-r", "3"])
        .ok();
    cluster.until_healthy();
    let client = Client::connect(cluster.addresses()).await.unwrap();
    proxies.iter().for_each(|proxy| proxy.lose(LOST));
    let (partitions, told) = mpsc::sync_channel(0);
    let killed = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&killed);
    let killer = thread::spawn(move || kill_leaders(cluster, told, &counted));

    let began = Instant::now();
    let limit = Duration::from_secs(120) + PATIENCE * u32::try_from(count).unwrap();
    let producing = produce(&client, count, &kills, partitions);
    tokio::time::timeout(limit, producing)
        .await
        .expect("all is acknowledged in time");
    let produced = began.elapsed();
    let killed = killed.load(Ordering::SeqCst);
    let cluster = killer.join().unwrap();
    let answers = proxies.iter().map(Proxy::answers);
    let answers = answers.reduce(Answers::and).unwrap();
    // The last one may come too late for that.
    assert!(killed + 1 >= kills.len(), "{killed} before all was sent");
    assert_were_lost(answers);

    proxies.iter().for_each(|proxy| proxy.lose(0));
    cluster.until_healthy();
    let verifying = verify(&client, count);
    tokio::time::timeout(limit, verifying)
        .await
        .expect("all is read in time");
    figure(&format!(
        "{count} records acknowledged in {produced:.0?} and verified, {:.0?} in all; {killed} leaders \
         killed before that; {} answers lost with their connection, {} alone, {} passed on",
        began.elapsed(),
        answers.broken,
        answers.swallowed,
        answers.passed
    ));
}
