//! A topic that is deleted gives its disk space back, on every broker.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::time::Duration;

use highwater_tests::storage::partition_dir;
use highwater_tests::{Api, Cluster, program};

const LIMIT: Duration = Duration::from_secs(60);

/// Waits until nothing is left of a directory.
async fn until_gone(dir: &Path) {
    let mut rounds = tokio::time::interval(Duration::from_millis(10));
    let gone = async {
        while dir.exists() {
            rounds.tick().await;
        }
    };
    let gone = tokio::time::timeout(LIMIT, gone).await;
    gone.unwrap_or_else(|_| panic!("{} is still there", dir.display()));
}

#[tokio::test]
async fn a_deleted_topic_leaves_nothing_on_any_broker_also_not_on_one_that_was_down() {
    let mut cluster = Cluster::start(&program!(), 3);
    let api = Api::connect(cluster.brokers[0].listen()).await;
    let id = api.create("t", 1, &[]).await;
    cluster.until_healthy();
    let home = |place: usize| partition_dir(&cluster.brokers[place], &id, 0);
    let homes: Vec<_> = (0..3).map(home).collect();
    assert!(homes.iter().all(|home| home.is_dir()), "{homes:?}");

    cluster.brokers[2].kill();
    let delete = ["topic", "delete", "t", "--yes"];
    cluster.brokers[0].run(&delete).ok();
    until_gone(&homes[0]).await;
    until_gone(&homes[1]).await;
    assert!(homes[2].is_dir(), "nobody has deleted it there yet");

    cluster.brokers[2].restart();
    until_gone(&homes[2]).await;
}
