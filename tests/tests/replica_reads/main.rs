//! Reads from replicas that do not lead: what they serve, how fresh it is, and what they refuse.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod freshness;

use std::panic::{AssertUnwindSafe, resume_unwind};

use futures_util::FutureExt;
use highwater_client::{Client, Consumer, Offset, PartitionIndex, ReadFrom, Reason, Record, Start};
use highwater_proto::pb::v1::trim_partition_request::To;
use highwater_proto::pb::v1::{self, Freshness};
use highwater_tests::api::{Api, soon};
use highwater_tests::http::Metrics;
use highwater_tests::{Broker, Cluster, batches, program};
use rustix::process::Signal;
use tokio::runtime::Runtime;
use tonic::Code;

const P0: PartitionIndex = PartitionIndex(0);
/// How old an answer may be that is to be fresh: more than a busy machine stands still.
const AGE_MS: i32 = 4_000;
/// How often a test is begun anew at most.
const ROUNDS: usize = 4;

fn read(offset: i64, freshness: Freshness) -> v1::FetchRequest {
    v1::FetchRequest {
        topic: "t".to_owned(),
        offset,
        batches: true,
        freshness: freshness.into(),
        max_age_ms: match freshness {
            Freshness::Bounded => AGE_MS,
            _ => 0,
        },
        ..v1::FetchRequest::default()
    }
}

fn subscription(offset: i64, freshness: Freshness) -> v1::SubscribeRequest {
    let v1::FetchRequest {
        topic,
        freshness,
        max_age_ms,
        ..
    } = read(offset, freshness);
    v1::SubscribeRequest {
        topic,
        offset,
        batches: true,
        freshness,
        max_age_ms,
        ..v1::SubscribeRequest::default()
    }
}

/// Three brokers with a topic of one partition.
struct Three {
    cluster: Cluster,
    /// One for each broker.
    apis: Vec<Api>,
    /// The place of the leader.
    leader: usize,
    epoch: i32,
}

impl Three {
    async fn start() -> Self {
        let cluster = Cluster::start(&program!(), 3);
        let create = ["topic", "create", "t", "-p", "1", "-r", "3"];
        cluster.run(&create).ok();
        cluster.until_healthy();
        let mut apis = Vec::new();
        for broker in &cluster.brokers {
            let api = Api::connect(broker.listen()).await;
            api.leader("t", 0, |_| true).await;
            apis.push(api);
        }
        let (epoch, leader) = led(&apis[0]).await;
        let is_leader = |broker: &Broker| broker.id() == u64::from(leader.unsigned_abs());
        Self {
            leader: cluster.brokers.iter().position(is_leader).unwrap(),
            cluster,
            apis,
            epoch,
        }
    }

    /// Whether another leads by now, or the same one again.
    async fn leader_moved(&self) -> bool {
        for broker in &self.cluster.brokers {
            broker.signal(Signal::CONT);
        }
        led(&self.apis[0]).await.0 != self.epoch
    }
}

/// The leader's epoch and its id.
async fn led(api: &Api) -> (i32, i32) {
    let described = api.described("t").await;
    let partition = &described.partitions[0];
    (partition.leader_epoch, partition.leader.unwrap())
}

/// Runs a test that says who leads. On a busy machine leaderships move: if that happened to one that
/// fails, it begins anew.
fn run(test: impl AsyncFn(&Three)) {
    Runtime::new().unwrap().block_on(async {
        for round in 1.. {
            let three = Three::start().await;
            let Err(failed) = AssertUnwindSafe(test(&three)).catch_unwind().await else {
                return;
            };
            if round == ROUNDS || !three.leader_moved().await {
                resume_unwind(failed);
            }
        }
    });
}

/// Everything that this broker serves of the partition up to `end`.
async fn bytes_of(api: &Api, end: i64, freshness: Freshness) -> (Vec<u8>, bool) {
    let (mut bytes, mut offset, mut follower) = (Vec::new(), 0, false);
    while offset < end {
        let request = v1::FetchRequest {
            max_wait_ms: 10_000,
            max_bytes: 1,
            ..read(offset, freshness)
        };
        let answer = api.fetch_with(request, false).await.unwrap();
        assert!(answer.next_offset > offset, "it waits for more");
        assert!(answer.next_offset <= answer.high_watermark);
        for batch in answer.batches {
            bytes.extend_from_slice(&batch.append_time.to_be_bytes());
            bytes.extend_from_slice(&batch.batch);
        }
        (offset, follower) = (answer.next_offset, answer.follower);
    }
    (bytes, follower)
}

