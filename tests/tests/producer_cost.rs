//! What producing costs the client: the processor time of this process, which does nothing else.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(
    clippy::print_stdout,
    reason = "figures for those who ask with --nocapture"
)]

use std::time::Duration;

use highwater_client::{Client, Delivery, Producer, Record};
use highwater_tests::api::Api;
use highwater_tests::{Broker, processor_time, program};
use tokio::sync::Mutex;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(120);

/// Without optimisation everything takes a multiple: at most 1,220 ns a record with `send` and 816 with
/// `send_all`, beside compilers. Four times that passes, ten times does not.
const RECORDS: u64 = if cfg!(debug_assertions) {
    50_000
} else {
    5_000_000
};
const MOST_NANOS: u64 = if cfg!(debug_assertions) { 5_000 } else { 200 };
const MOST_NANOS_OF_MANY: u64 = if cfg!(debug_assertions) { 3_500 } else { 130 };
/// What one thread may cost in percent, and what two that hand the work to each other may. Without
/// optimisation that makes no difference.
const ONE_THREAD: u64 = 100;
const TWO_THREADS: u64 = if cfg!(debug_assertions) { 100 } else { 150 };

/// Records of one call.
const MANY: u64 = 1_000;

/// So many deliveries are awaited together.
const TOGETHER: usize = 20_000;

const VALUE: [u8; 100] = [b'x'; 100];

/// The processor time is that of the process: one test at a time has it.
static ALONE: Mutex<()> = Mutex::const_new(());

/// Sends without looking at what becomes of each record; the flush tells of the first failure.
async fn sent_and_flushed(producer: &Producer) -> u64 {
    for _ in 0..RECORDS {
        drop(producer.send(Record::new(&VALUE)).await.unwrap());
    }
    producer.flush().await.unwrap();
    RECORDS
}

/// Sends, and asks for the offset of every record.
async fn sent_and_awaited(producer: &Producer) -> u64 {
    let mut acknowledged = 0;
    let mut deliveries: Vec<Delivery> = Vec::with_capacity(TOGETHER);
    for _ in 0..RECORDS {
        deliveries.push(producer.send(Record::new(&VALUE)).await.unwrap());
        if deliveries.len() == TOGETHER {
            acknowledged += all_acknowledged(&mut deliveries).await;
        }
    }
    acknowledged + all_acknowledged(&mut deliveries).await
}

/// Sends many with each call, and asks for all outcomes.
async fn sent_with_few_calls(producer: &Producer) -> u64 {
    let mut sent = Vec::new();
    for _ in 0..RECORDS / MANY {
        let records: Vec<_> = (0..MANY).map(|_| Record::new(&VALUE)).collect();
        sent.push(producer.send_all(&records).await.unwrap());
    }
    let mut acknowledged = 0;
    for deliveries in sent {
        deliveries.acknowledged().await.unwrap();
        acknowledged += deliveries.len() as u64;
    }
    acknowledged
}

async fn all_acknowledged(deliveries: &mut Vec<Delivery>) -> u64 {
    let mut count = 0;
    for delivery in deliveries.drain(..) {
        count += u64::from(delivery.await.unwrap().offset.is_some());
    }
    count
}

/// The least of some rounds: one by one and flushed, one by one and awaited, many with each call.
async fn costs_of_a_record() -> [u64; 3] {
    let _alone = ALONE.lock().await;
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&program!(), dir.path(), &[]);
    Api::connect(broker.listen())
        .await
        .create("t", 1, &[])
        .await;
    let client = Client::connect(broker.listen()).await.unwrap();
    let producer = client.producer("t").build().await.unwrap();
    let mut costs = [u64::MAX; 3];
    for round in 0..9 {
        let before = processor_time();
        let sent = match round % 3 {
            0 => timeout(PATIENCE, sent_and_flushed(&producer)).await,
            1 => timeout(PATIENCE, sent_and_awaited(&producer)).await,
            _ => timeout(PATIENCE, sent_with_few_calls(&producer)).await,
        };
        assert_eq!(sent.unwrap(), RECORDS);
        let nanos = (processor_time() - before).as_nanos() as u64 / RECORDS;
        costs[round % 3] = costs[round % 3].min(nanos);
    }
    costs
}

fn assert_little(runtime: &str, percent: u64, costs: [u64; 3]) {
    let [flushed, awaited, many] = costs;
    println!(
        "{runtime}: {flushed} ns a record flushed, {awaited} ns awaited, {many} ns with send_all"
    );
    let most = [MOST_NANOS, MOST_NANOS, MOST_NANOS_OF_MANY].map(|most| most * percent / 100);
    assert!(
        costs.iter().zip(most).all(|(cost, most)| *cost <= most),
        "{costs:?} ns"
    );
}

#[tokio::test]
async fn a_record_of_a_hundred_bytes_costs_little_to_send() {
    assert_little("one thread", ONE_THREAD, costs_of_a_record().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_more_threads_than_one_it_costs_little_more() {
    assert_little("two threads", TWO_THREADS, costs_of_a_record().await);
}
