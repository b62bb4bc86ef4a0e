//! Consumers that are told where to begin, or nonsense, or whose topic is not what it was: typed
//! errors, and nothing changes.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use futures_util::StreamExt;
use highwater_client::{
    Client, Consumer, Error, Event, Offset, Outcome, PartitionIndex, Reason, Record, Start,
    Timestamp, Until,
};
use highwater_proto::pb::v1;
use highwater_tests::api::{Api, soon};
use highwater_tests::{Broker, batches, program};
use tempfile::TempDir;
use tonic::Code;

const P0: PartitionIndex = PartitionIndex(0);
const ZSTD: i16 = 4;

/// A broker with the topic `t` of one partition, and two ways to ask it.
async fn broker() -> (TempDir, Broker, Api, Client) {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&program!(), dir.path(), &[]);
    let api = Api::connect(broker.listen()).await;
    api.create("t", 1, &[]).await;
    let client = Client::connect(broker.listen()).await.unwrap();
    (dir, broker, api, client)
}

async fn next(consumer: &mut Consumer) -> (u64, String) {
    let record = soon("a record", consumer.next()).await.unwrap().unwrap();
    let value = record.value().unwrap_or_default();
    (
        record.offset().0,
        String::from_utf8_lossy(value).into_owned(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_unpacks_to_too_much_is_an_error_that_says_where_to_go_on() {
    let (_dir, broker, api, client) = broker().await;
    api.append("t", 0, batches::batch(["a"])).await.unwrap();
    // 24 GiB of zeros, which the broker takes: it does not unpack.
    let bomb = batches::compressed(ZSTD, &batches::zstd_bomb(200_000));
    api.append("t", 0, bomb).await.unwrap();
    api.append("t", 0, batches::batch(["c"])).await.unwrap();

    let mut consumer = client.consumer("t").build().await.unwrap();
    assert_eq!(next(&mut consumer).await, (0, "a".to_owned()));
    let error = soon("an error", consumer.next())
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(error.reason(), Some(Reason::CorruptData), "{error}");
    assert_eq!(error.outcome(), Outcome::Refused);
    let corrupt = error.corrupt_data().unwrap().clone();
    assert_eq!((corrupt.offset, corrupt.next_offset), (1, Some(2)));
    assert!(soon("the end", consumer.next()).await.is_none());
    assert_eq!(consumer.progress()[&P0].next_offset, Offset(1));
    consumer.seek(P0, Start::Offset(Offset(2))).await.unwrap();
    assert_eq!(next(&mut consumer).await, (2, "c".to_owned()));

    let before = broker.memory();
    let records = |offset| v1::FetchRequest {
        topic: "t".to_owned(),
        offset,
        ..v1::FetchRequest::default()
    };
    let refusal = api.fetch(records(1)).await.unwrap_err();
    refusal.is(Code::DataLoss, "CORRUPT_DATA", &["offset 1"]);
    assert!(!refusal.retriable);
    let detail = refusal.corrupt_data();
    assert_eq!((detail.offset, detail.next_offset), (1, Some(2)));
    assert_eq!(api.fetch(records(2)).await.unwrap().records.len(), 1);
    let grown = broker.memory().saturating_sub(before);
    assert!(grown < 100 << 20, "{grown} bytes");
    let read = broker.run(&["consume", "t", "--exit-at-end"]).end();
    assert_eq!(read.text(), "a\n");
    read.exited(1).says("CORRUPT_DATA");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_codec_that_nobody_knows_is_refused_before_anything_is_written() {
    let (_dir, _broker, api, _client) = broker().await;
    for codec in [5, 6, 7] {
        let unknown = batches::compressed(codec, b"whatever");
        let refusal = api.append("t", 0, unknown).await.unwrap_err();
        refusal.is(Code::InvalidArgument, "BAD_BATCH", &[]);
        assert!(!refusal.retriable);
    }
    assert_eq!(api.high_watermark("t", 0).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_created_anew_is_not_read_by_consumers_of_the_old_one() {
    let (_dir, broker, api, client) = broker().await;
    api.append("t", 0, batches::batch(["old"])).await.unwrap();
    let mut reading = client.consumer("t").build().await.unwrap();
    let mut paused = client.consumer("t").build().await.unwrap();
    assert_eq!(next(&mut reading).await, (0, "old".to_owned()));
    assert_eq!(next(&mut paused).await, (0, "old".to_owned()));
    paused.pause(P0).unwrap();
    api.delete("t", "").await.unwrap();
    api.create("t", 1, &[]).await;
    api.append("t", 0, batches::batch(["new", "newer"]))
        .await
        .unwrap();
    for consumer in [&mut reading, &mut paused] {
        let error = consumer.seek(P0, Start::Earliest).await.unwrap_err();
        assert_eq!(error.reason(), Some(Reason::TopicIdMismatch), "{error}");
        consumer.resume(P0).unwrap();
        let error = soon("an error", consumer.next())
            .await
            .unwrap()
            .unwrap_err();
        assert_eq!(error.reason(), Some(Reason::TopicIdMismatch), "{error}");
        assert_eq!(error.outcome(), Outcome::Refused);
        assert!(soon("the end", consumer.next()).await.is_none());
        assert_eq!(consumer.progress()[&P0].next_offset, Offset(1));
    }
    // Who begins now gets the new one, from the same client.
    let mut anew = client.consumer("t").build().await.unwrap();
    assert_eq!(next(&mut anew).await, (0, "new".to_owned()));
    let following = broker.run(&["consume", "t", "-n", "2"]).ok();
    assert_eq!(following.text(), "new\nnewer\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_position_can_be_begun_at_and_sought() {
    let (_dir, _broker, api, client) = broker().await;
    for first in [0, 10, 20] {
        let values = (first..first + 10).map(|value: u64| value.to_string());
        api.append("t", 0, batches::batch(values)).await.unwrap();
    }
    // The records of a batch are a millisecond apart, and each batch begins at the same time.
    let at = |millis| Start::Timestamp(Timestamp(batches::TIME + millis));
    let mut consumer = client.consumer("t").build().await.unwrap();
    for (start, offset) in [
        (Start::Earliest, 0),
        (Start::Latest, 30),
        (Start::Offset(Offset(17)), 17),
        (Start::Offset(Offset(30)), 30),
        (Start::LastN(3), 27),
        (Start::LastN(99), 0),
        (at(0), 0),
        (at(7), 7),
        (at(-1_000_000), 0),
        (at(1_000_000), 30),
    ] {
        let sought = consumer.seek(P0, start.clone()).await.unwrap();
        assert_eq!(sought, Offset(offset), "{start:?}");
        let mut begun = client
            .consumer("t")
            .start(start.clone())
            .build()
            .await
            .unwrap();
        assert_eq!(begun.progress()[&P0].next_offset, sought, "{start:?}");
        if offset < 30 {
            assert_eq!(next(&mut consumer).await, (offset, offset.to_string()));
            assert_eq!(next(&mut begun).await, (offset, offset.to_string()));
        }
    }
}

/// Polls a future so many times and then drops it, wherever it is by then.
async fn cut_off<T>(polls: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    for _ in 0..polls {
        let polled = poll_fn(|context| Poll::Ready(future.as_mut().poll(context)));
        if let Poll::Ready(value) = polled.await {
            return Some(value);
        }
        tokio::task::yield_now().await;
    }
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn a_future_that_is_dropped_anywhere_changes_nothing() {
    const RECORDS: u64 = 300;
    let (_dir, _broker, api, client) = broker().await;
    for offset in 0..RECORDS {
        let value = offset.to_string();
        api.append("t", 0, batches::batch([value])).await.unwrap();
    }
    let build = || client.consumer("t").until(Until::Latest).build();
    let mut built = None;
    for polls in 0.. {
        built = cut_off(polls, build()).await;
        if built.is_some() {
            break;
        }
    }
    let mut consumer = built.unwrap().unwrap();
    let (mut expected, mut polls) = (0, 0);
    while expected < RECORDS {
        // Each is given up after more polls than the one before, until one is not.
        polls = (polls + 1) % 40;
        let sought = cut_off(polls, consumer.seek(P0, Start::Offset(Offset(expected)))).await;
        assert!(sought.is_none_or(|sought| sought.unwrap() == Offset(expected)));
        let next = cut_off(polls, consumer.next()).await;
        if let Some(record) = next {
            assert_eq!(record.unwrap().unwrap().offset(), Offset(expected));
            expected += 1;
        }
        let batch = cut_off(polls, consumer.next_batch()).await.flatten();
        if let Some(batch) = batch {
            let batch = batch.unwrap();
            assert_eq!(batch.first_offset(), Offset(expected));
            expected = batch.next_offset().0;
        }
        let event = cut_off(polls, consumer.next_event()).await.flatten();
        expected = after(event, expected);
        let event = cut_off(polls, consumer.events().next()).await.flatten();
        expected = after(event, expected);
        assert_eq!(consumer.progress()[&P0].next_offset, Offset(expected));
    }
    assert!(soon("the end", consumer.next()).await.is_none());
}

/// The offset after what an event brought, which begins at `expected`.
fn after(event: Option<Result<Event, Error>>, expected: u64) -> u64 {
    match event.transpose().unwrap() {
        Some(Event::Batch(batch)) => {
            assert_eq!(batch.first_offset(), Offset(expected));
            batch.next_offset().0
        }
        Some(Event::CaughtUp(news)) => {
            assert_eq!(news.high_watermark, Offset(expected));
            expected
        }
        _ => expected,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_whose_assignment_was_dropped_is_not_read() {
    let (_dir, _broker, api, client) = broker().await;
    for value in ["0", "1", "2"] {
        api.append("t", 0, batches::batch([value])).await.unwrap();
    }
    let mut dropped = 0;
    loop {
        // A consumer that knows the topic and reads nothing of it.
        let mut consumer = client.consumer("t").partitions([]).build().await.unwrap();
        let assigned = cut_off(dropped, consumer.assign(P0, Start::LastN(2))).await;
        if let Some(assigned) = assigned {
            assert_eq!(assigned.unwrap(), Offset(1));
            assert_eq!(next(&mut consumer).await, (1, "1".to_owned()));
            break;
        }
        assert!(consumer.progress().is_empty());
        assert!(soon("the end", consumer.next()).await.is_none());
        dropped += 1;
    }
    assert!(dropped > 1, "it had to wait");
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_and_formats_that_say_nothing_are_refused_at_once() {
    let (_dir, broker, _api, client) = broker().await;
    let producer = client.producer("t").build().await.unwrap();
    let record = Record::new("v").key("k").header("h", "1").header("i", "2");
    producer.send(record).await.unwrap().await.unwrap();
    for from in [
        "middle",
        "--3",
        "1.5",
        "",
        "@",
        "@noon",
        "@-5",
        "99999999999999999999",
    ] {
        let refused = broker.run(&["consume", "t", "--from", from]).end();
        assert!(refused.stdout.is_empty());
        refused.exited(2).says("USAGE");
    }
    for format in ["%", "%z", r"\q", r"\x4"] {
        let refused = broker.run(&["consume", "t", "-f", format]).end();
        assert!(refused.stdout.is_empty());
        refused.exited(2).says("USAGE");
    }
    for partitions in ["-1", "x", "0,,1"] {
        let refused = broker.run(&["consume", "t", "-p", partitions]).end();
        refused.exited(2).says("USAGE");
    }
    let missing = broker.run(&["consume", "t", "-p", "7"]).end();
    missing.exited(3).says("PARTITION_NOT_FOUND");
    for beyond in ["2", "18446744073709551615"] {
        for to_the_end in [&[][..], &["--exit-at-end"]] {
            let args = [&["consume", "t", "--from", beyond], to_the_end].concat();
            let refused = broker.run(&args).end();
            refused.exited(1).says("OFFSET_OUT_OF_RANGE");
        }
    }
    let format = r"%t|%p|%o|%k|%v|%h|%K|%V|%%\t\x41\n";
    let read = broker.run(&["consume", "t", "-n", "1", "-p", "0", "-f", format]);
    assert_eq!(read.ok().text(), "t|0|0|k|v|h=1,i=2|1|1|%\tA\n");
    let times = broker
        .run(&["consume", "t", "-n", "1", "-f", "%d %T %a"])
        .ok();
    let times: Vec<&str> = times.text().split(' ').collect();
    let append: i64 = times[2].parse().unwrap();
    assert!((times[0].parse::<i64>().unwrap() - append).abs() < 60_000);
    assert!(times[1].ends_with('Z') && times[1].len() == "2026-11-21T00:00:00.000Z".len());
}
