//! Reading: by records and by batches, once and on and on, from a position, and never above the
//! high watermark.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use highwater_proto::batch::StoredBatch;
use highwater_proto::pb::v1;
use highwater_proto::pb::v1::list_offsets_request::Position;
use highwater_tests::api::{soon, text};
use highwater_tests::batches::{TIME, at, batch, changed, damaged};
use highwater_tests::{Answer, Api, Broker, Session, program};
use tokio::sync::watch;
use tonic::{Code, Streaming};

/// A broker with the topic `t` of one partition.
async fn broker(dir: &tempfile::TempDir) -> (Broker, Api) {
    let broker = Broker::start(&program!(), dir.path(), &[]);
    let api = Api::connect(broker.listen()).await;
    api.create("t", 1, &[]).await;
    (broker, api)
}

fn from(offset: i64) -> v1::FetchRequest {
    v1::FetchRequest {
        topic: "t".to_owned(),
        offset,
        ..v1::FetchRequest::default()
    }
}

/// The offset and the value of each record.
fn records(records: Vec<v1::Record>) -> Vec<(i64, String)> {
    let pair = |record: v1::Record| (record.offset, text(record));
    records.into_iter().map(pair).collect()
}

/// The offsets and values that whole batches hold.
fn unpacked(batches: &[v1::AppendedBatch]) -> Vec<(i64, String)> {
    let mut all = Vec::new();
    for appended in batches {
        let stored = StoredBatch::decode(appended.batch.clone()).unwrap();
        for record in stored.records().unwrap() {
            let record = record.unwrap();
            let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
            all.push((record.offset.to_i64(), value));
        }
    }
    all
}

fn pairs(range: std::ops::Range<i64>, value: impl Fn(i64) -> String) -> Vec<(i64, String)> {
    range.map(|offset| (offset, value(offset))).collect()
}

#[tokio::test]
async fn records_are_exact_and_batches_are_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (_broker, api) = broker(&dir).await;
    for first in [0, 3, 6] {
        let values = (first..first + 3).map(|offset| format!("v{offset}"));
        api.append("t", 0, batch(values)).await.unwrap();
    }
    let value = |offset| format!("v{offset}");
    for offset in 0..=9 {
        let read = api.fetch(from(offset)).await.unwrap();
        assert_eq!(records(read.records), pairs(offset..9, value));
        assert!(read.batches.is_empty());
        let bounds = (read.next_offset, read.log_start_offset, read.high_watermark);
        assert_eq!(bounds, (9, 0, 9));

        let batches = true;
        let read = api
            .fetch(v1::FetchRequest {
                batches,
                ..from(offset)
            })
            .await;
        let read = read.unwrap();
        assert_eq!(unpacked(&read.batches), pairs(offset / 3 * 3..9, value));
        assert!(read.records.is_empty());
        assert_eq!(read.next_offset, 9);
        assert!(read.batches.iter().all(|batch| batch.append_time > TIME));
    }
}

#[tokio::test]
async fn a_read_has_as_many_bytes_as_allowed_but_one_batch_at_least() {
    let dir = tempfile::tempdir().unwrap();
    let (_broker, api) = broker(&dir).await;
    let large = "x".repeat(100_000);
    for _ in 0..5 {
        api.append("t", 0, batch([&large, &large])).await.unwrap();
    }
    let limited = |offset, max_bytes, batches| v1::FetchRequest {
        max_bytes,
        batches,
        ..from(offset)
    };
    for (max_bytes, batches) in [(1, 1), (300_000, 1), (450_000, 2), (0, 5)] {
        let read = api.fetch(limited(0, max_bytes, true)).await.unwrap();
        assert_eq!(read.batches.len(), batches, "{max_bytes}");
        assert_eq!(read.next_offset, 2 * i64::try_from(batches).unwrap());
    }
    for (max_bytes, count) in [(1, 1), (150_000, 1), (250_000, 2), (0, 10)] {
        let read = api.fetch(limited(0, max_bytes, false)).await.unwrap();
        assert_eq!(read.records.len(), count, "{max_bytes}");
        assert_eq!(read.next_offset, i64::try_from(count).unwrap());
    }
    // However much is asked for, an answer is one that every client can take.
    for _ in 0..20 {
        api.append("t", 0, batch([&large, &large])).await.unwrap();
    }
    for batches in [true, false] {
        let read = api.fetch(limited(0, i32::MAX, batches)).await.unwrap();
        assert!(read.next_offset < 50, "{}", read.next_offset);
    }
    assert_eq!(api.values("t", 0).await.len(), 50);
}

