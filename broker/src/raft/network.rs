//! openraft's network over the peer lanes: appends are pipelined on the append lane; heartbeats,
//! votes and hand-overs use the control lane.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use highwater_proto::pb::peer::{LaneRequest, lane_request, lane_response};
use highwater_proto::{BrokerId, ReplicaId, Term};
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{AnyError, OptionalSend, RaftNetworkFactory, RaftNetworkV2};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use self::acknowledged::{Acknowledged, Follower};
use super::GroupId;
use super::rooms::Rooms;
use super::transfer;
use super::types::{LogId, ReplicaNode, Types, Vote};
use super::wire;
use crate::clock::monotonic;
use crate::metrics::Metrics;
use crate::peer::{Lane, LaneError, Link, Peers, Pending};

mod acknowledged;

/// Requests of one group on their way to one follower.
const PIPELINE: usize = 64;
/// Their bytes: half of what the lane carries, so that a group whose follower is slow leaves room for
/// the others.
const WINDOW_BYTES: usize = 8 << 20;

type RpcError = RPCError<Types>;
type RaftSnapshot = openraft::type_config::alias::SnapshotOf<Types, Bytes>;

/// Makes the connections of one replica to the others of its group.
pub(crate) struct Network {
    pub(crate) group: GroupId,
    pub(crate) replica: ReplicaId,
    pub(crate) peers: Arc<Peers>,
    /// What the others say of their disks.
    pub(crate) rooms: Rooms,
    /// What they said that they have.
    pub(crate) acknowledged: Acknowledged,
    /// Set while this replica takes over from a leader that is gone: its vote requests say that
    /// they pass the leases on purpose.
    pub(crate) pass_leases: Arc<AtomicBool>,
    /// Where it is measured how long followers take.
    pub(crate) metrics: Arc<Metrics>,
}

/// A connection to one replica.
pub(crate) struct Connection {
    group: GroupId,
    from: ReplicaId,
    to: ReplicaId,
    broker: BrokerId,
    peers: Arc<Peers>,
    heartbeats: bool,
    rooms: Rooms,
    acknowledged: Acknowledged,
    pass_leases: Arc<AtomicBool>,
    metrics: Arc<Metrics>,
}

impl Network {
    fn connection(&self, target: u64, node: ReplicaNode, heartbeats: bool) -> Connection {
        Connection {
            group: self.group,
            from: self.replica,
            to: ReplicaId(target),
            broker: node.broker,
            peers: Arc::clone(&self.peers),
            heartbeats,
            rooms: self.rooms.clone(),
            acknowledged: self.acknowledged.clone(),
            pass_leases: Arc::clone(&self.pass_leases),
            metrics: Arc::clone(&self.metrics),
        }
    }
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Connection;

    async fn new_client(&mut self, target: u64, node: &ReplicaNode) -> Connection {
        self.connection(target, *node, false)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &ReplicaNode) -> Connection {
        self.connection(target, *node, true)
    }
}

fn unreachable(error: impl std::fmt::Display) -> RpcError {
    RPCError::Unreachable(Unreachable::new(&AnyError::error(error)))
}

/// Streams are numbered within the process; a lane's other end tells them apart by number.
fn next_stream() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Connection {
    fn link(&self) -> Result<Arc<Link>, RpcError> {
        let link = self.peers.link(self.broker);
        link.ok_or_else(|| unreachable(format!("broker {} is not known", self.broker)))
    }

    fn request(&self, stream: u64, message: Option<lane_request::Message>) -> LaneRequest {
        LaneRequest {
            correlation: 0,
            hello: None,
            bundle_answers: false,
            group: Some(self.group.to_pb()),
            from_replica: self.from.0,
            to_replica: self.to.0,
            stream,
            message,
        }
    }

    async fn control(
        &self,
        message: lane_request::Message,
    ) -> Result<lane_response::Message, RpcError> {
        let link = self.link()?;
        let response = link
            .control
            .call(self.request(0, Some(message)), 1)
            .await
            .map_err(unreachable)?;
        answer(response.message).map_err(unreachable)
    }

    async fn ask_vote(
        &self,
        rpc: &VoteRequest<Types>,
        pre_vote: bool,
    ) -> Result<VoteResponse<Types>, RpcError> {
        let mut request = wire::encode_vote_request(rpc, pre_vote);
        request.leadership_transfer |= self.pass_leases.load(Ordering::Relaxed);
        let message = lane_request::Message::Vote(request);
        match self.control(message).await? {
            lane_response::Message::Vote(vote) => {
                wire::decode_vote_response(&vote).map_err(unreachable)
            }
            other => Err(unexpected(&other)),
        }
    }
}

