//! What subscriptions cost a broker: a thousand that are idle, and many that are not read.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(
    clippy::print_stdout,
    reason = "figures for those who ask with --nocapture"
)]

use std::future::Future;
use std::time::{Duration, Instant};

use highwater_client::Client;
use highwater_proto::Timestamp;
use highwater_proto::batch::{BatchBuilder, Codec};
use highwater_proto::pb::v1;
use highwater_proto::pb::v1::log_service_client::LogServiceClient;
use highwater_tests::api::{Api, soon};
use highwater_tests::{Broker, Metrics, batches, files, program};
use tokio::runtime::{Builder, Runtime};
use tonic::Streaming;
use tonic::transport::Channel;

const IDLE: usize = 1_000;
const CONNECTIONS: usize = 10;

const LIMIT: Duration = Duration::from_secs(120);

/// What may be used of a core. Without optimisation it was at most 0.016, beside compilers.
const SHARE: f64 = if cfg!(debug_assertions) { 0.07 } else { 0.01 };

/// Subscriptions that are not read, what each may take of the memory, and all other calls meanwhile.
const UNREAD: usize = 100;
const EACH: usize = 1 << 20;
const OTHERS: usize = 24 << 20;

fn request(max_bytes: i32) -> v1::SubscribeRequest {
    v1::SubscribeRequest {
        topic: "t".to_owned(),
        batches: true,
        max_bytes,
        ..v1::SubscribeRequest::default()
    }
}

async fn heard(subscriptions: &mut [Streaming<v1::SubscribeResponse>]) {
    for subscription in subscriptions {
        let message = soon("progress", subscription.message()).await;
        let message = message.unwrap().unwrap();
        assert!(message.batches.is_empty() && message.next_offset == 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_idle_subscriptions_take_little_of_a_core() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&program!(), dir.path(), &[]);
    let mut subscriptions = Vec::new();
    for connection in 0..CONNECTIONS {
        let api = Api::connect(broker.listen()).await;
        if connection == 0 {
            api.create("t", 1, &[]).await;
        }
        for _ in 0..IDLE / CONNECTIONS {
            subscriptions.push(api.subscribe(request(0)).await.unwrap());
        }
    }
    heard(&mut subscriptions).await;
    // From one report of progress to the next, each subscription has cost what it costs. What else the
    // machine does can only add to that, so the least of some times counts.
    let mut shares = Vec::new();
    while shares.len() < 6 && shares.iter().all(|share| *share >= SHARE) {
        let (began, before) = (Instant::now(), broker.processor_time());
        heard(&mut subscriptions).await;
        let (took, used) = (began.elapsed(), broker.processor_time() - before);
        println!("{IDLE} idle subscriptions: {used:?} in {took:?}");
        // Where this process stood still, the next reports were there already.
        if took > Duration::from_secs(5) {
            shares.push(used.as_secs_f64() / took.as_secs_f64());
        }
    }
    let little = shares.iter().any(|share| *share < SHARE);
    assert!(little, "{shares:?} of a core");
}

/// Fills the topic with batches of this size.
async fn fill(api: &Api, count: usize, bytes: usize) {
    let value = vec![7_u8; bytes];
    for _ in 0..count {
        let batch = batches::batch([&value]);
        api.append("t", 0, batch).await.unwrap();
    }
}

/// Subscribes so many times in a client that then stands still, and never reads its connection.
fn unread(
    address: &str,
    count: usize,
    request: &v1::SubscribeRequest,
) -> (Runtime, Vec<Streaming<v1::SubscribeResponse>>) {
    let still = Builder::new_current_thread().enable_all().build().unwrap();
    let subscriptions = still.block_on(async {
        let endpoint = Channel::from_shared(format!("http://{address}")).unwrap();
        // It promises to take everything.
        let endpoint = endpoint
            .initial_stream_window_size(i32::MAX as u32)
            .initial_connection_window_size(i32::MAX as u32);
        let mut log = LogServiceClient::new(endpoint.connect().await.unwrap());
        let mut subscriptions = Vec::new();
        for _ in 0..count {
            subscriptions.push(log.subscribe(request.clone()).await.unwrap().into_inner());
        }
        subscriptions
    });
    (still, subscriptions)
}

fn elsewhere<T>(what: impl Future<Output = T>) -> T {
    Runtime::new().unwrap().block_on(what)
}

/// The most that the broker's memory grows by while nobody reads the subscriptions to a topic with
/// batches of this size, and others do.
fn cost(batch: usize) -> usize {
    let count = (16 << 20) / batch;
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&program!(), dir.path(), &[]);
    elsewhere(async {
        let api = Api::connect(broker.listen()).await;
        api.create("t", 1, &[]).await;
        fill(&api, count, batch - 1000).await;
    });
    let before = broker.memory();
    let (still, subscriptions) = unread(broker.listen(), UNREAD, &request(3 << 20));
    let most = elsewhere(async {
        let client = Client::connect(broker.listen()).await.unwrap();
        let mut most = broker.memory();
        let begun = Instant::now();
        // Until each of the unread subscriptions was sent what nobody takes.
        for round in 0.. {
            let read = Metrics::of(broker.http()).count("highwater_fetched_batches_total") as usize;
            if round >= 10 && read >= round * count + UNREAD {
                break;
            }
            assert!(begun.elapsed() < LIMIT, "{read} batches were read");
            let mut consumer = client.consumer("t").build().await.unwrap();
            let mut records = 0;
            while records < count as u64 {
                let batch = soon("a batch", consumer.next_batch()).await.unwrap();
                records += batch.unwrap().len();
            }
            most = most.max(broker.memory());
        }
        most
    });
    drop(subscriptions);
    drop(still);
    elsewhere(async {
        Api::connect(broker.listen())
            .await
            .high_watermark("t", 0)
            .await
    });
    most.saturating_sub(before)
}

