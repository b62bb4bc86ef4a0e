//! What partitions cost that nobody uses.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use highwater_proto::pb::v1;
use highwater_tests::api::{Api, soon};
use highwater_tests::{Broker, Cluster, figure, program};

/// How much more of a core may be used without optimisation.
const SLOWER: f64 = if cfg!(debug_assertions) { 10.0 } else { 1.0 };

/// Reports come 10 s apart; what is measured over less time says little.
const LONG: Duration = Duration::from_secs(5);
const ROUNDS: usize = 6;

/// Private memory in bytes; without optimisation tasks are larger.
const MEMORY: usize = if cfg!(debug_assertions) {
    400 << 20
} else {
    200 << 20
};

/// Measures the processor time of brokers from one report of progress to the next, after two of them.
/// What else the machine does can only add to it, so the first of some times that keeps to `limit` of
/// a core for each broker counts; gives the shares.
async fn shares(api: &Api, brokers: &[&Broker], limit: f64) -> Vec<f64> {
    let request = v1::SubscribeRequest {
        topic: "idle".to_owned(),
        ..v1::SubscribeRequest::default()
    };
    let mut reports = api.subscribe(request).await.unwrap();
    soon("a report", reports.message()).await.unwrap().unwrap();
    soon("a report", reports.message()).await.unwrap().unwrap();
    let measure = || brokers.iter().map(|broker| broker.processor_time());
    let mut seen = Vec::new();
    while seen.len() < ROUNDS {
        let (began, before): (_, Vec<Duration>) = (Instant::now(), measure().collect());
        soon("a report", reports.message()).await.unwrap().unwrap();
        let took = began.elapsed();
        // Where this process stood still, the next report was there already.
        if took < LONG {
            continue;
        }
        let used = measure().zip(before).map(|(after, before)| after - before);
        let shares: Vec<f64> = used
            .map(|used| used.as_secs_f64() / took.as_secs_f64())
            .collect();
        if shares.iter().all(|share| *share < limit) {
            return shares;
        }
        seen.push(shares);
    }
    panic!("{seen:?} of a core, more than {limit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_idle_partitions_take_less_than_a_hundredth_of_a_core_and_200_mib() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&program!(), dir.path(), &[]);
    broker.run(&["topic", "create", "idle", "-p", "1000"]).ok();
    let api = Api::connect(broker.listen()).await;
    let shares = shares(&api, &[&broker], 0.01 * SLOWER).await;
    let memory = broker.memory();
    figure(&format!(
        "1,000 idle partitions: {:.2} % of a core, {} MiB",
        shares[0] * 100.0,
        memory >> 20
    ));
    assert!(memory < MEMORY, "{memory} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_idle_partitions_on_three_brokers_take_less_than_four_hundredths_of_a_core() {
    let cluster = Cluster::start(&program!(), 3);
    cluster
        .run(&["topic", "create", "idle", "-p", "300", "-r", "3"])
        .ok();
    cluster.until_healthy();
    let api = Api::connect(cluster.brokers[cluster.leader_of("idle", 0)].listen()).await;
    let brokers: Vec<&Broker> = cluster.brokers.iter().collect();
    for share in shares(&api, &brokers, 0.04 * SLOWER).await {
        figure(&format!(
            "300 idle partitions with 3 replicas: {:.2} % of a core",
            share * 100.0
        ));
    }
}