#[test]
fn every_replica_serves_the_bytes_of_the_leader_to_those_who_allow_it() {
    run(async |three: &Three| {
        let (apis, leader) = (&three.apis, three.leader);
        let cluster = &three.cluster;
        for i in 0..20 {
            let values = (0..=i).map(|n| format!("{i}:{n}"));
            apis[leader]
                .append("t", 0, batches::batch(values))
                .await
                .unwrap();
        }
        let end = apis[leader].high_watermark("t", 0).await;
        let expected = bytes_of(&apis[leader], end, Freshness::Unspecified).await;
        for freshness in [Freshness::Committed, Freshness::Bounded] {
            for (place, api) in apis.iter().enumerate() {
                let (bytes, follower) = bytes_of(api, end, freshness).await;
                assert_eq!(follower, place != leader);
                assert!(bytes == expected.0, "{freshness:?} at {place}");
                let answer = api.fetch_with(read(0, freshness), false).await.unwrap();
                assert_eq!(answer.broker as u64, cluster.brokers[place].id());
            }
        }
        let linearizable = read(0, Freshness::Linearizable);
        let answer = apis[leader].fetch_with(linearizable.clone(), false).await;
        assert!(!answer.unwrap().follower);
        for (place, api) in apis
            .iter()
            .enumerate()
            .filter(|(place, _)| *place != leader)
        {
            for request in [linearizable.clone(), read(0, Freshness::Unspecified)] {
                let refusal = api.fetch_with(request.clone(), false).await.unwrap_err();
                refusal.is(Code::FailedPrecondition, "NOT_LEADER", &[]);
                let hint = refusal.not_leader().leader as u64;
                assert_eq!(hint, cluster.brokers[leader].id(), "{place}");
                let forwarded = api.fetch(request).await.unwrap();
                assert!(!forwarded.follower && forwarded.next_offset > 0);
            }
        }
    });
}

#[test]
fn a_follower_never_says_that_an_offset_is_out_of_range() {
    run(async |three: &Three| {
        let (apis, leader) = (&three.apis, three.leader);
        let follower = &apis[(leader + 1) % 3];
        apis[leader]
            .append("t", 0, batches::batch(["a"]))
            .await
            .unwrap();
        for freshness in [Freshness::Committed, Freshness::Bounded] {
            let beyond = v1::FetchRequest {
                max_wait_ms: 50,
                ..read(99, freshness)
            };
            let refusal = follower
                .fetch_with(beyond.clone(), false)
                .await
                .unwrap_err();
            refusal.is(Code::FailedPrecondition, "NOT_LEADER", &[]);
            let refusal = follower.subscribe(subscription(99, freshness)).await;
            let refusal = refusal.unwrap_err();
            refusal.is(Code::FailedPrecondition, "NOT_LEADER", &[]);
            // The leader is the one to say it.
            let refusal = follower.fetch(beyond).await.unwrap_err();
            refusal.is(Code::OutOfRange, "OFFSET_OUT_OF_RANGE", &["99"]);
        }
        // One that is about to come is waited for.
        let soon_there = v1::FetchRequest {
            max_wait_ms: 15_000,
            ..read(2, Freshness::Committed)
        };
        let waiting = follower.fetch_with(soon_there, false);
        let appending = apis[leader].append("t", 0, batches::batch(["b", "c"]));
        let (read, appended) = futures_util::join!(waiting, appending);
        assert_eq!(appended.unwrap().last_offset, 2);
        assert_eq!(read.unwrap().next_offset, 3);
    });
}

#[test]
fn what_is_trimmed_away_is_out_of_range_by_the_word_of_the_leader_alone() {
    run(async |three: &Three| {
        let (apis, leader) = (&three.apis, three.leader);
        let cluster = &three.cluster;
        for value in ["a", "b", "c"] {
            let batch = batches::batch([value]);
            apis[leader].append("t", 0, batch).await.unwrap();
        }
        let to = To::Offset(2);
        apis[leader].trim("t", 0, Some(to), false).await.unwrap();
        let follower = &apis[(leader + 1) % 3];
        let refusal = soon("word of the trim", async {
            loop {
                let read = read(0, Freshness::Committed);
                if let Err(refusal) = follower.fetch_with(read, false).await {
                    return refusal;
                }
            }
        });
        let refusal = refusal.await;
        refusal.is(Code::FailedPrecondition, "NOT_LEADER", &[]);
        let client = Client::connect(cluster.addresses()).await.unwrap();
        let builder = client.consumer("t").read_from(ReadFrom::Nearest);
        let builder = builder.start(Start::Offset(Offset(1)));
        let mut consumer = builder.build().await.unwrap();
        let error = soon("an error", consumer.next())
            .await
            .unwrap()
            .unwrap_err();
        assert_eq!(error.reason(), Some(Reason::OffsetOutOfRange), "{error}");
        assert_eq!(error.offset_range().unwrap().log_start_offset, 2);
        let from = consumer.seek(P0, Start::Earliest).await.unwrap();
        assert_eq!(from, Offset(2));
        let record = soon("a record", consumer.next()).await.unwrap().unwrap();
        assert_eq!(record.value_bytes().unwrap(), "c");
    });
}

/// The broker that gave the last record.
fn server(consumer: &Consumer) -> u32 {
    consumer.progress()[&P0].broker.unwrap().0
}

