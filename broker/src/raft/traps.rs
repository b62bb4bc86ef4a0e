//! What a log under openraft must not fall into: each of these lost acknowledged entries somewhere.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use highwater_proto::pb::peer::{LaneRequest, VoteRequest, lane_request, lane_response};
use highwater_proto::{
    BrokerId, ClusterId, Incarnation, LogIndex, Offset, PartitionIndex, ReplicaId, Term, Timestamp,
    TopicId,
};
use openraft::storage::RaftLogStorage;
use tokio::sync::mpsc;

use super::floor::settle;
use super::log_store::LogStore;
use super::saved::{self, Saved};
use super::types::{LeaderId, StoredMembership, Vote, log_id};
use super::*;
use crate::clock::SystemClock;
use crate::log::{
    Dir, FrameKind, HardState, HeldDisk, LastFrame, Log, LogOptions, MemDir, NewFrame, Owner,
    Source,
};
use crate::metrics::Metrics;
use crate::peer::{Identity, Peers};
use crate::tasks::Tasks;

mod reading;

const ME: ReplicaId = ReplicaId(11);
const TERM: Term = Term(5);
const LIMIT: Duration = Duration::from_secs(30);

struct Nothing;

impl Replicated for Nothing {
    fn apply(&mut self, _: &Committed<'_>) -> Result<Reply, NotUnderstood> {
        Ok(Reply::Nothing)
    }

    fn publish(&mut self) {}

    fn save(&self) -> Vec<u8> {
        Vec::new()
    }

    fn restore(&mut self, _: &[u8], _: LogIndex) -> Result<(), NotUnderstood> {
        Ok(())
    }
}

fn group() -> GroupId {
    GroupId::Partition(TopicId::from_bytes([1; 16]), PartitionIndex(0))
}

fn identity() -> Identity {
    Identity {
        cluster: ClusterId::from_bytes([2; 16]),
        broker: BrokerId(1),
        incarnation: Incarnation::from_bytes([3; 16]),
    }
}

fn blank(term: Term, index: u64) -> NewFrame {
    NewFrame {
        term,
        index: LogIndex(index),
        kind: FrameKind::Blank,
        body: Bytes::new(),
        source: Source::Local {
            append_time: Timestamp(1),
        },
    }
}

/// The disk of a replica of three that led in a term: entry 0 founds the group, 1 to 4 follow.
struct Disk {
    dir: Arc<dyn Dir>,
    hard_state: Arc<HardState>,
}

impl Disk {
    async fn of_a_leader() -> Self {
        Self::of_a_leader_on(MemDir::new()).await
    }

    async fn of_a_leader_on(root: MemDir) -> Self {
        let dir = root.subdir("group").unwrap();
        let hard_state = root.subdir("hard-state").unwrap();
        let hard_state = Arc::new(HardState::open(hard_state).unwrap());
        let disk = Self { dir, hard_state };
        let mut log = disk.log();
        let voters = [11, 12, 13]
            .map(ReplicaId)
            .into_iter()
            .zip((1..).map(BrokerId));
        log.append([founding_entry(voters).unwrap()], Box::new(drop))
            .unwrap();
        let blanks = (1..=4).map(|index| blank(TERM, index));
        log.append(blanks, Box::new(drop)).unwrap();
        drop(log);
        let mut store = disk.store().await;
        let leader_id = LeaderId {
            term: TERM.0,
            voted_for: ME.0,
        };
        let vote = Vote {
            leader_id,
            committed: true,
        };
        store.save_vote(&vote).await.unwrap();
        disk
    }

    async fn store(&self) -> LogStore {
        let (log, floor) = settle(self.log(), &self.dir, &self.hard_state, ME)
            .await
            .unwrap();
        let (state, clock) = (Arc::clone(&self.hard_state), Arc::new(SystemClock));
        LogStore::new(log, state, ME, clock, floor).unwrap()
    }

    fn log(&self) -> Log {
        let owner = Owner {
            cluster: identity().cluster,
            group: group().topic_bytes(),
            partition: 0,
            replica: ME,
        };
        let opened = Log::open(Arc::clone(&self.dir), LogOptions::new(owner));
        opened.unwrap().0
    }

    async fn open(&self, tasks: &Tasks) -> Replica {
        self.try_open(tasks).await.unwrap()
    }

    async fn try_open(&self, tasks: &Tasks) -> Result<Replica, OpenError> {
        let open = OpenReplica {
            group: group(),
            id: ME,
            log: self.log(),
            dir: Arc::clone(&self.dir),
            hard_state: Arc::clone(&self.hard_state),
            machine: Box::new(Nothing),
            peers: Arc::new(Peers::new(identity(), tasks.clone())),
            clock: Arc::new(SystemClock),
            metrics: Arc::new(Metrics::new([])),
        };
        Replica::open(open, tasks).await
    }
}

fn last(replica: &Replica) -> u64 {
    replica.reader().last().unwrap().index.0
}

#[tokio::test]
async fn a_leader_that_comes_back_after_a_power_loss_does_not_lead_on_in_its_term() {
    let disk = Disk::of_a_leader().await;
    let tasks = Tasks::new();
    let replica = disk.open(&tasks).await;
    let proposal = Proposal {
        line: Line::default(),
        kind: ProposalKind::Command,
        body: Bytes::from_static(b"other data under an index that was acknowledged"),
        append_time: Timestamp(2),
    };
    let proposed = replica.propose(TERM, proposal).await.unwrap();
    let fate = tokio::time::timeout(LIMIT, proposed).await;
    let refused = fate.expect("it does not lead").unwrap_err();
    assert!(matches!(refused, ProposeError::Refused(_)), "{refused}");
    assert!(!replica.leadership_now().mine);
    assert_eq!(last(&replica), 4, "nothing was written in that term");
    replica.shutdown().await;
    tasks.stop().await;
}

