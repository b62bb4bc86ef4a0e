//! What is known of producers outlives their records: through deletion by age and by command, a
//! snapshot taken up by a replica that had nothing, and files written anew from other replicas. Who
//! leads with that state recognises what was sent again, refuses gaps, and fences predecessors.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use bytes::Bytes;
use highwater_proto::pb::v1;
use highwater_proto::pb::v1::trim_partition_request::To;
use highwater_tests::api::soon;
use highwater_tests::batches::sequenced;
use highwater_tests::files::{self, FIRST_FRAME};
use highwater_tests::storage::{partition_dir, segments};
use highwater_tests::{Api, Cluster, program};
use tonic::Code;

/// A producer in one of its epochs, which wrote two batches to partition 0 of `t`.
struct Life {
    id: i64,
    epoch: u16,
    /// Each batch and the offset it got.
    sent: Vec<(Bytes, i64)>,
}

impl Life {
    /// The next epoch of a name, or a producer without one.
    async fn begin(api: &Api, name: &str) -> Self {
        let given = match name {
            "" => (api.producer_id().await, 0),
            name => {
                let given = api.next_epoch(name).await;
                (given.producer_id, given.producer_epoch)
            }
        };
        let mut life = Self {
            id: given.0,
            epoch: u16::try_from(given.1).unwrap(),
            sent: Vec::new(),
        };
        life.go_on(api).await;
        life.go_on(api).await;
        life
    }

    /// The batch of one record with this sequence.
    fn batch(&self, sequence: usize) -> Bytes {
        let value = format!("{}/{} {sequence}", self.id, self.epoch);
        let sequence = i32::try_from(sequence).unwrap();
        sequenced(self.id, self.epoch, sequence, [value])
    }

    async fn go_on(&mut self, api: &Api) {
        let batch = self.batch(self.sent.len());
        let offset = api.append_surely("t", &batch).await.base_offset;
        self.sent.push((batch, offset));
    }

    /// Fails unless the leader knows all that was sent, and nothing is written by a repetition or
    /// behind a gap.
    async fn is_known(&self, api: &Api) {
        let end = api.high_watermark("t", 0).await;
        for (batch, offset) in &self.sent {
            let again = api.append_surely("t", batch).await;
            assert_eq!((again.base_offset, again.duplicate), (*offset, true));
        }
        let gap = self.batch(self.sent.len() + 1);
        let gap = api.append("t", 0, gap).await.unwrap_err();
        gap.is(Code::FailedPrecondition, "SEQUENCE_GAP", &[]);
        let expected = usize::try_from(gap.sequence_gap().expected_sequence).unwrap();
        assert_eq!(expected, self.sent.len());
        assert_eq!(api.high_watermark("t", 0).await, end, "nothing was written");
    }

    /// Fails unless the leader refuses whatever this life sends, and writes nothing of it.
    async fn is_fenced(&self, api: &Api) {
        let end = api.high_watermark("t", 0).await;
        for sequence in [0, self.sent.len() - 1, self.sent.len(), self.sent.len() + 1] {
            let late = api.append("t", 0, self.batch(sequence)).await.unwrap_err();
            late.is(Code::FailedPrecondition, "PRODUCER_FENCED", &["t/0"]);
        }
        assert_eq!(api.high_watermark("t", 0).await, end, "nothing was written");
    }
}

/// What wrote, and what must be known of it.
struct Writers {
    zombie: Life,
    named: Life,
    plain: Life,
}

impl Writers {
    async fn begin(api: &Api) -> Self {
        let zombie = Life::begin(api, "writer").await;
        let named = Life::begin(api, "writer").await;
        assert_eq!((named.id, named.epoch), (zombie.id, zombie.epoch + 1));
        Self {
            zombie,
            named,
            plain: Life::begin(api, "").await,
        }
    }

    /// Has the broker at `place` lead, and holds what it knows against what was sent.
    async fn are_known_by(&mut self, cluster: &Cluster, place: usize) {
        for other in (0..3).filter(|other| *other != place) {
            let id = cluster.brokers[other].id().to_string();
            cluster.run(&["cluster", "drain", &id]).ok();
        }
        let id = i32::try_from(cluster.brokers[place].id()).unwrap();
        let api = Api::connect(cluster.brokers[place].listen()).await;
        api.leader("t", 0, |leader| leader == id).await;
        for _ in 0..2 {
            self.zombie.is_fenced(&api).await;
            for life in [&mut self.named, &mut self.plain] {
                life.is_known(&api).await;
                life.go_on(&api).await;
            }
        }
    }
}

