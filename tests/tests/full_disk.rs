//! A full disk, on a small file system of its own: appends are refused and say why, reads and votes
//! go on, and everything heals by itself when there is room again.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use highwater_proto::pb::v1;
use highwater_tests::{Api, Broker, Metrics, Refusal, SmallDisk, batches, program};
use tonic::Code;

/// How often the disk runs full and gets room again.
const CYCLES: usize = 20;
/// The bytes of a record.
const RECORD: usize = 200 << 10;
/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(60);
/// How long an append to three replicas may take before its fate is asked for later: it waits at a
/// leader that has room while its followers have none.
const PATIENCE: Duration = Duration::from_secs(2);

/// A producer that numbers what it sends and sends it again until it is acknowledged.
struct Producer {
    topic: &'static str,
    id: i64,
    patience: Duration,
    /// How many records were acknowledged.
    acked: usize,
    /// Sent, and not known to be written.
    unknown: VecDeque<Bytes>,
}

impl Producer {
    async fn new(api: &Api) -> Self {
        Self::with_patience(api, LIMIT).await
    }

    async fn with_patience(api: &Api, patience: Duration) -> Self {
        Self {
            topic: "t",
            id: api.producer_id().await,
            patience,
            acked: 0,
            unknown: VecDeque::new(),
        }
    }

    fn of(self, topic: &'static str) -> Self {
        Self { topic, ..self }
    }

    fn batch(&self, number: usize) -> Bytes {
        let mut value = format!("{number} ");
        value.extend(std::iter::repeat_n('x', RECORD - value.len()));
        batches::sequenced(self.id, 0, i32::try_from(number).unwrap(), [value])
    }

    /// Appends until that is refused, and gives the refusal.
    async fn fill(&mut self, api: &Api) -> Refusal {
        let begun = Instant::now();
        loop {
            assert!(begun.elapsed() < LIMIT, "it is never refused");
            let batch = self.batch(self.acked + self.unknown.len());
            match self.append(api, &batch).await {
                Some(Ok(_)) => {
                    self.acked += self.unknown.drain(..).len() + 1;
                }
                Some(Err(refusal)) if refusal.reason == "OUTCOME_UNKNOWN" => {
                    self.unknown.push_back(batch);
                }
                // What was sent and never arrived, or went with a leader, is sent again.
                Some(Err(refusal)) if refusal.reason == "SEQUENCE_GAP" => {
                    let next = usize::try_from(refusal.sequence_gap().expected_sequence).unwrap();
                    assert!(next >= self.acked, "{next} of {}: {refusal:?}", self.acked);
                    self.unknown.truncate(next - self.acked);
                }
                Some(Err(refusal)) => return refusal,
                None => self.unknown.push_back(batch),
            }
        }
    }

    /// Appends what is not known to be written, and one record more, as soon as there is room.
    async fn heal(&mut self, api: &Api) {
        let begun = Instant::now();
        self.unknown
            .push_back(self.batch(self.acked + self.unknown.len()));
        while let Some(batch) = self.unknown.front() {
            match self.append(api, batch).await {
                Some(Ok(appended)) => {
                    assert_eq!(appended.base_offset, self.acked as i64);
                    self.unknown.pop_front();
                    self.acked += 1;
                }
                // Written, and so much after it that its place is not remembered.
                Some(Err(refusal)) if refusal.reason == "DUPLICATE_SEQUENCE" => {
                    self.unknown.pop_front();
                    self.acked += 1;
                }
                refused => assert!(begun.elapsed() < LIMIT, "{refused:?}"),
            }
        }
    }

    async fn append(
        &self,
        api: &Api,
        batch: &Bytes,
    ) -> Option<Result<v1::ProduceResponse, Refusal>> {
        let appending = api.append(self.topic, 0, batch.clone());
        tokio::time::timeout(self.patience, appending).await.ok()
    }

    /// Everything acknowledged is there once and in order, and nothing else.
    async fn check(&self, api: &Api) {
        let values = api.values(self.topic, 0).await;
        let number = |value: &String| value.split(' ').next().unwrap().parse().unwrap();
        let found: Vec<usize> = values.iter().map(number).collect();
        assert_eq!(found, (0..self.acked).collect::<Vec<_>>());
    }
}

fn assert_full(refusal: &Refusal) {
    let said = ["t/0: the disk of ", " is full: ", "free space there"];
    refusal.is(Code::ResourceExhausted, "DISK_FULL", &said);
    assert!(refusal.retriable, "{refusal:?}");
}

async fn read_last(api: &Api, end: usize) {
    assert!(api.high_watermark("t", 0).await >= end as i64);
    let request = v1::FetchRequest {
        topic: "t".to_owned(),
        offset: end as i64 - 1,
        ..v1::FetchRequest::default()
    };
    let read = api.fetch_led(request).await.unwrap();
    assert!(read.next_offset >= end as i64);
}