#[tokio::test]
async fn a_state_beyond_the_end_of_the_log_does_not_empty_the_log() {
    let disk = Disk::of_a_leader().await;
    // A quorum had entry 9, this disk had not synced it, and then the power was gone.
    let end = LastFrame {
        term: TERM,
        index: LogIndex(9),
        chain: 7,
        next_offset: Offset(0),
        append_time: Timestamp(1),
    };
    let state = Saved {
        last_applied: Some(log_id(TERM, LogIndex(9))),
        membership: StoredMembership::default(),
        machine: Bytes::new(),
        log_end: Some(end),
    };
    saved::save(disk.dir.as_ref(), 9, &state.encode()).unwrap();
    let tasks = Tasks::new();
    let replica = disk.open(&tasks).await;
    assert_eq!(replica.reader().first_index(), LogIndex(0));
    assert_eq!(last(&replica), 4);
    let all = replica
        .reader()
        .frames(LogIndex(0), LogIndex(9), usize::MAX);
    assert_eq!(all.unwrap().len(), 5);
    replica.shutdown().await;
    tasks.stop().await;
}

#[tokio::test]
async fn a_core_that_hangs_in_a_call_to_the_disk_has_not_ended_before_that_call_has() {
    let (mut held, root) = HeldDisk::new();
    let disk = Disk::of_a_leader_on(root).await;
    let tasks = Tasks::new();
    let replica = disk.open(&tasks).await;
    held.hold();
    let raft = replica.raft().clone();
    let heartbeat = openraft::raft::AppendEntriesRequest {
        vote: Vote {
            leader_id: LeaderId {
                term: 99,
                voted_for: 12,
            },
            committed: true,
        },
        prev_log_id: None,
        entries: Vec::new(),
        leader_commit: None,
    };
    let asking = tokio::spawn(async move { raft.append_entries(heartbeat).await });
    let vote_sync = tokio::time::timeout(LIMIT, held.next()).await.unwrap();
    let ending = replica.shutdown_within(Duration::from_millis(10)).await;
    let mut ending = ending.expect("the core waits for its vote to be durable");
    let early = tokio::time::timeout(Duration::from_millis(10), &mut ending).await;
    assert!(early.is_err(), "it goes on");
    vote_sync();
    held.release();
    tokio::time::timeout(LIMIT, ending).await.unwrap();
    assert!(replica.stopped().is_some());
    drop(asking.await);
    tasks.stop().await;
}

#[tokio::test]
async fn what_is_meant_for_an_earlier_replica_is_not_taken_by_its_successor() {
    let disk = Disk::of_a_leader().await;
    let tasks = Tasks::new();
    let replica = disk.open(&tasks).await;
    let vote = replica.view().vote;
    let replicas = Arc::new(Replicas::default());
    replicas.insert(replica.clone());
    let (answers, mut answered) = mpsc::channel(4);
    let mut inbound = Inbound::new(replicas, answers, tasks.clone());
    let request = VoteRequest {
        vote: Some(highwater_proto::pb::peer::Vote {
            term: 99,
            replica: Some(12),
            committed: false,
        }),
        ..VoteRequest::default()
    };
    let request = LaneRequest {
        group: Some(group().to_pb()),
        from_replica: 12,
        // The replica that was on this broker before it was moved away and back.
        to_replica: 10,
        message: Some(lane_request::Message::Vote(request)),
        ..LaneRequest::default()
    };
    inbound.take(request).await;
    let answer = tokio::time::timeout(LIMIT, answered.recv()).await.unwrap();
    let answer = answer.unwrap().message;
    let refused =
        matches!(&answer, Some(lane_response::Message::Unavailable(why)) if why.contains("not 10"));
    assert!(refused, "{answer:?}");
    assert_eq!(replica.view().vote, vote, "it did not vote");
    replica.shutdown().await;
    tasks.stop().await;
}

/// How opening a replica is refused.
async fn refused(disk: &Disk) -> OpenError {
    let tasks = Tasks::new();
    let refused = disk.try_open(&tasks).await.map(drop).unwrap_err();
    tasks.stop().await;
    refused
}

#[tokio::test]
async fn a_log_with_an_entry_of_a_term_above_the_vote_is_not_opened() {
    let disk = Disk::of_a_leader().await;
    let next = blank(Term(TERM.0 + 1), 5);
    disk.log().append([next], Box::new(drop)).unwrap();
    let error = refused(&disk).await;
    assert!(
        matches!(error, OpenError::VoteLost { log: 6, vote: 5 }),
        "{error}"
    );
    assert_eq!(
        disk.log().last().unwrap().index,
        LogIndex(5),
        "it is as it was"
    );
}

#[tokio::test]
async fn a_log_whose_vote_is_gone_is_not_opened() {
    let mut disk = Disk::of_a_leader().await;
    let empty = HardState::open(MemDir::new().subdir("hard-state").unwrap());
    disk.hard_state = Arc::new(empty.unwrap());
    let error = refused(&disk).await;
    assert!(
        matches!(error, OpenError::VoteLost { log: 5, vote: 0 }),
        "{error}"
    );
    assert_eq!(
        disk.log().last().unwrap().index,
        LogIndex(4),
        "it is as it was"
    );
}
