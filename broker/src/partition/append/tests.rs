//! The order of batches through the moments in which a leader is not ready, and the end of each wait.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use highwater_proto::batch::{BatchBuilder, Codec, ProducerStamp};
use highwater_proto::{
    BrokerId, ClusterId, Incarnation, LogIndex, PartitionIndex, ProducerEpoch, ProducerId,
    ReplicaId, Sequence, TopicId,
};
use tokio::time::timeout;

use super::super::machine::PartitionMachine;
use super::super::partition::{Partition, Surroundings};
use super::super::retention::Retention;
use super::*;
use crate::clock::SystemClock;
use crate::log::{Dir as _, HardState, Log, LogOptions, MemDir, Owner};
use crate::peer::{Identity, Peers};
use crate::raft::{GroupId, OpenReplica, founding_entry};
use crate::tasks::Tasks;

mod abandoned;
mod silent_brokers;
mod slow_disk;

const LIMIT: Duration = Duration::from_secs(30);
const INDEX: PartitionIndex = PartitionIndex(0);
const ME: ReplicaId = ReplicaId(1);

/// A partition whose only replica is here.
async fn partition(shared: &Arc<machine::Shared>, permission: Permission) -> Partition {
    let alone = BTreeMap::new();
    partition_on(&MemDir::new(), shared, permission, &alone).await
}

/// A partition with a replica here, which is the first, and one on each of `others`.
async fn partition_on(
    root: &MemDir,
    shared: &Arc<machine::Shared>,
    permission: Permission,
    others: &BTreeMap<BrokerId, String>,
) -> Partition {
    let dir = root.subdir("partition").unwrap();
    let cluster = ClusterId::from_bytes([2; 16]);
    let topic = TopicId::from_bytes([1; 16]);
    let group = GroupId::Partition(topic, INDEX);
    let owner = Owner {
        cluster,
        group: group.topic_bytes(),
        partition: INDEX.0,
        replica: ME,
    };
    let mut log = Log::open(Arc::clone(&dir), LogOptions::new(owner))
        .unwrap()
        .0;
    let brokers = others.keys().chain([&BrokerId(1)]);
    let voters = brokers.map(|broker| (ReplicaId(broker.0.into()), *broker));
    let founding = founding_entry(voters).unwrap();
    log.append([founding], Box::new(drop)).unwrap();
    let identity = Identity {
        cluster,
        broker: BrokerId(1),
        incarnation: Incarnation::from_bytes([3; 16]),
    };
    let (tasks, clock) = (Tasks::new(), Arc::new(SystemClock));
    let metrics = Arc::new(Metrics::new([]));
    let hard_state = root.subdir("hard-state").unwrap();
    let peers = Arc::new(Peers::new(identity, tasks.clone()));
    peers.update(others, LogIndex(1));
    let open = OpenReplica {
        group,
        id: ME,
        log,
        dir,
        hard_state: Arc::new(HardState::open(hard_state).unwrap()),
        machine: Box::new(PartitionMachine(Arc::clone(shared))),
        peers,
        clock: clock.clone(),
        metrics: Arc::clone(&metrics),
    };
    let replica = Replica::open(open, &tasks).await.unwrap();
    let around = Surroundings {
        clock,
        metrics,
        permission,
        retention: Retention {
            ms: None,
            bytes: None,
            file_bytes: 1 << 20,
            file_ms: i64::MAX,
        },
    };
    Partition::start((topic, INDEX), replica, Arc::clone(shared), around, tasks)
}

fn batch() -> RecordBatch {
    build(None)
}

/// The first batch of a producer.
fn first_batch() -> RecordBatch {
    build(Some(ProducerStamp {
        id: ProducerId(7),
        epoch: ProducerEpoch(0),
        base_sequence: Sequence(0),
    }))
}

fn build(producer: Option<ProducerStamp>) -> RecordBatch {
    let mut builder = BatchBuilder::new();
    builder.push(Timestamp(1), None, Some(b"v"), &[]);
    let bytes = builder.build(Codec::None, producer).unwrap();
    RecordBatch::parse(bytes, 1 << 20).unwrap()
}

/// The term in which the partition leads and is ready.
async fn ready(partition: &Partition) -> Term {
    let mut leadership = partition.leadership.clone();
    let mine = leadership.wait_for(|now| now.mine);
    let term = timeout(LIMIT, mine).await.unwrap().unwrap().term;
    let mut published = partition.published.clone();
    let applied = published.wait_for(|now| now.term == term);
    timeout(LIMIT, applied).await.unwrap().unwrap();
    term
}