#[test]
fn a_consumer_of_near_replicas_sees_each_record_once_wherever_it_reads() {
    Runtime::new().unwrap().block_on(async {
        let Three { mut cluster, .. } = Three::start().await;
        let client = Client::builder()
            .bootstrap(cluster.addresses())
            .rack("r2")
            .connect()
            .await
            .unwrap();
        let builder = client.consumer("t").read_from(ReadFrom::Nearest);
        let mut consumer = builder.build().await.unwrap();
        let producer = client.producer("t").build().await.unwrap();
        let mut offset = 0;
        for round in 0..3 {
            for i in 0..200 {
                let record = Record::new(format!("{round}:{i}"));
                drop(producer.send(record).await.unwrap());
            }
            soon("acknowledgements", producer.flush()).await.unwrap();
            for i in 0..200 {
                let record = soon("a record", consumer.next()).await.unwrap().unwrap();
                assert_eq!(record.offset().0, offset);
                assert_eq!(record.value_bytes().unwrap(), format!("{round}:{i}"));
                offset += 1;
            }
            let near = cluster.brokers[1].id();
            let in_rack = async {
                // One that stood still is returned to once half a minute is over and something comes.
                while round == 0 && u64::from(server(&consumer)) != near {
                    let record = Record::new("more");
                    producer.send(record).await.unwrap().await.unwrap();
                    let record = consumer.next().await.unwrap().unwrap();
                    assert_eq!(record.offset().0, offset);
                    offset += 1;
                }
            };
            soon("the broker in the client's rack", in_rack).await;
            let serves = server(&consumer);
            let place = cluster
                .brokers
                .iter()
                .position(|b| b.id() == u64::from(serves));
            let place = place.unwrap();
            // It goes away or stands still, and comes back when the next ones were written.
            let stands_still = round == 1;
            match stands_still {
                true => cluster.brokers[place].signal(Signal::STOP),
                false => cluster.brokers[place].kill(),
            }
            let record = Record::new("alone");
            soon("an ack", producer.send(record).await.unwrap())
                .await
                .unwrap();
            let record = soon("a record", consumer.next()).await.unwrap().unwrap();
            assert_eq!(record.offset().0, offset);
            offset += 1;
            assert_ne!(server(&consumer), serves);
            match stands_still {
                true => cluster.brokers[place].signal(Signal::CONT),
                false => cluster.brokers[place].restart(),
            }
            cluster.until_healthy();
        }
        consumer.seek(P0, Start::Earliest).await.unwrap();
        for i in 0..offset {
            let record = soon("a record", consumer.next()).await.unwrap().unwrap();
            assert_eq!(record.offset().0, i);
        }
    });
}

/// The places of the brokers that served records while this ran.
fn served(cluster: &Cluster, read: impl FnOnce()) -> Vec<usize> {
    let counts = || {
        let brokers = cluster.brokers.iter();
        let counts = brokers.map(|broker| {
            let metrics = Metrics::of(broker.http());
            metrics.count("highwater_fetched_records_total")
        });
        counts.collect::<Vec<_>>()
    };
    let before = counts();
    read();
    let after = counts();
    (0..before.len())
        .filter(|&place| after[place] > before[place])
        .collect()
}

#[test]
fn the_command_line_reads_from_the_replica_that_it_asks_for() {
    run(async |three: &Three| {
        let (cluster, leader) = (&three.cluster, three.leader);
        cluster.run(&["produce", "t"]).stdin("a\nb\nc\n").ok();
        let followers: Vec<_> = (0..3).filter(|place| *place != leader).collect();
        let cases: [(&[&str], &[usize]); _] = [
            (&["--follower"], &followers),
            (&["--follower", "--rack", "r1"], &[0]),
            (&["--follower", "--rack", "r2"], &[1]),
            (&["--follower", "--rack", "r3"], &[2]),
            (&["--follower", "--freshness", "5s"], &followers),
            (&["--freshness", "linearizable"], &[leader]),
            (&["-n", "3"], &[leader]),
        ];
        for (how, allowed) in cases {
            let end = ["--exit-at-end", "-f", "%o %v\\n"];
            let args = [&["consume", "t"], how, &end].concat();
            let by = served(cluster, || {
                let read = cluster.run(&args).ok();
                assert_eq!(read.text(), "0 a\n1 b\n2 c\n", "{how:?}");
            });
            let one_of_them = by.len() == 1 && allowed.contains(&by[0]);
            assert!(one_of_them, "{how:?}: {by:?} of {allowed:?}");
        }
    });
}

#[test]
fn reads_that_no_replica_can_give_are_refused_on_the_command_line() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&program!(), dir.path(), &[]);
    broker.run(&["topic", "create", "t", "-p", "1"]).ok();
    let both = ["consume", "t", "--follower", "--freshness", "linearizable"];
    broker.run(&both).end().exited(2).says("INVALID_REQUEST");
    for wrong in ["never", "0s", "-5s"] {
        let args = ["consume", "t", "--freshness", wrong];
        broker.run(&args).end().exited(2).says("USAGE");
    }
}
