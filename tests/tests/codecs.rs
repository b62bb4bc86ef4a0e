//! Compressed batches that are not what they say: refused where a look shows it, and a typed error
//! for whoever reads them where it does not, at a bounded cost in memory.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking and shows its figures"
)]

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use highwater_client::{Client, Outcome, Reason, Start, Until};
use highwater_proto::batch::{BatchBuilder, Codec};
use highwater_proto::pb::v1;
use highwater_proto::{Offset, Timestamp};
use highwater_tests::api::soon;
use highwater_tests::batches::{at, batch, changed, damaged};
use highwater_tests::{Api, Broker, Refusal, program};
use tonic::Code;

/// What records may take when decompressed, and a good deal more.
const BOMB: usize = 64 << 20;
/// Less than a bomb that was let go off.
const LITTLE: usize = 48 << 20;
const MIB: usize = 1 << 20;

fn compressed(codec: Codec) -> Bytes {
    let mut builder = BatchBuilder::new();
    for _ in 0..50 {
        builder.push(Timestamp(1), Some(b"key"), Some(b"some value"), &[]);
    }
    builder.build(codec, None).unwrap()
}

/// The batch, with attributes that name another codec.
fn says(batch: &Bytes, codec: usize) -> Bytes {
    let codec = i16::try_from(codec).unwrap();
    changed(batch, at::ATTRIBUTES, codec.to_be_bytes())
}

/// A batch of one record whose records are these bytes.
fn with_records(codec: usize, records: &[u8]) -> Bytes {
    let header = &batch(["x"])[..at::RECORDS];
    let whole = Bytes::from([header, records].concat());
    let length = i32::try_from(whole.len() - 12).unwrap();
    says(
        &damaged(&whole, at::BATCH_LENGTH, length.to_be_bytes()),
        codec,
    )
}

fn bombs() -> [Bytes; 2] {
    let zeros = vec![0; BOMB];
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&zeros).unwrap();
    let zstd = zstd::stream::encode_all(&zeros[..], 3).unwrap();
    [
        with_records(1, &gzip.finish().unwrap()),
        with_records(4, &zstd),
    ]
}

#[tokio::test]
async fn a_batch_that_says_a_codec_it_is_not_is_refused_and_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&program!(), dir.path(), &[]);
    let api = Api::connect(broker.listen()).await;
    api.create("t", 1, &[]).await;
    for (number, codec) in Codec::ALL.into_iter().enumerate() {
        for (other, named) in Codec::ALL.into_iter().enumerate() {
            if other == number {
                continue;
            }
            let wrong = says(&compressed(codec), other);
            let refused = api.append("t", 0, wrong).await.unwrap_err();
            let parts = if named == Codec::None {
                "record"
            } else {
                named.as_str()
            };
            refused.is(Code::InvalidArgument, "BAD_BATCH", &[parts]);
        }
    }
    assert_eq!(api.high_watermark("t", 0).await, 0);
    for codec in Codec::ALL {
        api.append("t", 0, compressed(codec)).await.unwrap();
    }
    assert_eq!(api.values("t", 0).await, vec!["some value"; 250]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decompression_bomb_is_an_error_for_its_readers_and_costs_little_memory() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&program!(), dir.path(), &[]);
    let api = Api::connect(broker.listen()).await;
    let client = Client::connect(broker.listen()).await.unwrap();
    for (number, bomb) in bombs().into_iter().enumerate() {
        let topic = format!("t{number}");
        api.create(&topic, 1, &[]).await;
        api.append(&topic, 0, batch(["before"])).await.unwrap();
        api.append(&topic, 0, bomb).await.unwrap();
        api.append(&topic, 0, batch(["after"])).await.unwrap();
        let before = broker.memory();
        let at_bomb = v1::FetchRequest {
            topic: topic.clone(),
            offset: 1,
            ..v1::FetchRequest::default()
        };
        for _ in 0..3 {
            let refused = api.fetch(at_bomb.clone()).await.unwrap_err();
            refused.is(Code::DataLoss, "CORRUPT_DATA", &["33554432"]);
        }
        let grown = broker.memory().saturating_sub(before);
        assert!(grown < LITTLE, "{grown} bytes more");
        let beyond = v1::FetchRequest {
            offset: 2,
            ..at_bomb
        };
        assert_eq!(api.fetch(beyond).await.unwrap().records.len(), 1);

        let consumer = client.consumer(&*topic).until(Until::Latest);
        let mut consumer = consumer.build().await.unwrap();
        let first = consumer.next().await.unwrap().unwrap();
        assert_eq!(first.value(), Some(&b"before"[..]));
        let error = consumer.next().await.unwrap().unwrap_err();
        assert_eq!(error.reason(), Some(Reason::CorruptData), "{error}");
        assert_eq!(error.outcome(), Outcome::Refused);
        let beyond = client.consumer(&*topic).start(Start::Offset(Offset(2)));
        let mut beyond = beyond.until(Until::Latest).build().await.unwrap();
        let after = beyond.next().await.unwrap().unwrap();
        assert_eq!(after.value(), Some(&b"after"[..]));
    }
}

