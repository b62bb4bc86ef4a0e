//! The one set of types that openraft runs with, for all three kinds of groups.

use std::fmt;

use bytes::Bytes;
use highwater_proto::{BrokerId, LogIndex, Offset, ReplicaId, Term, Timestamp};
use openraft::errors::ClientWriteError;
use openraft::impls::{InlineBatch, leader_id_std};
use openraft::raft::responder::Responder;
use openraft::{EntryPayload, OptionalSend, RaftTypeConfig};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::line::Line;
use super::wire;
use crate::log::{Frame, FrameKind, Head, NewFrame, Source};

/// The type configuration: a term is a leader epoch, a node is a replica.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Types;

pub(crate) type LeaderId = leader_id_std::LeaderId<u64, u64>;
pub(crate) type CommittedLeaderId = openraft::type_config::alias::CommittedLeaderIdOf<Types>;
pub(crate) type LogId = openraft::LogId<CommittedLeaderId>;
pub(crate) type Vote = openraft::Vote<LeaderId>;
pub(crate) type Membership = openraft::Membership<u64, ReplicaNode>;
pub(crate) type StoredMembership = openraft::type_config::alias::StoredMembershipOf<Types>;
pub(crate) type Payload = EntryPayload<Proposal, u64, ReplicaNode>;

impl RaftTypeConfig for Types {
    type D = Proposal;
    type R = Reply;
    type NodeId = u64;
    type Node = ReplicaNode;
    type Term = u64;
    type LeaderId = LeaderId;
    type Vote = Vote;
    type Payload = Payload;
    type Entry = Entry;
    type AsyncRuntime = openraft_rt_tokio::TokioRuntime;
    type Responder<T>
        = Answer<T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type ErrorSource = openraft::AnyError;
}

/// What the membership says of a replica: its broker. Addresses are the metadata's business.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ReplicaNode {
    pub(crate) broker: BrokerId,
}

/// What is proposed to a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// Record batches or a command; never one of Raft's own kinds.
    pub kind: ProposalKind,
    /// The bytes.
    pub body: Bytes,
    /// When the leader took it up; the log keeps the time from running backwards.
    pub append_time: Timestamp,
    /// What it stands or falls with.
    pub line: Line,
}

/// The kinds of entries that may be proposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProposalKind {
    /// One or more whole record batches.
    Batch,
    /// A command of the replicated machine.
    Command,
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {} bytes", self.kind, self.body.len())
    }
}

/// What applying an entry answered to its proposer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Raft's own entries have nobody to answer.
    Nothing,
    /// Record batches are committed from this offset on.
    Batch {
        /// The offset of the first record.
        base_offset: Offset,
        /// The time the leader gave the entry.
        append_time: Timestamp,
    },
    /// A command's answer, encoded.
    Command {
        /// The index of the entry.
        index: LogIndex,
        /// The machine's answer.
        bytes: Bytes,
    },
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// An entry of a group's log. One that came from a log carries the head of its frame, so that
/// every replica stores the same bytes and compares the chain.
#[derive(Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) log_id: LogId,
    pub(crate) payload: Payload,
    pub(crate) frame: Option<(Head, Bytes)>,
}

impl Entry {
    /// The entry that a frame of the log holds.
    pub(crate) fn from_frame(frame: Frame) -> Result<Self, wire::WireError> {
        let Frame { head, body } = frame;
        let log_id = log_id(head.term, head.index);
        let payload = match head.kind {
            FrameKind::Blank => Payload::Blank,
            FrameKind::Membership => Payload::Membership(wire::decode_membership(&body)?),
            FrameKind::Batch => Payload::Normal(proposal(ProposalKind::Batch, &head, &body)),
            FrameKind::Command => Payload::Normal(proposal(ProposalKind::Command, &head, &body)),
        };
        Ok(Self {
            log_id,
            payload,
            frame: Some((head, body)),
        })
    }

