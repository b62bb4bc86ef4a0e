//! A batch that was sent twice is in the log once: producer ids, sequences, and what the brokers
//! remember of them through SIGKILL, rolled segments and changes of the leader.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::Path;

use bytes::Bytes;
use futures_util::future::join_all;
use highwater_proto::pb::v1::BatchAck;
use highwater_tests::api::soon;
use highwater_tests::batches::{batch, changed, sequenced};
use highwater_tests::{Answer, Api, Broker, Cluster, Session, batches, program};
use rustix::process::Signal;
use tonic::Code;

/// How many batches of a producer are recognised with their place.
const REMEMBERED: usize = 5;
/// An id far above any that a test asks for.
const NEVER_GIVEN: i64 = 1 << 40;

/// What a producer appended to partition 0 of the topic `t`.
struct Story {
    producer: i64,
    epoch: u16,
    /// Each batch and the offset it got.
    sent: Vec<(Bytes, i64)>,
    next: i32,
}

impl Story {
    /// A new producer that appends eight batches, of one record, two, and so on.
    async fn begin(api: &Api) -> Self {
        Self::of(api, api.producer_id().await, 0).await
    }

    /// The same under a name that was taken over so many times.
    async fn named(api: &Api, name: &str, epoch: u16) -> Self {
        let mut producer = 0;
        for expected in 0..=i32::from(epoch) {
            let given = api.next_epoch(name).await;
            assert_eq!(given.producer_epoch, expected);
            producer = given.producer_id;
        }
        Self::of(api, producer, epoch).await
    }

    async fn of(api: &Api, producer: i64, epoch: u16) -> Self {
        let mut story = Self {
            producer,
            epoch,
            sent: Vec::new(),
            next: 0,
        };
        for _ in 0..8 {
            story.go_on(api).await;
        }
        story
    }

    fn batch(&self, base: i32, records: i32) -> Bytes {
        let values = (base..base + records).map(|n| format!("{} {n}", self.producer));
        sequenced(self.producer, self.epoch, base, values)
    }

    /// Appends one batch more.
    async fn go_on(&mut self, api: &Api) {
        let records = i32::try_from(self.sent.len()).unwrap() % 8 + 1;
        let batch = self.batch(self.next, records);
        let base_offset = api.append_surely("t", &batch).await.base_offset;
        self.next += records;
        self.sent.push((batch, base_offset));
    }

    /// Fails unless the broker recognises what it has and refuses what does not follow, and
    /// writes nothing meanwhile.
    async fn is_known(&self, api: &Api) {
        let (older, last) = self.sent.split_at(self.sent.len() - REMEMBERED);
        for (batch, base_offset) in last {
            let again = api.append_surely("t", batch).await;
            assert_eq!((again.base_offset, again.duplicate), (*base_offset, true));
        }
        let end = api.high_watermark("t", 0).await;
        for (batch, _) in older {
            let again = api.append("t", 0, batch.clone()).await.unwrap_err();
            again.is(Code::AlreadyExists, "DUPLICATE_SEQUENCE", &["t/0"]);
        }
        // A gap, and a batch that is new in part only.
        for base in [self.next + 3, self.next - 1] {
            let gap = api.append("t", 0, self.batch(base, 3)).await.unwrap_err();
            let parts = [base.to_string(), self.next.to_string()];
            gap.is(
                Code::FailedPrecondition,
                "SEQUENCE_GAP",
                &[&parts[0], &parts[1]],
            );
            let detail = gap.sequence_gap();
            assert_eq!(detail.producer_id, self.producer);
            assert_eq!(detail.expected_sequence, self.next);
            assert_eq!(detail.actual_sequence, base);
        }
        if let Some(lower) = self.epoch.checked_sub(1) {
            let old = sequenced(self.producer, lower, self.next, ["late"]);
            let fenced = api.append("t", 0, old).await.unwrap_err();
            let parts = [self.epoch.to_string(), lower.to_string()];
            fenced.is(
                Code::FailedPrecondition,
                "PRODUCER_FENCED",
                &[&parts[0], &parts[1]],
            );
        }
        assert_eq!(api.high_watermark("t", 0).await, end, "nothing was written");
    }
}

async fn refuses_an_id_that_was_never_given(api: &Api) {
    let end = api.high_watermark("t", 0).await;
    let stranger = sequenced(NEVER_GIVEN, 0, 0, ["x"]);
    let refused = api.append("t", 0, stranger).await.unwrap_err();
    refused.is(
        Code::FailedPrecondition,
        "UNKNOWN_PRODUCER",
        &[&NEVER_GIVEN.to_string()],
    );
    assert_eq!(api.high_watermark("t", 0).await, end, "nothing was written");
}

#[tokio::test]
async fn producer_ids_are_given_once_across_brokers_and_restarts() {
    let mut cluster = Cluster::start(&program!(), 3);
    let mut given = BTreeSet::new();
    for _ in 0..2 {
        let apis = join_all(cluster.brokers.iter().map(|b| Api::connect(b.listen()))).await;
        let asked = (0..60).map(|number| apis[number % 3].producer_id());
        for id in join_all(asked).await {
            assert!(id >= 0);
            assert!(given.insert(id), "{id} was given twice");
        }
        cluster.restart_all();
    }
}