#[tokio::test]
async fn a_batch_does_not_pass_one_that_came_before_the_leader_was_ready() {
    let shared = machine::Shared::new();
    let (becoming, asked) = (Arc::clone(&shared), AtomicUsize::new(0));
    let (tell_term, term) = watch::channel(None);
    // The leader is ready as soon as it looks for the second time, or when all others have run.
    let permission = move |on_its_way| {
        if let Some(term) = *term.borrow()
            && on_its_way > 0
        {
            let shared = Arc::clone(&becoming);
            match asked.fetch_add(1, Ordering::Relaxed) {
                0 => drop(tokio::spawn(async move { shared.publish_term(term) })),
                _ => shared.publish_term(term),
            }
        }
        Ok(())
    };
    let partition = partition(&shared, Arc::new(permission)).await;
    let term = ready(&partition).await;

    shared.publish_term(Term(0));
    tell_term.send_replace(Some(term));
    let mut fates = Vec::new();
    for _ in 0..3 {
        fates.push(partition.enqueue(batch()).await.unwrap());
    }
    for (fate, offset) in fates.into_iter().zip(0..) {
        let appended = timeout(LIMIT, fate).await.unwrap().unwrap();
        assert_eq!(appended.base_offset, Offset(offset));
    }
    partition.tasks.stop().await;
}

#[tokio::test]
async fn a_repetition_is_answered_although_another_was_judged_when_its_original_was_published() {
    let shared = machine::Shared::new();
    let (becoming, asked) = (Arc::clone(&shared), AtomicUsize::new(0));
    let (tell_after, after) = watch::channel(None);
    // It is published, for readers to see, between the looks at the first and the second repetition.
    let permission = move |_| {
        if let Some(after) = *after.borrow()
            && asked.fetch_add(1, Ordering::Relaxed) == 1
        {
            becoming.publish_again(after);
        }
        Ok(())
    };
    let partition = partition(&shared, Arc::new(permission)).await;
    ready(&partition).await;
    let before = *partition.published.borrow();
    let original = partition.enqueue(first_batch()).await.unwrap();
    let original = timeout(LIMIT, original).await.unwrap().unwrap();
    let after = *partition.published.borrow();
    assert!(after.high_watermark > before.high_watermark);

    shared.publish_again(before);
    tell_after.send_replace(Some(after));
    let mut fates = Vec::new();
    for _ in 0..2 {
        fates.push(partition.enqueue(first_batch()).await.unwrap());
    }
    for fate in fates {
        let repeated = timeout(LIMIT, fate).await.unwrap().unwrap();
        assert!(repeated.duplicate);
        assert_eq!(repeated.base_offset, original.base_offset);
    }
    partition.tasks.stop().await;
}

#[tokio::test]
async fn behind_a_refused_entry_nothing_is_written_and_the_leader_goes_on() {
    let shared = machine::Shared::new();
    let partition = partition(&shared, Arc::new(|_| Ok(()))).await;
    let term = ready(&partition).await;
    let (replica, line) = (partition.replica.clone(), Line::begin());
    let in_line = || Proposal {
        kind: ProposalKind::Batch,
        body: batch().into_bytes(),
        append_time: Timestamp(1),
        line: line.clone(),
    };
    // All are handed over before anybody knows that the first is of a term that is not.
    let mut fates = Vec::new();
    for term in [Term(term.0 + 1), term, term] {
        fates.push(replica.propose(term, in_line()).await.unwrap());
    }
    for fate in fates {
        let fate = timeout(LIMIT, fate).await.unwrap();
        assert!(matches!(fate, Err(ProposeError::Refused(_))), "{fate:?}");
    }
    assert!(line.is_cut());
    let settling = timeout(LIMIT, replica.settle(term)).await.unwrap();
    timeout(LIMIT, settling.unwrap()).await.unwrap().unwrap();
    let fate = partition.enqueue(batch()).await.unwrap();
    let appended = timeout(LIMIT, fate).await.unwrap().unwrap();
    assert_eq!(appended.base_offset, Offset(0));
    partition.tasks.stop().await;
}