fn answer(message: Option<lane_response::Message>) -> Result<lane_response::Message, LaneError> {
    match message {
        Some(lane_response::Message::Unavailable(why) | lane_response::Message::NoRoom(why)) => {
            Err(LaneError::Refused(why))
        }
        Some(message) => Ok(message),
        None => Err(LaneError::Refused("the answer is empty".to_owned())),
    }
}

fn unexpected(message: &lane_response::Message) -> RpcError {
    unreachable(format!("the answer is of another kind: {message:?}"))
}

/// An append on its way, and what its success will mean.
struct Sent {
    pending: Pending,
    _window: OwnedSemaphorePermit,
    prev: Option<LogId>,
    last: Option<LogId>,
    to: Follower,
    term: Term,
    rooms: Rooms,
    /// When entries were taken up, and where to say how long the follower took to have them.
    measured: Option<(Instant, Arc<Metrics>)>,
}

impl Sent {
    async fn result(self) -> Result<(StreamAppendResult<Types>, bool), RpcError> {
        let response = self.pending.answer().await.map_err(unreachable)?;
        let left = match &response.message {
            Some(lane_response::Message::NoRoom(_)) => Some(0),
            Some(lane_response::Message::Append(append)) => append.left,
            _ => None,
        };
        if let Some(left) = left {
            self.rooms.note(self.to.replica, left, monotonic());
        }
        match answer(response.message).map_err(unreachable)? {
            lane_response::Message::Append(append) => {
                let result = wire::decode_append_result(append, self.prev, self.last)
                    .map_err(unreachable)?;
                self.to.check(self.term, &result).map_err(unreachable)?;
                let whole = result.as_ref().is_ok_and(|matching| *matching == self.last);
                if let (true, Some((began, metrics))) = (whole, self.measured) {
                    metrics.replicate.record(began.elapsed());
                }
                Ok((result, whole))
            }
            other => Err(unexpected(&other)),
        }
    }
}

/// The sending end of one stream of appends.
struct Appends {
    link: Arc<Link>,
    to: Follower,
    template: LaneRequest,
    heartbeats: bool,
    rooms: Rooms,
    window: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

impl Appends {
    fn lane(&self) -> &Lane {
        if self.heartbeats {
            &self.link.control
        } else {
            &self.link.append
        }
    }

