//! Where records without a key go.

use super::*;

const P1: PartitionIndex = PartitionIndex(1);

fn counts(cluster: &FakeCluster) -> [usize; 2] {
    [P0, P1].map(|partition| cluster.values("t", partition).len())
}

#[tokio::test]
async fn records_without_a_key_that_each_fill_a_batch_take_turns_among_partitions() {
    let cluster = FakeCluster::start(1);
    cluster.create_topic("t", 2);
    let client = cluster.client().await;
    let producer = producer(&client).batch_bytes(1000).build().await.unwrap();
    // Larger than what is taken from the buffer at once: none finds its space there.
    let value = vec![b'x'; 60_000];
    for _ in 0..10 {
        drop(patiently(producer.send(&*value)).await.unwrap());
    }
    patiently(producer.flush()).await.unwrap();
    assert_eq!(counts(&cluster), [5, 5]);
    let records: Vec<_> = (0..10).map(|_| Record::new(&*value)).collect();
    let sent = patiently(producer.send_all(&records)).await.unwrap();
    patiently(sent.acknowledged()).await.unwrap();
    assert_eq!(counts(&cluster), [10, 10]);
}

#[tokio::test]
async fn records_that_wait_for_space_are_spread_as_others_are() {
    let cluster = FakeCluster::start(1);
    cluster.create_topic("t", 2);
    let client = cluster.client().await;
    let builder = producer(&client).batch_bytes(1000).buffer_bytes(3000);
    let producer = builder.build().await.unwrap();
    let sends = (0..20).map(|_| producer.send(vec![b'x'; 1000]));
    for sent in patiently(futures_util::future::join_all(sends)).await {
        drop(sent.unwrap());
    }
    patiently(producer.flush()).await.unwrap();
    assert_eq!(counts(&cluster), [10, 10]);
}

#[tokio::test]
async fn records_that_find_no_space_do_not_change_where_the_next_one_goes() {
    let cluster = FakeCluster::start(1);
    cluster.create_topic("t", 2);
    cluster.faults(|faults| faults.hold_acks = true);
    let client = cluster.client().await;
    let builder = producer(&client).batch_bytes(1000).buffer_bytes(1500);
    let producer = builder.build().await.unwrap();
    let value = vec![b'x'; 400];
    // The third one does not fit; the partition of the first two is not full.
    let first = producer.try_send(&*value).unwrap();
    let second = producer.try_send(&*value).unwrap();
    let chosen = first.partition();
    assert_eq!(second.partition(), chosen);
    for _ in 0..2 {
        let refused = producer.try_send(vec![b'x'; 900]).unwrap_err();
        assert_eq!(refused.error.reason(), Some(Reason::Overloaded));
    }
    let next = producer.try_send("next").unwrap();
    assert_eq!(next.partition(), chosen);
    cluster.faults(|faults| faults.hold_acks = false);
    patiently(producer.flush()).await.unwrap();
}