/// A loop of its own for a partition, in `term` and in the middle of a line.
fn in_line(partition: &Partition, term: Term, line: &Line) -> AppendLoop {
    AppendLoop {
        replica: partition.replica.clone(),
        shared: Arc::clone(&partition.shared),
        leadership: partition.leadership.clone(),
        published: partition.published.clone(),
        clock: Arc::new(SystemClock),
        metrics: Arc::new(Metrics::new([])),
        permission: Arc::new(|_| Ok(())),
        budget: partition.budget.clone(),
        term,
        proposals: 1,
        cuts: line.cuts(),
        line: line.clone(),
        mending: Mending::default(),
        early: Vec::new(),
        repeated: Vec::new(),
        group: Group::default(),
    }
}

/// Hands one batch to a loop; what becomes of it.
async fn append(requests: &mpsc::Sender<Work>) -> Result<Appended, AppendError> {
    let (answer, verdict) = oneshot::channel();
    let request = Request {
        batch: batch(),
        arrived: monotonic(),
        share: Budget::default().share(1).await.unwrap(),
        answer,
    };
    drop(requests.send(Work::Batch(request)).await);
    let verdict = timeout(LIMIT, verdict).await.unwrap().unwrap();
    let metrics = Metrics::new([]);
    timeout(LIMIT, verdict.resolve(&metrics)).await.unwrap()
}

/// Hands batches to a loop until it takes one; all before are refused for the lack of a majority.
async fn append_at_last(requests: &mpsc::Sender<Work>) -> Appended {
    let goes_on = async {
        loop {
            match append(requests).await {
                Err(AppendError::QuorumLost) => tokio::task::yield_now().await,
                other => return other.unwrap(),
            }
        }
    };
    timeout(LIMIT, goes_on).await.unwrap()
}

/// Has the core refuse an entry of the line.
async fn cut(replica: &Replica, term: Term, line: &Line) {
    let refused = Proposal {
        kind: ProposalKind::Batch,
        body: batch().into_bytes(),
        append_time: Timestamp(1),
        line: line.clone(),
    };
    let fate = replica.propose(Term(term.0 + 1), refused).await.unwrap();
    drop(timeout(LIMIT, fate).await.unwrap());
    assert!(line.is_cut());
}

#[tokio::test]
async fn a_leader_is_silent_for_a_while_in_its_term_only() {
    let shared = machine::Shared::new();
    let partition = partition(&shared, Arc::new(|_| Ok(()))).await;
    let (term, replica) = (ready(&partition).await, partition.replica.clone());
    assert!(replica.is_heard());
    for (of, until, heard) in [
        (term, monotonic() + 100 * LIMIT, false),
        (term, monotonic(), true),
        (Term(term.0 - 1), monotonic() + 100 * LIMIT, true),
    ] {
        replica.be_silent(of, until);
        assert_eq!(replica.is_heard(), heard, "{of}");
    }
    partition.tasks.stop().await;
}

#[tokio::test]
async fn a_repetition_is_answered_when_what_it_repeats_is_cut_off() {
    let shared = machine::Shared::new();
    let (looked, looks) = watch::channel(());
    let permission: Permission = Arc::new(move |_| {
        looked.send_replace(());
        Ok(())
    });
    let partition = partition(&shared, Arc::new(|_| Ok(()))).await;
    let term = ready(&partition).await;
    let (line, replica) = (Line::begin(), partition.replica.clone());
    let append = AppendLoop {
        permission,
        ..in_line(&partition, term, &line)
    };
    let original = Sequenced::of(first_batch().header()).unwrap().unwrap();
    let proposal = producers::Proposal(1);
    shared.state().producers_mut().propose(original, proposal);
    let (requests, queue) = mpsc::channel(4);
    partition.tasks.spawn(append.run(queue));

    let (answer, verdict) = oneshot::channel();
    let (batch, arrived) = (first_batch(), monotonic());
    let repetition = Request {
        batch,
        arrived,
        share: partition.budget.share(1).await.unwrap(),
        answer,
    };
    let mut looks = looks;
    looks.mark_unchanged();
    drop(requests.send(Work::Batch(repetition)).await);
    timeout(LIMIT, looks.changed()).await.unwrap().unwrap();
    // What the core refuses of the line cuts off the original.
    cut(&replica, term, &line).await;
    let verdict = timeout(LIMIT, verdict).await.unwrap().unwrap();
    let metrics = Metrics::new([]);
    let resolved = verdict.resolve(&metrics);
    let appended = timeout(LIMIT, resolved).await.unwrap().unwrap();
    assert_eq!(
        (appended.base_offset, appended.duplicate),
        (Offset(0), false)
    );
    partition.tasks.stop().await;
}