#[tokio::test]
async fn bytes_and_times_below_nothing_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (_broker, api) = broker(&dir).await;
    let bytes = v1::FetchRequest {
        max_bytes: -1,
        ..from(0)
    };
    let wait = v1::FetchRequest {
        max_wait_ms: -1,
        ..from(0)
    };
    for (request, field) in [(bytes, "max_bytes"), (wait, "max_wait_ms")] {
        let refused = api.fetch(request).await.unwrap_err();
        refused.is(Code::InvalidArgument, "INVALID_REQUEST", &[field, "-1"]);
    }
    let request = v1::SubscribeRequest {
        topic: "t".to_owned(),
        max_bytes: i32::MIN,
        ..v1::SubscribeRequest::default()
    };
    let refused = api.subscribe(request).await.map(drop).unwrap_err();
    refused.is(Code::InvalidArgument, "INVALID_REQUEST", &["max_bytes"]);
}

#[tokio::test]
async fn a_waiting_read_wakes_when_data_comes() {
    let dir = tempfile::tempdir().unwrap();
    let (_broker, api) = broker(&dir).await;
    let began = Instant::now();
    let waiting = api.clone();
    let waiting = tokio::spawn(async move {
        let max_wait_ms = 15_000;
        waiting
            .fetch(v1::FetchRequest {
                max_wait_ms,
                ..from(0)
            })
            .await
    });
    // An answered call on the same connection: the one before it has arrived.
    assert_eq!(api.high_watermark("t", 0).await, 0);
    api.append("t", 0, batch(["a"])).await.unwrap();
    let read = waiting.await.unwrap().unwrap();
    assert_eq!(records(read.records), [(0, "a".to_owned())]);
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn a_waiting_read_ends_empty_when_its_time_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let (_broker, api) = broker(&dir).await;
    api.append("t", 0, batch(["a"])).await.unwrap();
    for (max_wait_ms, at_least) in [(0, 0), (300, 300)] {
        let began = Instant::now();
        let read = api
            .fetch(v1::FetchRequest {
                max_wait_ms,
                ..from(1)
            })
            .await;
        let read = read.unwrap();
        assert!(read.records.is_empty());
        assert_eq!((read.next_offset, read.high_watermark), (1, 1));
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(at_least), "{took:?}");
        assert!(took < Duration::from_secs(10), "{took:?}");
    }
}

async fn subscribe(api: &Api, offset: i64, batches: bool) -> Streaming<v1::SubscribeResponse> {
    let request = v1::SubscribeRequest {
        topic: "t".to_owned(),
        offset,
        batches,
        ..v1::SubscribeRequest::default()
    };
    api.subscribe(request).await.unwrap()
}

async fn next(subscription: &mut Streaming<v1::SubscribeResponse>) -> v1::SubscribeResponse {
    let message = soon("a message of a subscription", subscription.message()).await;
    message.unwrap().unwrap()
}

#[tokio::test]
async fn a_subscription_pushes_what_comes_and_reports_progress_when_idle() {
    let dir = tempfile::tempdir().unwrap();
    let (_broker, api) = broker(&dir).await;
    api.append("t", 0, batch(["v0", "v1", "v2"])).await.unwrap();
    for batches in [false, true] {
        let mut subscription = subscribe(&api, 1, batches).await;
        let end = api.high_watermark("t", 0).await;
        let mut read = Vec::new();
        let mut at = 1;
        for round in 0..3 {
            while at < end + round {
                let message = next(&mut subscription).await;
                assert!(message.next_offset <= message.high_watermark);
                read.extend(records(message.records));
                read.extend(unpacked(&message.batches));
                at = message.next_offset;
            }
            let value = format!("v{at}");
            api.append("t", 0, batch([value])).await.unwrap();
        }
        let first = if batches { 0 } else { 1 };
        assert_eq!(read, pairs(first..at, |offset| format!("v{offset}")));
    }
    let end = api.high_watermark("t", 0).await;
    let mut idle = subscribe(&api, end, false).await;
    for _ in 0..2 {
        let progress = next(&mut idle).await;
        assert!(progress.records.is_empty());
        assert_eq!((progress.next_offset, progress.high_watermark), (end, end));
    }
}

