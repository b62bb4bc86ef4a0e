//! openraft's own suite for log stores and state machines, run on the partition log in memory.
//!
//! Two of its assumptions do not hold for a store whose log is its state, and are conceded here and
//! nowhere else: it applies entries that are in no log (the machine below gives them a frame), and
//! the first append to an empty log begins at index 1 or 2 (the log takes any first index).

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use highwater_proto::{ClusterId, LogIndex, Offset, ReplicaId, Term, Timestamp};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::{EntryPayload, OptionalSend, SnapshotMeta, StorageError};

use super::floor::Floor;
use super::log_store::LogStore;
use super::replicated::{Committed, NotUnderstood, Replicated};
use super::state_machine::{Machine, SnapshotBuilder, Snapshots};
use super::types::{CommittedLeaderId, Entry, LogId, ReplicaNode, Reply, StoredMembership, Types};
use super::wire;
use crate::clock::SystemClock;
use crate::log::{Dir, FrameKind, HardState, Head, Log, LogOptions, MemDir, Owner};

/// A machine that does nothing: the suite looks at positions and memberships only.
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

/// The machine, for entries that are in no log.
struct Conceding(Machine);

fn with_frame(mut entry: Entry) -> Entry {
    let (kind, body) = match &entry.payload {
        EntryPayload::Blank => (FrameKind::Blank, Bytes::new()),
        EntryPayload::Normal(proposal) => (proposal.kind.into(), proposal.body.clone()),
        EntryPayload::Membership(m) => (FrameKind::Membership, wire::encode_membership(m)),
    };
    let head = Head {
        kind,
        extension_len: 0,
        body_len: u32::try_from(body.len()).unwrap(),
        term: Term(entry.log_id.leader_id.term),
        index: LogIndex(entry.log_id.index),
        base_offset: Offset(0),
        append_time: Timestamp(0),
        max_timestamp: Timestamp(0),
        record_count: 0,
        body_crc: 0,
        chain: 0,
    };
    entry.frame = Some((head, body));
    entry
}

impl RaftStateMachine<Types> for Conceding {
    type SnapshotData = Bytes;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        self.0.applied_state().await
    }

    async fn apply<S>(&mut self, entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        let framed = |(entry, responder)| (with_frame(entry), responder);
        self.0
            .apply(entries.map(move |entry| entry.map(framed)))
            .await
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        self.0.get_snapshot_builder().await
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta<CommittedLeaderId, u64, ReplicaNode>,
        snapshot: Bytes,
    ) -> Result<(), io::Error> {
        self.0.install_snapshot(meta, snapshot).await
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> Result<Option<openraft::type_config::alias::SnapshotOf<Types, Bytes>>, io::Error> {
        self.0.get_current_snapshot().await
    }
}

struct InMemory;

impl StoreBuilder<Types, LogStore, Conceding, ()> for InMemory {
    async fn build(&self) -> Result<((), LogStore, Conceding), StorageError<Types>> {
        let root = MemDir::new();
        let dir = root.subdir("group").unwrap();
        let hard_state = Arc::new(HardState::open(root.subdir("hard-state").unwrap()).unwrap());
        let replica = ReplicaId(1);
        let owner = Owner {
            cluster: ClusterId::from_bytes([1; 16]),
            group: [0; 16],
            partition: 0,
            replica,
        };
        let options = LogOptions {
            first_segment_bytes: 1 << 16,
            ..LogOptions::new(owner)
        };
        let (log, _) = Log::open(Arc::clone(&dir), options).unwrap();
        let reader = log.reader();
        let floor = Floor::load(dir).unwrap();
        let clock = Arc::new(SystemClock);
        let store = LogStore::new(log, hard_state, replica, clock, floor.clone()).unwrap();
        let of_now = Snapshots::OfNow;
        let machine = Machine::open(Box::new(Nothing), reader, floor, of_now).unwrap();
        Ok(((), store, Conceding(machine)))
    }
}

#[tokio::test]
async fn the_log_and_the_machine_pass_the_suite_of_openraft() {
    Suite::<Types, LogStore, Conceding, InMemory, ()>::test_all(InMemory)
        .await
        .unwrap();
}
