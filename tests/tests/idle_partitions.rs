//! What partitions cost that nobody uses.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use highwater_proto::pb::v1;
use highwater_tests::api::{Api, soon};
use highwater_tests::{Broker, Cluster, figure, program};

/// How much more of a core may be used without optimisation.
const SLOWER: f64 = if cfg!(debug_assertions) { 10.0 } else { 1.0 };

/// Private memory in bytes; without optimisation tasks are larger.
const MEMORY: usize = if cfg!(debug_assertions) {
    400 << 20
} else {
    200 << 20
};

/// Waits for the second of two reports of progress, which come 10 s apart; gives the time from the
/// first of them and what `measure` grew by in it.
async fn between_reports<T>(api: &Api, measure: impl Fn() -> T) -> (Duration, T, T) {
    let request = v1::SubscribeRequest {
        topic: "idle".to_owned(),
        ..v1::SubscribeRequest::default()
    };
    let mut reports = api.subscribe(request).await.unwrap();
    soon("a report", reports.message()).await.unwrap().unwrap();
    soon("a report", reports.message()).await.unwrap().unwrap();
    let (began, before) = (Instant::now(), measure());
    soon("a report", reports.message()).await.unwrap().unwrap();
    (began.elapsed(), before, measure())
}

fn share(took: Duration, before: Duration, after: Duration) -> f64 {
    assert!(took > Duration::from_secs(5), "{took:?}");
    (after - before).as_secs_f64() / took.as_secs_f64()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_idle_partitions_take_less_than_a_hundredth_of_a_core_and_200_mib() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&program!(), dir.path(), &[]);
    broker.run(&["topic", "create", "idle", "-p", "1000"]).ok();
    let api = Api::connect(broker.listen()).await;
    let (took, before, after) = between_reports(&api, || broker.processor_time()).await;
    let share = share(took, before, after);
    let memory = broker.memory();
    figure(&format!(
        "1,000 idle partitions: {:.2} % of a core, {} MiB",
        share * 100.0,
        memory >> 20
    ));
    assert!(share < 0.01 * SLOWER, "{share} of a core");
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
    let all = || -> Vec<Duration> {
        let brokers = cluster.brokers.iter();
        brokers.map(Broker::processor_time).collect()
    };
    let (took, before, after) = between_reports(&api, all).await;
    for (before, after) in before.into_iter().zip(after) {
        let share = share(took, before, after);
        figure(&format!(
            "300 idle partitions with 3 replicas: {:.2} % of a core",
            share * 100.0
        ));
        assert!(share < 0.04 * SLOWER, "{share} of a core");
    }
}
