//! A disk whose syncs really fail, below a real process: nothing is acknowledged after the first
//! failure, the broker leaves within a second and says what to do, and all acknowledged is there once
//! the disk works again. And one that cannot read what it has: that file alone is out.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use highwater_proto::pb::v1;
use highwater_tests::{Api, Broker, FailingDisk, Refusal, batches, figure, may_take, program};

/// From the produce that was to be synced until the process has ended. What else the machine does can
/// only add to it, so the first of some rounds that keeps the limit is enough.
const LEAVES_WITHIN: Duration = may_take(Duration::from_secs(1), Duration::from_secs(3));
const ROUNDS: usize = 4;
const LIMIT: Duration = Duration::from_secs(60);
const RECORD: usize = 64 << 10;

struct Victim {
    disk: FailingDisk,
    broker: Broker,
    api: Api,
    acked: usize,
}

impl Victim {
    async fn start() -> Self {
        let disk = FailingDisk::new(64);
        let broker = Broker::start(
            &disk.disk().program(&program!()),
            &disk.disk().data_dir(),
            &[],
        );
        let api = Api::connect(broker.listen()).await;
        api.create("t", 1, &[]).await;
        let acked = 0;
        Self {
            disk,
            broker,
            api,
            acked,
        }
    }

    async fn append(&mut self) -> Result<(), Refusal> {
        let mut value = format!("{} ", self.acked);
        value.extend(std::iter::repeat_n('x', RECORD - value.len()));
        let request = v1::ProduceRequest {
            topic: "t".to_owned(),
            partition: Some(0),
            batch: batches::batch([value]),
            ..v1::ProduceRequest::default()
        };
        self.api.produce(request).await?;
        self.acked += 1;
        Ok(())
    }

    /// Appends until that fails: why, and when the append was sent that did.
    async fn append_until_refused(&mut self) -> (Refusal, Instant) {
        let begun = Instant::now();
        loop {
            let sent = Instant::now();
            match self.append().await {
                Err(refusal) => return (refusal, sent),
                Ok(()) => assert!(begun.elapsed() < LIMIT, "the disk does not fail"),
            }
        }
    }

    /// The process ends by itself with exit code 1 and says what, where and what to do.
    #[track_caller]
    fn leaves(&mut self, since: Instant) -> Duration {
        let ended = self.broker.ended();
        let took = since.elapsed();
        figure(&format!("it left {took:?} after the append was sent"));
        let log = self.broker.log();
        assert_eq!(ended.code(), Some(1), "{log}");
        assert!(!log.contains("panicked"), "{log}");
        let told = log.lines().find(|line| line.starts_with("error[STOPPED]"));
        let told = told.unwrap_or_else(|| panic!("no reason in:\n{log}"));
        for part in [".seg: ", "/disk/data", "cannot sync", "check the disk"] {
            assert!(told.contains(part), "no {part:?} in {told}");
        }
        took
    }

    /// Whatever was acknowledged is there, and at most the append whose fate is unknown beside it.
    async fn has_what_was_acknowledged(&mut self) {
        self.disk.mend();
        self.broker.restart();
        let api = Api::connect(self.broker.listen()).await;
        let values = api.values("t", 0).await;
        let number = |value: &String| value.split(' ').next().unwrap().parse().unwrap();
        let found: Vec<usize> = values.iter().map(number).collect();
        let unknown = found.len().saturating_sub(self.acked);
        assert!(unknown <= 1, "{} acknowledged, {found:?}", self.acked);
        assert_eq!(found[..self.acked], (0..self.acked).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_whose_disk_cannot_sync_leaves_within_a_second_and_loses_nothing_acknowledged() {
    let mut took = Vec::new();
    while took.iter().all(|took| *took >= LEAVES_WITHIN) {
        assert!(took.len() < ROUNDS, "it went on for {took:?}");
        took.push(leaves_when_its_disk_cannot_sync().await);
    }
}

/// How long the broker goes on, which must lose nothing.
async fn leaves_when_its_disk_cannot_sync() -> Duration {
    let mut victim = Victim::start().await;
    for _ in 0..5 {
        victim.append().await.unwrap();
    }
    // Readers and writers that stay connected do not hold it up.
    let request = v1::SubscribeRequest {
        topic: "t".to_owned(),
        ..v1::SubscribeRequest::default()
    };
    let reading = victim.api.subscribe(request).await.unwrap();
    victim.disk.fail();
    let (refusal, sent) = victim.append_until_refused().await;
    let took = victim.leaves(sent);
    assert!(
        // The second where another of its files was to be synced before, and the broker is on its way out.
        ["OUTCOME_UNKNOWN", "NO_LEADER", ""].contains(&refusal.reason.as_str()),
        "{refusal:?}"
    );
    drop(reading);
    victim.has_what_was_acknowledged().await;
    took
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_becomes_read_only_acknowledges_nothing_more_and_loses_nothing() {
    let mut victim = Victim::start().await;
    for _ in 0..5 {
        victim.append().await.unwrap();
    }
    victim.disk.abort();
    let (refusal, _) = victim.append_until_refused().await;
    assert!(
        ["OUTCOME_UNKNOWN", "NO_LEADER"].contains(&refusal.reason.as_str()),
        "{refusal:?}"
    );
    // It stays, says why, and tries to open the replica again.
    victim.broker.log_line("a replica stays out of its group");
    let broker = &victim.broker;
    let place = broker.data_dir().to_str().unwrap();
    let place = format!("the data directory {place} has become read-only");
    broker.unhealthy(&[
        "the replica is stopped",
        "Read-only file system",
        &place,
        "restart",
    ]);
    victim.broker.kill();
    let log = victim.broker.log();
    assert!(!log.contains("panicked"), "{log}");
    victim.has_what_was_acknowledged().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_the_disk_cannot_read_is_damage_and_does_not_end_the_broker() {
    let mut victim = Victim::start().await;
    for _ in 0..5 {
        victim.append().await.unwrap();
    }
    victim.broker.kill();
    victim.disk.lose_sectors();
    victim.broker.restart();
    // Its metadata is on the other disk, which works.
    let api = Api::connect(victim.broker.listen()).await;
    api.create("whole", 1, &[]).await;
    let request = v1::ProduceRequest {
        topic: "whole".to_owned(),
        partition: Some(0),
        batch: batches::batch(["a record".to_owned()]),
        ..v1::ProduceRequest::default()
    };
    api.produce(request).await.unwrap();
    assert_eq!(api.values("whole", 0).await, ["a record"]);
    let broker = &victim.broker;
    broker.unhealthy(&[
        "the replica is damaged",
        "00000001.seg",
        "no other replica to repair it from",
    ]);
    victim.broker.kill();
    let log = victim.broker.log();
    assert!(!log.contains("panicked"), "{log}");
    let why = "00000001.seg is damaged at byte 8192: the disk cannot read it";
    assert!(log.contains(why), "{log}");
}