#[test]
fn subscriptions_that_are_not_read_cost_a_bounded_amount_each() {
    for batch in [16 << 10, 1000 << 10] {
        let cost = cost(batch);
        println!(
            "{UNREAD} subscriptions to batches of {} KiB that are not read: {} KiB each",
            batch >> 10,
            (cost >> 10) / UNREAD
        );
        assert!(cost < UNREAD * EACH + OTHERS, "{batch}: {cost} bytes");
    }
}

/// Each takes as much as a record may that is not sent in its batch, and comes out of some hundred bytes.
#[test]
fn subscriptions_to_large_records_that_are_not_read_cost_a_bounded_amount_each() {
    const COUNT: usize = 10;
    const RECORD: usize = (15 << 18) - 1000;
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&program!(), dir.path(), &[]);
    let mut builder = BatchBuilder::new();
    builder.push(Timestamp(1), None, Some(&vec![0; RECORD]), &[]);
    let dense = builder.build(Codec::Zstd, None).unwrap();
    elsewhere(async {
        let api = Api::connect(broker.listen()).await;
        api.create("t", 1, &[]).await;
        for _ in 0..20 {
            api.append("t", 0, dense.clone()).await.unwrap();
        }
    });
    let before = broker.memory();
    let records = v1::SubscribeRequest {
        batches: false,
        ..request(0)
    };
    let (still, subscriptions) = unread(broker.listen(), COUNT, &records);
    let most = elsewhere(async {
        let api = Api::connect(broker.listen()).await;
        let (mut most, mut sent, mut quiet) = (0, 0, 0);
        while quiet < 100 {
            let now = Metrics::of(broker.http()).count("highwater_fetched_records_total");
            quiet = if now == sent { quiet + 1 } else { 0 };
            sent = now;
            api.high_watermark("t", 0).await;
            most = most.max(broker.memory());
        }
        println!("{sent} records were sent to {COUNT} subscriptions that are not read");
        most
    });
    let cost = most.saturating_sub(before);
    println!("{} KiB each", (cost >> 10) / COUNT);
    assert!(cost < COUNT * 5 * RECORD + OTHERS, "{cost} bytes");
    drop(subscriptions);
    drop(still);
}

#[test]
fn what_a_subscription_that_is_not_read_keeps_of_deleted_files_is_told_and_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&program!(), dir.path(), &[]);
    elsewhere(async {
        let api = Api::connect(broker.listen()).await;
        api.create("t", 1, &[("segment.bytes", "8MiB")]).await;
        fill(&api, 64, 999 << 10).await;
    });
    let kept = || Metrics::of(broker.http()).value("highwater_disk_deleted_bytes");
    assert_eq!(kept(), 0.0);
    let (still, subscriptions) = unread(broker.listen(), 1, &request(3 << 20));
    let begun = Instant::now();
    while Metrics::of(broker.http()).count("highwater_fetched_batches_total") == 0 {
        assert!(begun.elapsed() < LIMIT, "nothing is sent");
    }
    broker
        .run(&["topic", "trim", "t", "-p", "all", "--to", "end", "-y"])
        .ok();
    // The files go one after the other; those that nobody reads are gone with their names.
    let partition = files::partition_dir(dir.path());
    while files::segments(&partition).len() > 3 || kept() > f64::from(16 << 20) {
        assert!(begun.elapsed() < LIMIT, "{} bytes are kept", kept());
    }
    assert!(kept() > 0.0);
    drop(subscriptions);
    drop(still);
    while kept() > 0.0 {
        assert!(begun.elapsed() < LIMIT, "{} bytes are kept", kept());
    }
}