#[tokio::test]
async fn the_last_five_batches_are_recognised_also_after_sigkill() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(&program!(), dir.path(), &[]);
    let api = Api::connect(broker.listen()).await;
    api.create("t", 1, &[]).await;
    let mut plain = Story::begin(&api).await;
    let bumped = Story::named(&api, "n", 7).await;
    plain.go_on(&api).await;
    for _ in 0..2 {
        let api = Api::connect(broker.listen()).await;
        plain.is_known(&api).await;
        bumped.is_known(&api).await;
        refuses_an_id_that_was_never_given(&api).await;
        broker.kill();
        broker.restart();
    }
    let api = Api::connect(broker.listen()).await;
    plain.go_on(&api).await;
    plain.is_known(&api).await;
}

#[tokio::test]
async fn sequences_count_in_each_partition_alone() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&program!(), dir.path(), &[]);
    let api = Api::connect(broker.listen()).await;
    api.create("t", 2, &[]).await;
    let story = Story::begin(&api).await;
    let unknown = api.append("t", 1, story.batch(story.next, 1)).await;
    unknown.unwrap_err().is(
        Code::FailedPrecondition,
        "UNKNOWN_PRODUCER",
        &["t/1", &story.next.to_string()],
    );
    let first = api.append("t", 1, story.sent[0].0.clone()).await.unwrap();
    assert_eq!((first.base_offset, first.duplicate), (0, false));
}

/// The names of the files below `dir`.
fn files(dir: &Path) -> Vec<String> {
    let mut names = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(entry.path()),
                false => names.push(entry.path().to_str().unwrap().to_owned()),
            }
        }
    }
    names
}

#[tokio::test]
async fn what_is_recognised_is_saved_at_each_roll_and_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(&program!(), dir.path(), &[]);
    let api = Api::connect(broker.listen()).await;
    api.create("t", 1, &[("segment.bytes", "1MiB")]).await;
    let filler = vec!["f".repeat(600_000)];
    let mut stories = Vec::new();
    for name in ["a", "b", "c", "d"] {
        stories.push(Story::named(&api, name, 1).await);
        api.append("t", 0, batch(&filler)).await.unwrap();
        api.append("t", 0, batch(&filler)).await.unwrap();
    }
    for _ in 0..2 {
        let api = Api::connect(broker.listen()).await;
        for story in &mut stories {
            story.is_known(&api).await;
            story.go_on(&api).await;
        }
        let is_saved = || {
            let files = files(dir.path());
            files.iter().any(|name| name.contains("/state-"))
        };
        let saved = async {
            while !is_saved() {
                api.high_watermark("t", 0).await;
            }
        };
        soon("a saved state", saved).await;
        broker.kill();
        broker.restart();
    }
    let api = Api::connect(broker.listen()).await;
    for story in &mut stories {
        story.is_known(&api).await;
        story.go_on(&api).await;
    }
    let expected: i64 = stories.iter().map(|story| i64::from(story.next)).sum();
    assert_eq!(api.high_watermark("t", 0).await, expected + 8);
}

#[tokio::test]
async fn a_new_leader_recognises_what_the_old_one_appended() {
    let mut cluster = Cluster::start(&program!(), 3);
    let api = Api::connect(cluster.brokers[0].listen()).await;
    api.create("t", 1, &[("segment.bytes", "1MiB")]).await;
    let mut stories = [Story::begin(&api).await, Story::named(&api, "n", 4).await];
    // Enough for the replicas to begin new segments.
    let filler = vec!["f".repeat(600_000)];
    let producer = api.producer_id().await;
    for sequence in 0..3 {
        let filler = sequenced(producer, 0, sequence, &filler);
        api.append_surely("t", &filler).await;
    }
    for _ in 0..2 {
        let leader = cluster.leader_of("t", 0);
        let old = i32::try_from(cluster.brokers[leader].id()).unwrap();
        cluster.brokers[leader].kill();
        let other = Api::connect(cluster.brokers[(leader + 1) % 3].listen()).await;
        other.leader("t", 0, |id| id != old).await;
        for story in &mut stories {
            story.go_on(&other).await;
            story.is_known(&other).await;
        }
        refuses_an_id_that_was_never_given(&other).await;
        cluster.brokers[leader].restart();
        cluster.until_healthy();
    }
    cluster.restart_all();
    let api = Api::connect(cluster.brokers[2].listen()).await;
    for story in &mut stories {
        story.go_on(&api).await;
        story.is_known(&api).await;
    }
    let expected: i64 = stories.iter().map(|story| i64::from(story.next)).sum();
    assert_eq!(api.high_watermark("t", 0).await, expected + 3);
}