async fn start(disk: &SmallDisk) -> (Broker, Api) {
    let broker = Broker::start(&disk.program(&program!()), &disk.data_dir(), &[]);
    let api = Api::connect(broker.listen()).await;
    api.create("t", 1, &[("segment.bytes", "8MiB")]).await;
    (broker, api)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_appends_serves_reads_and_heals_by_itself() {
    let disk = SmallDisk::new(18 + 3 * CYCLES as u64);
    let (mut broker, api) = start(&disk).await;
    for cycle in 0..CYCLES {
        disk.occupy(&format!("cycle-{cycle}"), 3);
    }
    let mut producer = Producer::new(&api).await;
    for cycle in 0..CYCLES {
        assert_full(&producer.fill(&api).await);
        assert!(disk.free() < 8 << 20, "{} bytes are left", disk.free());
        assert_eq!(api.high_watermark("t", 0).await, producer.acked as i64);
        read_last(&api, producer.acked).await;
        disk.release(&format!("cycle-{cycle}"));
        producer.heal(&api).await;
    }
    assert!(producer.acked > CYCLES * 10, "{} records", producer.acked);
    producer.check(&api).await;
    broker.kill();
    broker.restart();
    producer.check(&Api::connect(broker.listen()).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_waits_for_room_and_says_that_the_disk_is_full_when_its_time_is_over() {
    let disk = SmallDisk::new(24);
    let (broker, api) = start(&disk).await;
    disk.occupy("until-later", 8);
    let mut producer = Producer::new(&api).await;
    assert_full(&producer.fill(&api).await);
    let line = vec![b'y'; RECORD];
    let produce = |timeout| {
        let run = broker.run(&["produce", "t", "-z", "none", "--timeout", timeout]);
        run.stdin(line.clone())
    };
    let late = produce("5s").end().exited(5).says("DISK_FULL");
    for said in ["it was not written", "is full: ", "free space on the disk"] {
        assert!(late.stderr.contains(said), "{said:?}: {late}");
    }
    assert_eq!(api.high_watermark("t", 0).await, producer.acked as i64);
    let refused = || {
        let series = "highwater_produce_errors_total{reason=\"DISK_FULL\"}";
        Metrics::of(broker.http()).value(series)
    };
    let before = refused();
    let waiting = produce("60s").start();
    let begun = Instant::now();
    while refused() == before {
        assert!(begun.elapsed() < LIMIT, "the producer was never refused");
        tokio::task::yield_now().await;
    }
    disk.release("until-later");
    waiting.end().exited(0);
    assert_eq!(api.high_watermark("t", 0).await, producer.acked as i64 + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_killed_on_a_full_disk_opens_there_reads_and_heals() {
    let disk = SmallDisk::new(48);
    let (mut broker, api) = start(&disk).await;
    disk.occupy("some", 8);
    let mut producer = Producer::new(&api).await;
    assert_full(&producer.fill(&api).await);
    disk.occupy_all("rest");
    assert!(disk.free() < 64 << 10, "{} bytes are left", disk.free());
    for _ in 0..3 {
        broker.kill();
        broker.restart();
        let api = Api::connect(broker.listen()).await;
        producer.check(&api).await;
        assert_full(&producer.fill(&api).await);
    }
    let api = Api::connect(broker.listen()).await;
    let wanted = v1::CreateTopicRequest {
        name: "other".to_owned(),
        ..v1::CreateTopicRequest::default()
    };
    let refusal = api.create_topic(wanted.clone()).await.unwrap_err();
    let said = ["the disk of ", "/disk/data is full: "];
    refusal.is(Code::ResourceExhausted, "DISK_FULL", &said);
    disk.release("some");
    producer.heal(&api).await;
    disk.release("rest");
    let begun = Instant::now();
    while let Err(refusal) = api.create_topic(wanted.clone()).await {
        assert_eq!(refusal.reason, "DISK_FULL");
        assert!(begun.elapsed() < LIMIT, "{refusal:?}");
    }
    producer.check(&api).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_deleted_on_a_full_disk_gives_its_room_to_the_others() {
    let disk = SmallDisk::new(40);
    let (mut broker, api) = start(&disk).await;
    api.create("other", 1, &[("segment.bytes", "8MiB")]).await;
    let mut other = Producer::new(&api).await.of("other");
    other.heal(&api).await;
    let mut producer = Producer::new(&api).await;
    assert_full(&producer.fill(&api).await);
    assert!(producer.acked > 50, "{} records", producer.acked);
    let refusal = other.fill(&api).await;
    let said = ["other/0: the disk of ", " is full: ", "free space there"];
    refusal.is(Code::ResourceExhausted, "DISK_FULL", &said);
    disk.occupy_all("rest");

    broker.run(&["topic", "delete", "t", "--yes"]).ok();
    // Three files' worth, while the one that took the rest stays.
    let before = other.acked;
    while other.acked < before + 60 {
        other.heal(&api).await;
    }
    let read = api.high_watermark("other", 0).await;
    assert_eq!(read, other.acked as i64);
    other.check(&api).await;
    broker.kill();
    broker.restart();
    other.check(&Api::connect(broker.listen()).await).await;
}

/// Three brokers, each on a disk of its own.
struct Three {
    brokers: Vec<Broker>,
    disks: Vec<SmallDisk>,
}

impl Three {
    async fn start(mib: [u64; 3]) -> Self {
        let disks = mib.map(SmallDisk::new);
        let mut brokers: Vec<Broker> = Vec::new();
        for disk in &disks {
            let join = brokers.first().map(|first| first.peer().to_owned());
            let extra: Vec<&str> = join.iter().flat_map(|peer| ["--join", peer]).collect();
            let program = disk.program(&program!());
            brokers.push(Broker::start(&program, &disk.data_dir(), &extra));
        }
        let cluster = Self {
            brokers,
            disks: disks.into(),
        };
        cluster.health(0);
        let api = cluster.api(0).await;
        api.create("t", 1, &[("segment.bytes", "8MiB")]).await;
        cluster
    }

    async fn api(&self, at: usize) -> Api {
        Api::connect(self.brokers[at].listen()).await
    }

    /// Waits until the cluster is as healthy as this exit code says.
    #[track_caller]
    fn health(&self, code: i32) {
        let begun = Instant::now();
        while self.brokers[0].run(&["cluster", "health"]).end().code != Some(code) {
            assert!(begun.elapsed() < LIMIT, "no health of {code}");
        }
    }

    /// Waits until the health has a line like this.
    #[track_caller]
    fn until_said(&self, wanted: impl Fn(&str) -> bool) {
        let begun = Instant::now();
        loop {
            let health = self.brokers[0].run(&["cluster", "health"]).end();
            if health.text().lines().any(&wanted) {
                return;
            }
            assert!(begun.elapsed() < LIMIT, "not said: {health}");
        }
    }

    /// The place of the partition's leader, as the broker at `by` knows it.
    async fn leader(&self, by: usize, wanted: impl Fn(usize) -> bool) -> usize {
        let place = |id: i32| {
            let ids = self.brokers.iter().map(Broker::id);
            ids.into_iter()
                .position(|known| known == id as u64)
                .unwrap()
        };
        place(
            self.api(by)
                .await
                .leader("t", 0, |id| wanted(place(id)))
                .await,
        )
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_on_full_disks_elects_and_heals() {
    let mut cluster = Three::start([60; 3]).await;
    for (cycle, disk) in (0..4).flat_map(|cycle| cluster.disks.iter().map(move |d| (cycle, d))) {
        disk.occupy(&format!("cycle-{cycle}"), 6);
    }
    let mut producer = Producer::with_patience(&cluster.api(0).await, PATIENCE).await;
    for cycle in 0..4 {
        let leader = cluster.leader(0, |_| true).await;
        assert_full(&producer.fill(&cluster.api(leader).await).await);

        cluster.brokers[leader].kill();
        let other = (leader + 1) % 3;
        let next = cluster.leader(other, |place| place != leader).await;
        let api = cluster.api(next).await;
        read_last(&api, producer.acked).await;
        assert_full(&producer.fill(&api).await);
        cluster.brokers[leader].restart();

        for disk in &cluster.disks {
            disk.release(&format!("cycle-{cycle}"));
        }
        producer.heal(&api).await;
        cluster.health(0);
    }
    for place in 0..3 {
        producer.check(&cluster.api(place).await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_on_a_full_disk_counts_as_unreachable_and_catches_up() {
    let cluster = Three::start([96, 96, 96]).await;
    let mut producer = Producer::with_patience(&cluster.api(0).await, PATIENCE).await;
    producer.heal(&cluster.api(0).await).await;
    let leader = cluster.leader(0, |_| true).await;
    let api = cluster.api(leader).await;
    let follower = (leader + 1) % 3;
    cluster.disks[follower].occupy_all("rest");
    while producer.acked < 100 {
        producer.heal(&api).await;
    }
    let id = cluster.brokers[follower].id().to_string();
    let named = |line: &str| {
        let place = cluster.disks[follower].data_dir();
        let says = "the replica is behind: its disk is full: ";
        line.starts_with(&id) && line.contains(says) && line.contains(place.to_str().unwrap())
    };
    cluster.until_said(named);
    let log = cluster.brokers[follower].log();
    assert!(!log.contains("has stopped"), "{log}");
    let lag = |broker: &Broker| Metrics::of(broker.http()).value("highwater_replica_lag_entries");
    let deadline = Instant::now() + PATIENCE;
    while cluster.brokers.iter().all(|broker| lag(broker) == 0.0) {
        assert!(Instant::now() < deadline, "no leader tells of the lag");
    }
    cluster.disks[follower].release("rest");
    cluster.health(0);
    producer.check(&api).await;
}