#[tokio::test]
async fn a_position_is_an_offset() {
    let dir = tempfile::tempdir().unwrap();
    let (_broker, api) = broker(&dir).await;
    let list = |position| {
        let api = api.clone();
        async move {
            let request = v1::ListOffsetsRequest {
                topic: "t".to_owned(),
                position,
                ..v1::ListOffsetsRequest::default()
            };
            let found: Answer<v1::ListOffsetsResponse> = api.list_offsets(request).await;
            let found = found.unwrap();
            (found.offset, found.high_watermark)
        }
    };
    for position in [
        None,
        Some(Position::Earliest(true)),
        Some(Position::Latest(true)),
        Some(Position::Timestamp(0)),
    ] {
        assert_eq!(list(position).await, (0, 0));
    }
    // Records at TIME, TIME + 1, TIME + 2, twice.
    for _ in 0..2 {
        api.append("t", 0, batch(["a", "b", "c"])).await.unwrap();
    }
    assert_eq!(list(Some(Position::Earliest(false))).await, (0, 6));
    assert_eq!(list(Some(Position::Latest(true))).await, (6, 6));
    assert_eq!(list(None).await, (6, 6));
    for (time, offset) in [
        (i64::MIN, 0),
        (0, 0),
        (TIME, 0),
        (TIME + 1, 1),
        (TIME + 2, 2),
        (TIME + 3, 6),
        (i64::MAX, 6),
    ] {
        let found = list(Some(Position::Timestamp(time))).await;
        assert_eq!(found, (offset, 6), "{time}");
    }
}

#[tokio::test]
async fn records_that_cannot_be_unpacked_are_named_and_can_be_passed() {
    let dir = tempfile::tempdir().unwrap();
    let (_broker, api) = broker(&dir).await;
    api.append("t", 0, batch(["a", "b"])).await.unwrap();
    // They begin as zstd does, and the rest is the business of whoever reads them.
    let begins_well = damaged(&batch(["c", "d"]), at::RECORDS, [0x28, 0xb5, 0x2f, 0xfd]);
    let not_zstd = changed(&begins_well, at::ATTRIBUTES, 4_i16.to_be_bytes());
    api.append("t", 0, not_zstd).await.unwrap();
    api.append("t", 0, batch(["e"])).await.unwrap();

    let read = api.fetch(from(0)).await.unwrap();
    assert_eq!((read.records.len(), read.next_offset), (2, 2));
    let refused = api.fetch(from(2)).await.unwrap_err();
    refused.is(
        Code::DataLoss,
        "CORRUPT_DATA",
        &["offset 2", "begins at 4", "zstd"],
    );
    let read = api.fetch(from(4)).await.unwrap();
    assert_eq!(records(read.records), [(4, "e".to_owned())]);
    let read = api
        .fetch(v1::FetchRequest {
            batches: true,
            ..from(0)
        })
        .await;
    assert_eq!(read.unwrap().batches.len(), 3);
}

/// Reads to the end that it is told, again and again, and checks that it never sees too much, too
/// little or a gap.
async fn read_along(api: Api, mut acked: watch::Receiver<i64>, total: i64) {
    let (mut offset, mut known_end) = (0, 0);
    while offset < total {
        let must_be_there = *acked.borrow_and_update();
        let end = api.high_watermark("t", 0).await;
        assert!(
            end >= must_be_there,
            "{end} after {must_be_there} was acknowledged"
        );
        assert!(end >= known_end, "{end} after {known_end}");
        known_end = end;
        let max_wait_ms = 1000;
        let read = api
            .fetch(v1::FetchRequest {
                max_wait_ms,
                ..from(offset)
            })
            .await;
        let read = read.unwrap();
        assert!(
            read.high_watermark >= known_end,
            "{} after {known_end}",
            read.high_watermark
        );
        known_end = read.high_watermark;
        for record in read.records {
            assert_eq!(record.offset, offset);
            offset += 1;
        }
        assert_eq!(read.next_offset, offset);
        assert!(offset <= known_end, "{offset} is above {known_end}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_reads_above_the_high_watermark_while_it_moves() {
    const BATCHES: i64 = 300;
    const RECORDS: i64 = 5;
    let dir = tempfile::tempdir().unwrap();
    let (broker, api) = broker(&dir).await;
    let (acked, _) = watch::channel(0);
    let total = 2 * BATCHES * RECORDS;
    let mut readers = Vec::new();
    for _ in 0..2 {
        let api = Api::connect(broker.listen()).await;
        readers.push(tokio::spawn(read_along(api, acked.subscribe(), total)));
    }
    let mut writers = Vec::new();
    for _ in 0..2 {
        let mut session = Session::open(&api).await;
        let acked = acked.clone();
        writers.push(tokio::spawn(async move {
            let values = vec!["v"; usize::try_from(RECORDS).unwrap()];
            for _ in 0..BATCHES {
                session.send("t", 0, batch(&values));
            }
            for number in 1..=u64::try_from(BATCHES).unwrap() {
                let ack = session.answer(number).await.unwrap();
                let end = ack.base_offset + RECORDS;
                acked.send_modify(|acked| *acked = end.max(*acked));
            }
        }));
    }
    for task in writers.into_iter().chain(readers) {
        soon("readers and writers end", task).await.unwrap();
    }
    assert_eq!(api.high_watermark("t", 0).await, total);
}