/// Sends a batch three times while nothing can be committed, and more after it. `None` when the
/// leader noticed that it was alone before all was sent.
async fn repeated_in_flight(cluster: &Cluster) -> Option<[Ack; 4]> {
    let place = cluster.leader_of("t", 0);
    let api = Api::connect(cluster.brokers[place].listen()).await;
    let producer = api.producer_id().await;
    let before = sequenced(producer, 0, 0, ["a", "b"]);
    let before = api.append_surely("t", &before).await.base_offset;
    let mut session = Session::open(&api).await;
    let mut other = Session::open(&api).await;

    let followers = || (0..3).filter(|broker| *broker != place);
    followers().for_each(|broker| cluster.brokers[broker].signal(Signal::STOP));
    let once = sequenced(producer, 0, 2, ["c"]);
    let first = session.send("t", 0, once.clone());
    let second = session.send("t", 0, once.clone());
    let third = session.send("t", 0, sequenced(producer, 0, 3, ["d"]));
    // Messages of a session are taken in order: once this one is refused, the others are on
    // their way.
    let bad = session.send("t", 0, Bytes::new());
    assert_eq!(session.answer(bad).await.unwrap_err().reason, "BAD_BATCH");
    let elsewhere = other.send("t", 0, once);
    let bad = other.send("t", 0, Bytes::new());
    assert_eq!(other.answer(bad).await.unwrap_err().reason, "BAD_BATCH");
    followers().for_each(|broker| cluster.brokers[broker].signal(Signal::CONT));

    let place_of = |answer: Answer<BatchAck>| match answer {
        Ok(ack) => Some((ack.base_offset - before, ack.duplicate)),
        Err(refusal) => {
            let lone = ["QUORUM_LOST", "NO_LEADER", "NOT_LEADER", "OUTCOME_UNKNOWN"];
            assert!(lone.contains(&&*refusal.reason), "{refusal:?}");
            None
        }
    };
    Some([
        place_of(session.answer(first).await)?,
        place_of(session.answer(second).await)?,
        place_of(session.answer(third).await)?,
        place_of(other.answer(elsewhere).await)?,
    ])
}

/// Where a batch is, counted from the first of its producer, and whether it was there before.
type Ack = (i64, bool);

#[tokio::test]
async fn a_batch_repeated_while_it_is_in_flight_is_answered_when_it_commits() {
    let cluster = Cluster::start(&program!(), 3);
    let api = Api::connect(cluster.brokers[0].listen()).await;
    api.create("t", 1, &[]).await;
    let repeating = async {
        loop {
            if let Some(acks) = repeated_in_flight(&cluster).await {
                return acks;
            }
        }
    };
    let acks = soon("a leader that does not notice", repeating).await;
    assert_eq!(acks, [(2, false), (2, true), (3, false), (2, true)]);
    let values = api.values("t", 0).await;
    assert!(
        values.ends_with(&["a", "b", "c", "d"].map(str::to_owned)),
        "{values:?}"
    );
}

#[tokio::test]
async fn pipelined_batches_keep_their_order_in_each_partition() {
    const ROUNDS: i32 = 200;
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&program!(), dir.path(), &[]);
    let api = Api::connect(broker.listen()).await;
    api.create("t", 3, &[]).await;
    let producer = api.producer_id().await;
    let mut session = Session::open(&api).await;
    for round in 0..ROUNDS {
        for partition in 0..3 {
            let values = [format!("{round} a"), format!("{round} b")];
            session.send("t", partition, sequenced(producer, 0, round * 2, values));
        }
    }
    let (answers, ended) = session.end().await;
    ended.unwrap();
    assert_eq!(answers.len(), usize::try_from(ROUNDS * 3).unwrap());
    for (number, answer) in answers {
        let round = i64::try_from(number - 1).unwrap() / 3;
        assert_eq!(answer.unwrap().base_offset, round * 2, "batch {number}");
    }
    let expected: Vec<String> = (0..ROUNDS)
        .flat_map(|round| [format!("{round} a"), format!("{round} b")])
        .collect();
    for partition in 0..3 {
        assert_eq!(api.values("t", partition).await, expected);
    }
}

#[tokio::test]
async fn what_follows_a_refused_batch_is_a_gap_until_it_is_sent_again() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&program!(), dir.path(), &[]);
    let api = Api::connect(broker.listen()).await;
    api.create("t", 1, &[]).await;
    let producer = api.producer_id().await;
    let sound: Vec<Bytes> = (0..4)
        .map(|n| sequenced(producer, 0, n, [n.to_string()]))
        .collect();
    let mut session = Session::open(&api).await;
    let mut numbers = vec![session.send("t", 0, sound[0].clone())];
    let control = changed(&sound[1], batches::at::ATTRIBUTES, 0x20_i16.to_be_bytes());
    numbers.push(session.send("t", 0, control));
    numbers.extend([2, 3, 1, 2, 3].map(|n| session.send("t", 0, sound[n].clone())));
    let mut told = Vec::new();
    for number in numbers {
        let answer = session.answer(number).await;
        told.push(answer.map_or_else(|error| error.reason, |ack| ack.base_offset.to_string()));
    }
    let (gap, bad) = ("SEQUENCE_GAP", "BAD_BATCH");
    assert_eq!(told, ["0", bad, gap, gap, "1", "2", "3"]);
    assert_eq!(api.values("t", 0).await, ["0", "1", "2", "3"]);
}
