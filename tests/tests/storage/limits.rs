//! A partition takes what `retention.bytes` says, also in a burst, and what it keeps is right.

use std::sync::mpsc::TryRecvError;

use bytes::Bytes;
use highwater_proto::pb::v1;
use highwater_tests::api::soon;
use highwater_tests::batches::batch;
use highwater_tests::storage::{disk_bytes, partition_dir, recycled};
use highwater_tests::{Api, Broker, Session, program};

use super::{VALUE, fill, read, stored, until_begins};

/// Batches of a burst that are not yet answered, at most.
const IN_FLIGHT: u64 = 24;

/// Sends eight times the limit in batches of `bytes` as fast as the partition takes them; gives the
/// most that its files took meanwhile, and what it then keeps, in percent of the limit.
async fn burst(limit: u64, bytes: usize) -> (u64, u64) {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&program!(), dir.path(), &[]);
    let api = Api::connect(broker.listen()).await;
    let bound = limit.to_string();
    let id = api.create("t", 1, &[("retention.bytes", &bound)]).await;
    let home = partition_dir(&broker, &id, 0);
    let (ended, end) = std::sync::mpsc::channel::<()>();
    let watching = tokio::task::spawn_blocking(move || {
        let mut most = 0;
        while end.try_recv() == Err(TryRecvError::Empty) {
            // While a file is renamed it may be counted twice.
            let looks = [(); 3].map(|()| disk_bytes(&home));
            most = most.max(looks.into_iter().min().unwrap_or(0));
        }
        most
    });
    let mut session = Session::open(&api).await;
    let count = 8 * limit / bytes as u64;
    for number in 1..=count + IN_FLIGHT {
        if number <= count {
            let value = format!("{number:08}").repeat(bytes / 8);
            session.send("t", 0, batch([value]));
        }
        if number > IN_FLIGHT {
            session.answer(number - IN_FLIGHT).await.unwrap();
        }
    }
    drop(ended);
    let most = watching.await.unwrap();
    let start = api.describe("t").await.unwrap().partitions[0].log_start_offset;
    let kept = (count - start.cast_unsigned()) * bytes as u64;
    (most * 100 / limit, kept * 100 / limit)
}

/// Where the partition begins and all its batches, while retention may move its beginning.
async fn kept(api: &Api, topic: &str, from: i64) -> (i64, Vec<Bytes>) {
    let mut start = until_begins(api, topic, from).await;
    let kept = async {
        loop {
            match read(api, topic, start).await {
                Ok(batches) => return (start, batches),
                Err(deleted) => {
                    let begins = deleted.offset_range().log_start_offset;
                    assert!(begins > start, "{begins}, before: {start}");
                    start = begins;
                }
            }
        }
    };
    soon("what is kept can be read", kept).await
}

#[tokio::test]
async fn a_lower_limit_keeps_the_newest_records_up_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&program!(), dir.path(), &[]);
    let api = Api::connect(broker.listen()).await;
    api.create("t", 1, &[("max.batch.bytes", "200KiB")]).await;
    fill(&api, "t", 0, 60).await;
    let rest = stored(&api, "t", 50).await;
    let limit = [("retention.bytes".to_owned(), "2MiB".to_owned())];
    let alter = v1::AlterTopicRequest {
        name: "t".to_owned(),
        set: limit.into(),
        unset: Vec::new(),
    };
    api.alter(alter).await.unwrap();
    // Two MiB hold twenty of the records, the files around them included.
    let start = until_begins(&api, "t", 40).await;
    assert!(start <= 50, "{start}");
    fill(&api, "t", 60, 1).await;
    let start = until_begins(&api, "t", 40).await;
    assert!(start <= 50, "{start}");
    assert_eq!(stored(&api, "t", 50).await[..10], rest);
}

#[tokio::test]
async fn a_partition_takes_as_much_of_the_disk_as_it_may() {
    const LIMIT: u64 = 10 << 20;
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&program!(), dir.path(), &[]);
    let api = Api::connect(broker.listen()).await;
    let id = api.create("t", 1, &[("retention.bytes", "10MiB")]).await;
    let home = partition_dir(&broker, &id, 0);
    let (least, most) = (LIMIT * 9 / 10, LIMIT * 11 / 10);
    for number in 0..800 {
        let value = format!("{number:05}").repeat(VALUE / 20);
        api.append("t", 0, batch([value])).await.unwrap();
        let least = if number >= 450 { least } else { 0 };
        // While a file is renamed it may be counted twice or not at all, and what has to go goes
        // beside the appends.
        let kept = async {
            while !(least..=most).contains(&disk_bytes(&home)) {
                api.high_watermark("t", 0).await;
            }
        };
        soon("the partition takes what it may", kept).await;
    }
    let told = async {
        loop {
            let told = api.described("t").await.partitions[0].clone();
            let bytes = told.disk_bytes.cast_unsigned();
            if (370..450).contains(&told.log_start_offset) && (least..=most).contains(&bytes) {
                return;
            }
        }
    };
    soon("the partition says what it takes", told).await;
}

#[tokio::test]
async fn a_burst_keeps_to_the_limit_too() {
    for bytes in [100_000, 256 << 10] {
        let (most, kept) = burst(10 << 20, bytes).await;
        assert!(most <= 110, "{most} % with batches of {bytes}");
        assert!(kept >= 70, "{kept} % with batches of {bytes}");
    }
}

#[tokio::test]
async fn batches_as_large_as_a_limit_allows_pass_it_by_one_of_them_at_most() {
    let (most, kept) = burst(10 << 20, 1_000_000).await;
    assert!(most <= 115, "{most} %");
    assert!(kept >= 50, "{kept} %");
}

#[tokio::test]
async fn what_is_kept_in_recycled_files_is_there_and_right_after_sigkill() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(&program!(), dir.path(), &[]);
    let api = Api::connect(broker.listen()).await;
    let id = api.create("t", 1, &[("retention.bytes", "10MiB")]).await;
    let home = partition_dir(&broker, &id, 0);
    let value = |number: i64| format!("{number:05}").repeat(VALUE / 20);
    let mut next = 0;
    for round in 0..3 {
        let api = Api::connect(broker.listen()).await;
        // Retention goes through all files, and has seen the last record before the kill or not.
        let written = next + 500 + round;
        while next < written || recycled(&home) < 3 {
            assert!(next < 5000, "used again: {}", recycled(&home));
            api.append("t", 0, batch([value(next)])).await.unwrap();
            next += 1;
        }
        broker.kill();
        broker.restart();
        let api = Api::connect(broker.listen()).await;
        assert_eq!(api.high_watermark("t", 0).await, next);
        let (start, batches) = kept(&api, "t", next - 449).await;
        assert_eq!(batches.len() as i64, next - start);
        for (batch, number) in batches.iter().zip(start..) {
            // A record ends with its value and the number of its headers.
            let whole = batch[..batch.len() - 1].ends_with(value(number).as_bytes());
            assert!(whole, "record {number}");
        }
    }
}