/// A batch of records of so many bytes each, in a few KiB.
fn dense(count: usize, bytes: usize) -> Bytes {
    let mut builder = BatchBuilder::new();
    for _ in 0..count {
        builder.push(Timestamp(1), None, Some(&vec![0; bytes]), &[]);
    }
    builder.build(Codec::Zstd, None).unwrap()
}

fn fetch(offset: i64, batches: bool) -> v1::FetchRequest {
    v1::FetchRequest {
        topic: "t".to_owned(),
        offset,
        batches,
        ..v1::FetchRequest::default()
    }
}

fn subscription(offset: i64, max_bytes: i32) -> v1::SubscribeRequest {
    v1::SubscribeRequest {
        topic: "t".to_owned(),
        offset,
        max_bytes,
        ..v1::SubscribeRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_no_answer_carries_is_named_and_is_read_as_a_batch() {
    const HUGE: i64 = 5;
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&program!(), dir.path(), &[]);
    let api = Api::connect(broker.listen()).await;
    api.create("t", 1, &[]).await;
    let append = async |batch: Bytes| api.append("t", 0, batch).await.unwrap().base_offset;
    append(batch(["before"])).await;
    let huge = dense(1, 31 * MIB);
    assert!(huge.len() < 16 << 10);
    for _ in 0..HUGE {
        append(huge.clone()).await;
    }
    let large = append(dense(1, 7 * MIB / 2)).await;
    append(batch(["after"])).await;

    let before = broker.memory();
    let read = api.fetch(fetch(0, false)).await.unwrap();
    assert_eq!((read.records.len(), read.next_offset), (1, 1));
    for offset in 1..=HUGE {
        let says = [format!("offset {offset}"), "ask for batches".to_owned()];
        let says = says.each_ref().map(String::as_str);
        let refused = api.fetch(fetch(offset, false)).await.unwrap_err();
        refused.is(Code::DataLoss, "CORRUPT_DATA", &says);
        let detail = refused.corrupt_data();
        assert_eq!(
            (detail.offset, detail.next_offset),
            (offset, Some(offset + 1))
        );

        let mut stream = api.subscribe(subscription(offset, 0)).await.unwrap();
        let ended = soon("the end of a subscription", stream.message()).await;
        let ended = Refusal::from(ended.unwrap_err());
        ended.is(Code::DataLoss, "CORRUPT_DATA", &says);
    }
    let grown = broker.memory().saturating_sub(before);
    assert!(grown < LITTLE, "{grown} bytes more");

    // Clients take messages of up to 4 MiB unless they are told otherwise.
    let read = api.fetch(fetch(large, false)).await.unwrap();
    assert_eq!((read.records.len(), read.next_offset), (1, large + 1));
    let read = api.fetch(fetch(large + 1, false)).await.unwrap();
    assert_eq!(read.records.len(), 1);
    let read = api.fetch(fetch(1, true)).await.unwrap();
    assert_eq!(read.batches.len() as i64, HUGE + 2);
}

/// To unpack 30 MiB for each of the messages would take a minute of processor time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_unpacked_once_for_all_messages_of_a_subscription() {
    const RECORDS: i64 = 500;
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&program!(), dir.path(), &[]);
    let api = Api::connect(broker.listen()).await;
    api.create("t", 1, &[]).await;
    let dense = dense(500, 30 * MIB / 500);
    api.append("t", 0, dense).await.unwrap();
    let before = broker.processor_time();
    let mut stream = api.subscribe(subscription(0, 1)).await.unwrap();
    for offset in 0..RECORDS {
        let message = soon("a message", stream.message()).await.unwrap().unwrap();
        let offsets: Vec<_> = message.records.iter().map(|record| record.offset).collect();
        assert_eq!(offsets, [offset]);
    }
    let took = broker.processor_time() - before;
    println!("{RECORDS} messages out of one batch: {took:?}");
    assert!(took < Duration::from_secs(3), "{took:?}");
}
