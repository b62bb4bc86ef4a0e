//! A write that fails stops its partition alone, and not for good.

use super::asking::{create, send, start_on, topic, until_sent, values};
use super::*;
use crate::log::Dir;

#[tokio::test]
async fn a_partition_whose_write_fails_once_stops_alone_and_comes_back_with_all_it_acknowledged() {
    let disk = MemDir::new();
    let broker = start_on(&disk).await;
    let groups = disk.subdir("groups").unwrap();
    let before = groups.list_subdirs().unwrap();
    create(&broker, topic("failing")).await;
    until_sent(&broker, "failing", 1).await;
    until_sent(&broker, "failing", 2).await;
    let mut home = groups.list_subdirs().unwrap();
    home.retain(|name| !before.contains(name));
    create(&broker, topic("other")).await;
    until_sent(&broker, "other", 1).await;

    assert_eq!(broker.services.metrics.replica_failures.get(), 0);
    disk.fail_next_writes(&["groups", &home[0]]);
    assert!(
        !send(&broker, "failing", 3).await,
        "nothing is acknowledged"
    );
    assert!(send(&broker, "other", 2).await, "others go on");
    until_sent(&broker, "failing", 4).await;

    assert!(
        broker.services.metrics.replica_failures.get() >= 1,
        "it is counted"
    );
    let mut there = values(&broker, "failing").await;
    // Whether the record of the failed write is there is not known, and said so.
    there.retain(|value| *value != 3);
    assert_eq!(there, [1, 2, 4]);
    assert_eq!(values(&broker, "other").await, [1, 2]);
    broker.shutdown().await;
}
