//! The consumer against brokers that end subscriptions, move leaders and die.

mod fake;

use std::sync::atomic::Ordering;

use fake::{FakeCluster, PATIENCE};
use futures_util::StreamExt;
use highwater_client::{
    Client, Codec, Consumer, ConsumerRecord, Offset, PartitionIndex, Reason, Record, Start, Until,
};

const P0: PartitionIndex = PartitionIndex(0);

async fn patiently<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("in time")
}

/// Writes `values` to the topic, in small batches, round the partitions.
async fn write(client: &Client, values: std::ops::Range<u32>, codec: Codec) {
    let producer = client
        .producer("t")
        .batch_bytes(500)
        .codec(codec)
        .build()
        .await
        .unwrap();
    let partitions = producer.partition_count();
    for value in values {
        let partition = PartitionIndex(value % partitions);
        let record = Record::new(value.to_string()).partition(partition);
        let record = record.key("k").header("h", "x");
        let _ = producer.send(record).await.unwrap();
    }
    patiently(producer.flush()).await.unwrap();
}

async fn next(consumer: &mut Consumer) -> ConsumerRecord {
    patiently(consumer.next()).await.expect("more").unwrap()
}

fn value(record: &ConsumerRecord) -> u32 {
    let value = record.value.as_ref().unwrap();
    std::str::from_utf8(value).unwrap().parse().unwrap()
}

#[tokio::test]
async fn all_records_come_with_all_they_have_and_the_stream_ends_at_the_end() {
    for codec in [Codec::None, Codec::Zstd] {
        let cluster = FakeCluster::start(2);
        cluster.create_topic("t", 3);
        let client = cluster.client().await;
        write(&client, 0..1000, codec).await;
        let consumer = client
            .consumer("t")
            .until(Until::Latest)
            .build()
            .await
            .unwrap();
        let records: Vec<_> = patiently(consumer.collect::<Vec<_>>()).await;
        let records: Vec<ConsumerRecord> = records.into_iter().map(Result::unwrap).collect();
        assert_eq!(records.len(), 1000);
        for p in 0..3 {
            let of_p = records.iter().filter(|r| r.partition.0 == p);
            for (i, record) in of_p.enumerate() {
                assert_eq!(record.offset, Offset(i as u64));
                assert_eq!(value(record), i as u32 * 3 + p);
                assert_eq!(record.key.as_deref(), Some(&b"k"[..]));
                assert_eq!(record.headers[0].name, "h");
                assert_eq!(record.append_time.0, 1000);
                assert_eq!(&*record.topic, "t");
            }
        }
    }
}
