//! How long a broker inside a test takes. Alone in a file, so that no other test runs beside it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(
    clippy::print_stdout,
    reason = "the figures, for whoever asks with --nocapture"
)]

use std::time::{Duration, Instant};

use highwater_broker::testing::Broker;
use highwater_client::{Client, NewTopic, Record};
use highwater_tests::may_take;

/// What else a machine does can hide what is measured, never the other way round: the first of
/// some rounds that keeps the limit counts.
const ROUNDS: usize = 12;
const STARTS: usize = 21;
const START: Duration = may_take(Duration::from_millis(30), Duration::from_millis(150));
const TEST: Duration = may_take(Duration::from_millis(100), Duration::from_millis(500));

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

async fn assert_median_below(limit: Duration, what: &str, once: impl AsyncFn()) {
    let mut medians = Vec::new();
    for _ in 0..ROUNDS {
        let mut times = Vec::new();
        for _ in 0..STARTS {
            let began = Instant::now();
            once().await;
            times.push(began.elapsed());
        }
        medians.push(median(times));
        if medians.last().is_some_and(|last| *last < limit) {
            println!("{what}: median {medians:?}");
            return;
        }
    }
    panic!("{what} takes {medians:?}, more than {limit:?}");
}

#[tokio::test]
async fn half_of_all_starts_take_less_than_thirty_milliseconds_and_leave_nothing() {
    let start = async || drop(Broker::start().await.unwrap());
    assert_median_below(START, "a start", start).await;
    let test = async || {
        let broker = Broker::start().await.unwrap();
        let client = Client::connect(broker.address()).await.unwrap();
        client.create_topic(NewTopic::new("t")).await.unwrap();
        let producer = client.producer("t").build().await.unwrap();
        let sent = producer.send(Record::new("a")).await.unwrap();
        sent.await.unwrap();
        let mut consumer = client.consumer("t").build().await.unwrap();
        consumer.next().await.unwrap().unwrap();
    };
    assert_median_below(TEST, "a test with a broker", test).await;
    let before = memory_kib();
    for _ in 0..50 {
        test().await;
    }
    let more = memory_kib().saturating_sub(before);
    assert!(more < 16 << 10, "50 brokers that ended left {more} KiB");
}

fn memory_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kib.unwrap().parse().unwrap()
}
