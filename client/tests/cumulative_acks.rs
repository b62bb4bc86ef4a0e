//! One ack for several batches: each delivery learns its own place.
#![allow(clippy::unwrap_used, reason = "tests")]

mod fake;

use std::time::Duration;

use fake::{FakeCluster, PATIENCE};
use highwater_client::{Deliveries, Offset, PartitionIndex, Producer, Record};

async fn patiently<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("in time")
}

/// Sends some records to a partition as one batch, and waits until the broker has it.
async fn sent(
    cluster: &FakeCluster,
    producer: &Producer,
    partition: u32,
    values: &[&str],
) -> Deliveries {
    let next = |state: &mut fake::State| state.partition("t", partition).unwrap().next_offset;
    let before = next(&mut cluster.shared.state());
    let record = |value: &&str| Record::new(value.to_string()).partition(PartitionIndex(partition));
    let records: Vec<Record<'_>> = values.iter().map(record).collect();
    let deliveries = patiently(producer.send_all(&records)).await.unwrap();
    let taken = |state: &mut fake::State| next(state) == before + values.len() as u64;
    cluster.wait_until("the batch is taken", taken).await;
    deliveries
}

async fn offsets(deliveries: Deliveries) -> Vec<u64> {
    let mut offsets = Vec::new();
    for delivery in deliveries {
        let ack = patiently(delivery).await.unwrap();
        offsets.extend(ack.offset.map(|Offset(offset)| offset));
    }
    offsets
}

/// How many acks there are for six batches of one producer to two partitions, with one of another
/// producer in between. `None` if some were sent again, as when they are not answered for 3 s.
async fn acks(single_acks: bool) -> Option<usize> {
    let cluster = FakeCluster::start(1);
    cluster.create_topic("t", 2);
    cluster.faults(|faults| {
        faults.single_acks = single_acks;
        faults.hold_acks = true;
    });
    let (client, others) = (cluster.client().await, cluster.client().await);
    let linger = Duration::from_millis(1);
    let producer = client.producer("t").linger(linger).build().await.unwrap();
    let other = others.producer("t").build().await.unwrap();
    let mut told = Vec::new();
    told.push((sent(&cluster, &producer, 0, &["a", "b"]).await, vec![0, 1]));
    told.push((sent(&cluster, &producer, 1, &["c"]).await, vec![0]));
    told.push((sent(&cluster, &producer, 0, &["d", "e"]).await, vec![2, 3]));
    told.push((sent(&cluster, &producer, 1, &["f", "g"]).await, vec![1, 2]));
    told.push((sent(&cluster, &other, 0, &["x"]).await, vec![4]));
    told.push((sent(&cluster, &producer, 0, &["h"]).await, vec![5]));
    told.push((sent(&cluster, &producer, 0, &["i", "j"]).await, vec![6, 7]));
    cluster.faults(|faults| faults.hold_acks = false);
    for (deliveries, expected) in told {
        assert_eq!(offsets(deliveries).await, expected);
    }
    let acks = cluster.shared.count(|c| &c.acks);
    let (batches, again) = (
        cluster.shared.count(|c| &c.batches),
        cluster.shared.count(|c| &c.duplicates),
    );
    (batches == 7 && again == 0).then_some(acks)
}

async fn acks_of_a_quiet_run(single_acks: bool) -> usize {
    let quiet = async {
        loop {
            if let Some(acks) = acks(single_acks).await {
                return acks;
            }
        }
    };
    patiently(quiet).await
}

#[tokio::test]
async fn batches_that_lie_one_after_another_are_told_their_places_by_one_ack() {
    // a b d e, c f g, x, h i j.
    assert_eq!(acks_of_a_quiet_run(false).await, 4);
}

#[tokio::test]
async fn a_broker_that_knows_only_single_acks_is_understood() {
    assert_eq!(acks_of_a_quiet_run(true).await, 7);
}