    /// The frame to append: the leader's own where there is one, else a new one.
    pub(crate) fn into_new_frame(self, now: Timestamp) -> NewFrame {
        let (term, index) = (
            Term(self.log_id.leader_id.term),
            LogIndex(self.log_id.index),
        );
        if let Some((head, body)) = self.frame {
            return NewFrame {
                term,
                index,
                kind: head.kind,
                body,
                source: Source::Replicated(head),
            };
        }
        let (kind, body, append_time) = match self.payload {
            Payload::Blank => (FrameKind::Blank, Bytes::new(), now),
            Payload::Membership(m) => (FrameKind::Membership, wire::encode_membership(&m), now),
            Payload::Normal(p) => (p.kind.into(), p.body, p.append_time),
        };
        NewFrame {
            term,
            index,
            kind,
            body,
            source: Source::Local { append_time },
        }
    }
}

fn proposal(kind: ProposalKind, head: &Head, body: &Bytes) -> Proposal {
    Proposal {
        kind,
        body: body.clone(),
        append_time: head.append_time,
        line: Line::default(),
    }
}

impl From<ProposalKind> for FrameKind {
    fn from(kind: ProposalKind) -> Self {
        match kind {
            ProposalKind::Batch => Self::Batch,
            ProposalKind::Command => Self::Command,
        }
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.log_id, self.payload)
    }
}

impl openraft::entry::RaftEntry for Entry {
    type CommittedLeaderId = CommittedLeaderId;
    type Payload = Payload;

    /// An entry that the core has taken. One behind a refused entry of its line is blank.
    fn new(log_id: LogId, payload: Payload) -> Self {
        let payload = match payload {
            Payload::Normal(proposal) if proposal.line.is_cut() => Payload::Blank,
            payload => payload,
        };
        Self {
            log_id,
            payload,
            frame: None,
        }
    }

    fn log_id_parts(&self) -> (&CommittedLeaderId, u64) {
        (&self.log_id.leader_id, self.log_id.index)
    }

    fn set_log_id(&mut self, new: LogId) {
        self.log_id = new;
        self.frame = None;
    }

    fn get_membership(&self) -> Option<Membership> {
        match &self.payload {
            Payload::Membership(m) => Some(m.clone()),
            Payload::Blank | Payload::Normal(_) => None,
        }
    }
}

/// The log id of `index` written in `term`.
pub(crate) fn log_id(term: Term, index: LogIndex) -> LogId {
    LogId {
        leader_id: CommittedLeaderId { term: term.0 },
        index: index.0,
    }
}

/// The voters and their brokers, as a group is initialised with.
pub(crate) fn members(
    replicas: impl IntoIterator<Item = (ReplicaId, BrokerId)>,
) -> std::collections::BTreeMap<u64, ReplicaNode> {
    replicas
        .into_iter()
        .map(|(r, broker)| (r.0, ReplicaNode { broker }))
        .collect()
}

/// What the core says of a proposal.
pub(crate) type Written = openraft::raft::ClientWriteResult<Types>;

/// The core refuses so before it has given an entry its place in the log: nothing was written.
pub(crate) fn is_refused(written: &Written) -> bool {
    matches!(written, Err(ClientWriteError::ForwardToLeader(_)))
}

/// Hands openraft's result to whoever waits; nobody waiting is not an error. A refusal cuts the line
/// first.
pub(crate) struct Answer<T> {
    waits: oneshot::Sender<T>,
    line: Line,
    /// What the entry takes of somebody's budget; nobody may wait for the result, and the core is not
    /// done with it all the same.
    share: Option<OwnedSemaphorePermit>,
    is_refused: fn(&T) -> bool,
}

impl<T> Answer<T> {
    pub(crate) fn channel(
        line: Line,
        share: Option<OwnedSemaphorePermit>,
        is_refused: fn(&T) -> bool,
    ) -> (Self, oneshot::Receiver<T>) {
        let (waits, fate) = oneshot::channel();
        let answer = Self {
            waits,
            line,
            share,
            is_refused,
        };
        (answer, fate)
    }
}

impl<T: OptionalSend + 'static> Responder<Types, T> for Answer<T> {
    fn on_complete(self, result: T) {
        if (self.is_refused)(&result) {
            self.line.cut();
        }
        drop(self.share);
        drop(self.waits.send(result));
    }
}
