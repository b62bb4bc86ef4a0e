//! openraft's messages ⇄ the peer protocol. Whatever a peer sends is checked here once.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use highwater_proto::pb::peer;
use highwater_proto::{BrokerId, LogIndex, Term};
use openraft::raft::{
    AppendEntriesRequest, StreamAppendError, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};
use prost::Message;

use super::types::{Entry, LeaderId, LogId, Membership, ReplicaNode, Types, Vote, log_id};
use crate::log::{Frame, Head};

/// A leader epoch has 31 bits on the wire of batches; the margin leaves room for elections.
const MAX_TERM: u64 = 1 << 31;

/// What an append on a stream led to.
pub(crate) type AppendResult = Result<Option<LogId>, StreamAppendError<Types>>;

/// A message of a peer that cannot be what it claims to be.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// A field that must be there is missing.
    #[error("the message has no {0}")]
    Missing(&'static str),
    /// A frame head that does not parse.
    #[error("an entry's frame head is wrong: {0}")]
    Frame(#[from] crate::log::FrameError),
    /// An entry whose body has another length than its head says.
    #[error("an entry's body has {actual} bytes and its head says {expected}")]
    BodyLength {
        /// As the head says.
        expected: u32,
        /// As it came.
        actual: usize,
    },
    /// A message that is not valid protobuf.
    #[error("the message does not decode: {0}")]
    Decode(#[from] prost::DecodeError),
    /// A term that no election can have reached.
    #[error("term {0} is beyond every term that can be")]
    Term(u64),
    /// A membership that cannot be.
    #[error("the membership is wrong: {0}")]
    Membership(String),
}

pub(crate) fn encode_log_id(id: &LogId) -> peer::LogId {
    peer::LogId {
        term: id.leader_id.term,
        index: id.index,
    }
}

pub(crate) fn decode_log_id(id: peer::LogId) -> LogId {
    log_id(Term(id.term), LogIndex(id.index))
}

pub(crate) fn encode_vote(vote: &Vote) -> peer::Vote {
    peer::Vote {
        term: vote.leader_id.term,
        replica: Some(vote.leader_id.voted_for),
        committed: vote.committed,
    }
}

pub(crate) fn decode_vote(vote: Option<peer::Vote>) -> Result<Vote, WireError> {
    let vote = vote.ok_or(WireError::Missing("vote"))?;
    let voted_for = vote
        .replica
        .ok_or(WireError::Missing("replica of the vote"))?;
    if vote.term > MAX_TERM {
        return Err(WireError::Term(vote.term));
    }
    let leader_id = LeaderId {
        term: vote.term,
        voted_for,
    };
    Ok(Vote {
        leader_id,
        committed: vote.committed,
    })
}

pub(crate) fn encode_append(request: AppendEntriesRequest<Types>) -> peer::AppendEntriesRequest {
    peer::AppendEntriesRequest {
        vote: Some(encode_vote(&request.vote)),
        prev_log_id: request.prev_log_id.as_ref().map(encode_log_id),
        leader_commit: request.leader_commit.as_ref().map(encode_log_id),
        entries: request
            .entries
            .into_iter()
            .filter_map(encode_entry)
            .collect(),
    }
}

/// Entries to replicate come out of the log, so they always have their frame.
fn encode_entry(entry: Entry) -> Option<peer::Entry> {
    debug_assert!(
        entry.frame.is_some(),
        "an entry to replicate was not read from the log"
    );
    let (head, body) = entry.frame?;
    Some(peer::Entry {
        head: Bytes::copy_from_slice(&head.encode()),
        body,
    })
}

pub(crate) fn decode_append(
    request: peer::AppendEntriesRequest,
) -> Result<AppendEntriesRequest<Types>, WireError> {
    Ok(AppendEntriesRequest {
        vote: decode_vote(request.vote)?,
        prev_log_id: request.prev_log_id.map(decode_log_id),
        leader_commit: request.leader_commit.map(decode_log_id),
        entries: request
            .entries
            .into_iter()
            .map(decode_entry)
            .collect::<Result<_, _>>()?,
    })
}

fn decode_entry(entry: peer::Entry) -> Result<Entry, WireError> {
    let head = Head::decode(&entry.head)?;
    if usize::try_from(head.body_len) != Ok(entry.body.len()) {
        let (expected, actual) = (head.body_len, entry.body.len());
        return Err(WireError::BodyLength { expected, actual });
    }
    Entry::from_frame(Frame {
        head,
        body: entry.body,
    })
}

pub(crate) fn encode_append_result(
    result: &AppendResult,
    left: u64,
) -> peer::AppendEntriesResponse {
    use peer::append_entries_response::Outcome;
    let outcome = match result {
        Ok(matching) => Outcome::PartialSuccess(peer::PartialSuccess {
            matching: matching.as_ref().map(encode_log_id),
        }),
        Err(StreamAppendError::Conflict(_)) => Outcome::Conflict(true),
        Err(StreamAppendError::HigherVote(vote)) => Outcome::HigherVote(encode_vote(vote)),
    };
    peer::AppendEntriesResponse {
        outcome: Some(outcome),
        left: Some(left),
    }
}

/// The result of the append whose entry before the first was `prev` and whose last was `last`.
pub(crate) fn decode_append_result(
    response: peer::AppendEntriesResponse,
    prev: Option<LogId>,
    last: Option<LogId>,
) -> Result<AppendResult, WireError> {
    use peer::append_entries_response::Outcome;
    Ok(
        match response.outcome.ok_or(WireError::Missing("outcome"))? {
            Outcome::Success(_) => Ok(last),
            Outcome::PartialSuccess(partial) => Ok(partial.matching.map(decode_log_id)),
            Outcome::Conflict(_) => Err(StreamAppendError::Conflict(
                prev.ok_or(WireError::Missing("entry that could conflict"))?,
            )),
            Outcome::HigherVote(vote) => {
                Err(StreamAppendError::HigherVote(decode_vote(Some(vote))?))
            }
        },
    )
}

pub(crate) fn encode_vote_request(
    request: &VoteRequest<Types>,
    pre_vote: bool,
) -> peer::VoteRequest {
    peer::VoteRequest {
        vote: Some(encode_vote(&request.vote)),
        last_log_id: request.last_log_id.as_ref().map(encode_log_id),
        leadership_transfer: request.leadership_transfer,
        pre_vote,
    }
}

pub(crate) fn decode_vote_request(
    request: &peer::VoteRequest,
) -> Result<VoteRequest<Types>, WireError> {
    let last_log_id = request.last_log_id.map(decode_log_id);
    let mut decoded = VoteRequest::new(decode_vote(request.vote)?, last_log_id);
    decoded.leadership_transfer = request.leadership_transfer;
    Ok(decoded)
}

pub(crate) fn encode_vote_response(response: &VoteResponse<Types>) -> peer::VoteResponse {
    peer::VoteResponse {
        vote: Some(encode_vote(&response.vote)),
        granted: response.vote_granted,
        last_log_id: response.last_log_id.as_ref().map(encode_log_id),
    }
}

pub(crate) fn decode_vote_response(
    response: &peer::VoteResponse,
) -> Result<VoteResponse<Types>, WireError> {
    let last_log_id = response.last_log_id.map(decode_log_id);
    Ok(VoteResponse::new(
        decode_vote(response.vote)?,
        last_log_id,
        response.granted,
    ))
}

pub(crate) fn encode_transfer(
    request: &TransferLeaderRequest<Types>,
) -> peer::TransferLeaderRequest {
    peer::TransferLeaderRequest {
        from_leader: Some(encode_vote(request.from_leader())),
        to_replica: *request.to_node_id(),
        last_log_id: request.last_log_id().map(encode_log_id),
    }
}

pub(crate) fn decode_transfer(
    request: peer::TransferLeaderRequest,
) -> Result<TransferLeaderRequest<Types>, WireError> {
    let from = decode_vote(request.from_leader)?;
    let last = request.last_log_id.map(decode_log_id);
    Ok(TransferLeaderRequest::new(from, request.to_replica, last))
}

pub(crate) fn encode_transfer_response(
    response: &TransferLeaderResponse<Types>,
) -> peer::TransferLeaderResponse {
    let refused = response.as_ref().err().map(ToString::to_string);
    peer::TransferLeaderResponse {
        refused: refused.unwrap_or_default(),
    }
}

pub(crate) fn encode_membership(membership: &Membership) -> Bytes {
    membership_to_pb(membership).encode_to_vec().into()
}

pub(crate) fn membership_to_pb(membership: &Membership) -> peer::Membership {
    let set = |replicas: &BTreeSet<u64>| peer::VoterSet {
        replicas: replicas.iter().copied().collect(),
    };
    let member = |(replica, node): (&u64, &ReplicaNode)| peer::MemberReplica {
        replica: *replica,
        broker: node.broker.0,
    };
    peer::Membership {
        configs: membership.get_joint_config().iter().map(set).collect(),
        members: membership.nodes().map(member).collect(),
    }
}

pub(crate) fn decode_membership(body: &[u8]) -> Result<Membership, WireError> {
    membership_from_pb(peer::Membership::decode(body)?)
}

pub(crate) fn membership_from_pb(membership: peer::Membership) -> Result<Membership, WireError> {
    if membership.configs.is_empty() && membership.members.is_empty() {
        return Ok(Membership::default());
    }
    let configs = membership
        .configs
        .into_iter()
        .map(|set| set.replicas.into_iter().collect());
    let members: BTreeMap<u64, ReplicaNode> = membership
        .members
        .into_iter()
        .map(|m| {
            (
                m.replica,
                ReplicaNode {
                    broker: BrokerId(m.broker),
                },
            )
        })
        .collect();
    Membership::new(configs.collect(), members).map_err(|e| WireError::Membership(e.to_string()))
}