/// Appends so many records of 100 kB, of which a segment of 1 MiB holds ten.
async fn fill(api: &Api, count: usize) {
    let producer = api.producer_id().await;
    for number in 0..count {
        let value = format!("{number:05}").repeat(20_000);
        let sequence = i32::try_from(number).unwrap();
        let batch = sequenced(producer, 0, sequence, [value]);
        api.append_surely("t", &batch).await;
    }
}

const SMALL: (&str, &str) = ("segment.bytes", "1MiB");

/// Creates `t` on three brokers while one of them, which is given, is away and knows nothing of
/// the topic.
async fn without_one(cluster: &mut Cluster) -> (usize, Api, String) {
    let api = Api::connect(cluster.brokers[0].listen()).await;
    let controller = api.controller(|_| true).await;
    let is_away =
        |place: &usize| i32::try_from(cluster.brokers[*place].id()).unwrap() != controller;
    let away = (0..3).find(is_away).unwrap();
    cluster.brokers[away].kill();
    let api = Api::connect(cluster.brokers[(away + 1) % 3].listen()).await;
    let topic = api.create("t", 1, &[SMALL]).await;
    (away, api, topic)
}

/// Waits until the brokers that have the topic gave back its first segments.
async fn until_given_back(cluster: &Cluster, away: usize, topic: &str, first: &str) {
    for place in (0..3).filter(|place| *place != away) {
        let broker = &cluster.brokers[place];
        let dir = partition_dir(broker, topic, 0);
        let api = Api::connect(broker.listen()).await;
        let freed = async {
            while segments(&dir).iter().any(|name| name == first) {
                api.high_watermark("t", 0).await;
            }
        };
        soon("the records of the producers are given back", freed).await;
    }
}

/// Starts the broker that was away; it makes a replica of a snapshot.
fn comes_back(cluster: &mut Cluster, away: usize) {
    cluster.brokers[away].restart();
    cluster.brokers[away].log_line("taking up a snapshot");
    cluster.until_healthy();
}

#[tokio::test]
async fn a_replica_made_of_a_snapshot_knows_producers_whose_records_were_trimmed() {
    let mut cluster = Cluster::start(&program!(), 3);
    let (away, api, topic) = without_one(&mut cluster).await;
    let mut writers = Writers::begin(&api).await;
    let first = segments(&partition_dir(&cluster.brokers[(away + 1) % 3], &topic, 0)).remove(0);
    fill(&api, 50).await;
    api.trim("t", 0, Some(To::End(true)), false).await.unwrap();
    until_given_back(&cluster, away, &topic, &first).await;
    comes_back(&mut cluster, away);
    writers.are_known_by(&cluster, away).await;
}

#[tokio::test]
async fn a_replica_made_of_a_snapshot_knows_producers_whose_records_grew_too_old() {
    let mut cluster = Cluster::start(&program!(), 3);
    let (away, api, topic) = without_one(&mut cluster).await;
    let mut writers = Writers::begin(&api).await;
    let first = segments(&partition_dir(&cluster.brokers[(away + 1) % 3], &topic, 0)).remove(0);
    fill(&api, 25).await;
    let alter = v1::AlterTopicRequest {
        name: "t".to_owned(),
        set: [("retention.ms".to_owned(), "1000".to_owned())].into(),
        unset: Vec::new(),
    };
    api.alter(alter).await.unwrap();
    until_given_back(&cluster, away, &topic, &first).await;
    comes_back(&mut cluster, away);
    writers.are_known_by(&cluster, away).await;
    cluster.restart_all();
    writers.are_known_by(&cluster, away).await;
}

#[tokio::test]
async fn a_replica_whose_files_were_written_anew_knows_producers() {
    let mut cluster = Cluster::start(&program!(), 3);
    let api = Api::connect(cluster.brokers[0].listen()).await;
    let topic = api.create("t", 1, &[SMALL]).await;
    let mut writers = Writers::begin(&api).await;
    fill(&api, 25).await;
    cluster.until_healthy();
    let place = (cluster.leader_of("t", 0) + 1) % 3;
    cluster.brokers[place].stop();
    let dir = partition_dir(&cluster.brokers[place], &topic, 0);
    for file in files::segments(&dir) {
        let mut bytes = fs::read(&file).unwrap();
        bytes[FIRST_FRAME..].fill(0);
        fs::write(&file, bytes).unwrap();
    }
    cluster.brokers[place].restart();
    cluster.brokers[place].log_line("a damaged file was repaired from another replica");
    cluster.until_healthy();
    writers.are_known_by(&cluster, place).await;
}