    async fn send(&self, request: AppendEntriesRequest<Types>) -> Result<Sent, RpcError> {
        let has_entries = !request.entries.is_empty();
        let measured = has_entries.then(|| (monotonic(), Arc::clone(&self.metrics)));
        let term = Term(request.vote.leader_id.term);
        let prev = request.prev_log_id;
        let last = request.entries.last().map(|entry| entry.log_id).or(prev);
        let bytes: usize = request.entries.iter().map(frame_bytes).sum();
        let permits = u32::try_from(bytes.clamp(1, WINDOW_BYTES)).unwrap_or(u32::MAX);
        let window = Arc::clone(&self.window).acquire_many_owned(permits);
        let window = window.await.map_err(unreachable)?;
        let message = Some(lane_request::Message::Append(wire::encode_append(request)));
        let request = LaneRequest {
            message,
            ..self.template.clone()
        };
        let pending = self
            .lane()
            .send(request, bytes)
            .await
            .map_err(unreachable)?;
        Ok(Sent {
            pending,
            _window: window,
            prev,
            last,
            to: self.to.clone(),
            term,
            rooms: self.rooms.clone(),
            measured,
        })
    }
}

fn frame_bytes(entry: &super::types::Entry) -> usize {
    entry
        .frame
        .as_ref()
        .map_or(0, |(_, body)| body.len() + crate::log::Head::LEN)
}

impl RaftNetworkV2<Types> for Connection {
    type SnapshotData = Bytes;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RpcError> {
        let input = Box::pin(stream::once(std::future::ready(rpc)));
        let mut output = self.stream_append(input, option).await?;
        let result = output
            .next()
            .await
            .ok_or_else(|| unreachable("the stream ended"))??;
        Ok(result.into())
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<StreamAppendResult<Types>, RpcError>>, RpcError>>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            let stream = if self.heartbeats { 0 } else { next_stream() };
            let template = self.request(stream, None);
            let heartbeats = self.heartbeats;
            let appends = Arc::new(Appends {
                link: self.link()?,
                to: Follower {
                    group: self.group,
                    replica: self.to,
                    broker: self.broker,
                    acknowledged: self.acknowledged.clone(),
                },
                template,
                heartbeats,
                rooms: self.rooms.clone(),
                window: Arc::new(Semaphore::new(WINDOW_BYTES)),
                metrics: Arc::clone(&self.metrics),
            });
            let sent = input.then(move |request| {
                let appends = Arc::clone(&appends);
                async move { appends.send(request).await }
            });
            let results = sent
                .map(|sent| async move { sent?.result().await })
                .buffered(PIPELINE);
            // The first result that is not a whole success ends the stream; openraft starts anew.
            let ended = results.scan(false, |ended, result| {
                let stop = std::mem::replace(ended, !matches!(&result, Ok((_, true))));
                std::future::ready((!stop).then(|| result.map(|(result, _)| result)))
            });
            Ok(Box::pin(ended) as BoxStream<'s, _>)
        })
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<Types>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Types>, RpcError> {
        self.ask_vote(&rpc, false).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<Types>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Types>, RpcError> {
        self.ask_vote(&rpc, true).await
    }

    /// Sends the state at the floor to a follower that needs entries from before it.
    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: RaftSnapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let unreachable = |error: AnyError| StreamingError::Unreachable(Unreachable::new(&error));
        let link = self.peers.link(self.broker);
        let link = link.ok_or_else(|| unreachable(AnyError::error("the broker is not known")))?;
        let (group, to) = (self.group, self.to);
        tracing::info!(%group, replica = %to, "a follower is behind the log; sending the state");
        let hello = self.peers.me().hello();
        let parts = transfer::parts(hello, (group, to), &vote, snapshot.snapshot);
        let mut calls = link.calls();
        let sent = calls.send_snapshot(stream::iter(parts));
        let answer = tokio::select! {
            answer = tokio::time::timeout(transfer::LIMIT, sent) => answer,
            closed = cancel => return Err(StreamingError::Closed(closed)),
        };
        let answer = answer.map_err(|error| unreachable(AnyError::new(&error)))?;
        let answer = answer.map_err(|status| unreachable(AnyError::error(status.message())))?;
        let vote = wire::decode_vote(answer.into_inner().vote);
        let vote = vote.map_err(|error| unreachable(AnyError::new(&error)))?;
        Ok(SnapshotResponse::new(vote))
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<Types>,
        _option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RpcError> {
        let message = lane_request::Message::Transfer(wire::encode_transfer(&req));
        match self.control(message).await? {
            lane_response::Message::Transfer(answer) if answer.refused.is_empty() => Ok(Ok(())),
            lane_response::Message::Transfer(answer) => Err(unreachable(answer.refused)),
            other => Err(unexpected(&other)),
        }
    }
}

#[cfg(test)]
mod tests;
