//! `PeerService`: what other brokers ask. Every message says who speaks; another cluster is turned
//! away before anything else is looked at.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use highwater_proto::pb::peer::peer_service_server::PeerService;
use highwater_proto::pb::peer::{
    ChainAt, CompareChainsRequest, CompareChainsResponse, ConferRequest, ConferResponse,
    DescribePartitionsRequest, DescribePartitionsResponse, FetchEntriesRequest,
    FetchEntriesResponse, ForwardRequest, ForwardResponse, GroupView, Hello, JoinRequest,
    JoinResponse, LaneRequest, LaneResponse, Leadership, PingRequest, PingResponse,
    ProposeMetadataRequest, ProposeMetadataResponse, ReadMetadataRequest, ReadMetadataResponse,
    SendSnapshotRequest, SendSnapshotResponse,
};
use highwater_proto::{BrokerId, LogIndex, Reason};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::forward;
use super::status::status;
use crate::cluster::{Command, LocalError};
use crate::metrics::Metrics;
use crate::peer::bundle::bundles;
use crate::raft::{GroupId, Inbound, Incoming, Replicas, TransferError};
use crate::service::{Error, Services};

/// Answers of a lane that wait to be written.
const ANSWERS: usize = 256;
/// The most groups one request may ask about.
const MAX_GROUPS: usize = 100_000;

/// The peers' API.
#[derive(Debug, Clone)]
pub struct PeerApi {
    services: Arc<Services>,
    replicas: Arc<Replicas>,
}

impl PeerApi {
    /// The API over these services and replicas.
    pub fn new(services: Arc<Services>, replicas: Arc<Replicas>) -> Self {
        Self { services, replicas }
    }

    /// What it answers from.
    pub fn services(&self) -> Arc<Services> {
        Arc::clone(&self.services)
    }

    pub(super) fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.services.metrics)
    }

    fn admit(&self, hello: Option<&Hello>) -> Result<BrokerId, Status> {
        self.services
            .me
            .admit(hello)
            .map_err(|error| status(&Error::new(Reason::WrongCluster, error.to_string())))
    }

    fn view(&self, group: &highwater_proto::pb::peer::Group) -> GroupView {
        let replica = GroupId::from_pb(group).and_then(|group| self.replicas.get(group));
        let replica = replica.filter(|replica| replica.stopped().is_none());
        let services = &self.services;
        let mut view = GroupView {
            group: Some(group.clone()),
            ..GroupView::default()
        };
        view.yields = match &replica {
            Some(replica) => services.yields(replica),
            None => services.liveness.is_leaving(),
        };
        if let Some(replica) = replica {
            let known = replica.view();
            view.replica = replica.id().0;
            view.vote = Some(known.vote);
            view.last_log_id = known
                .last
                .map(|(term, index)| highwater_proto::pb::peer::LogId {
                    term: term.0,
                    index: index.0,
                });
            let leadership = known.leadership;
            view.leads = leadership.mine;
            view.suspects_leader = match leadership.leader {
                Some((_, broker)) if services.liveness.is_up(broker) => {
                    !services.leaders.confirms(replica.group(), &leadership)
                }
                Some(_) | None => true,
            };
        }
        view
    }
}

fn groups_within(count: usize) -> Result<(), Status> {
    if count <= MAX_GROUPS {
        return Ok(());
    }
    let message = format!("{count} groups in one request; at most {MAX_GROUPS} may be asked about");
    Err(Status::invalid_argument(message))
}

#[tonic::async_trait]
impl PeerService for PeerApi {
    type LaneStream = BoxStream<'static, Result<LaneResponse, Status>>;

    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinResponse>, Status> {
        let joined = self.services.join(request.into_inner()).await;
        joined.map(Response::new).map_err(|error| status(&error))
    }

    async fn lane(
        &self,
        request: Request<Streaming<LaneRequest>>,
    ) -> Result<Response<Self::LaneStream>, Status> {
        let mut requests = request.into_inner();
        let first = requests.message().await?;
        self.admit(first.as_ref().and_then(|first| first.hello.as_ref()))?;
        let (answers, stream) = mpsc::channel(ANSWERS);
        let tasks = self.services.tasks.child();
        let mut inbound = Inbound::new(Arc::clone(&self.replicas), answers, tasks.clone());
        self.services.tasks.spawn(async move {
            while let Ok(Some(request)) = requests.message().await {
                inbound.take(request).await;
            }
            tasks.cancel();
        });
        let answers: Self::LaneStream = match first.is_some_and(|first| first.bundle_answers) {
            true => Box::pin(bundles(stream).map(Ok)),
            false => Box::pin(ReceiverStream::new(stream).map(Ok)),
        };
        Ok(Response::new(answers))
    }

    async fn ping(&self, request: Request<PingRequest>) -> Result<Response<PingResponse>, Status> {
        let request = request.into_inner();
        let broker = self.admit(request.hello.as_ref())?;
        let services = &self.services;
        services.hear_address(broker, &request.peer);
        services
            .liveness
            .hear(broker, request.leaving, &services.leaders);
        let (version, own) = services.leaders.own();
        let leaderships = if version == request.known_version {
            Vec::new()
        } else {
            let leadership = |(group, replica, term): (GroupId, _, highwater_proto::Term)| {
                let highwater_proto::ReplicaId(replica) = replica;
                Leadership {
                    group: Some(group.to_pb()),
                    term: term.0,
                    replica,
                }
            };
            own.into_iter().map(leadership).collect()
        };
        let hello = Some(self.services.me.hello());
        Ok(Response::new(PingResponse {
            hello,
            version,
            leaderships,
            leaving: services.liveness.is_leaving(),
            now: services.liveness.time().unwrap_or_default(),
            clock_ahead: services.liveness.clock_ahead_ms(services.me.broker),
            peer: services.peers.address().to_owned(),
            members: match request.seeking {
                true => services.reached(),
                false => Vec::new(),
            },
        }))
    }

    async fn confer(
        &self,
        request: Request<ConferRequest>,
    ) -> Result<Response<ConferResponse>, Status> {
        let request = request.into_inner();
        self.admit(request.hello.as_ref())?;
        groups_within(request.groups.len())?;
        let views = request
            .groups
            .iter()
            .map(|group| self.view(group))
            .collect();
        Ok(Response::new(ConferResponse { views }))
    }

    async fn propose_metadata(
        &self,
        request: Request<ProposeMetadataRequest>,
    ) -> Result<Response<ProposeMetadataResponse>, Status> {
        let request = request.into_inner();
        self.admit(request.hello.as_ref())?;
        let command = Command::decode(&request.command)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        match self.services.metadata.propose_here(&command).await {
            Ok((index, reply)) => Ok(Response::new(ProposeMetadataResponse {
                reply: reply.encode(),
                index: index.0,
            })),
            Err(error @ LocalError::NotLeader) => {
                Err(Status::failed_precondition(error.to_string()))
            }
            Err(error @ LocalError::Unknown(_)) => Err(Status::unavailable(error.to_string())),
        }
    }

    async fn read_metadata(
        &self,
        request: Request<ReadMetadataRequest>,
    ) -> Result<Response<ReadMetadataResponse>, Status> {
        self.admit(request.into_inner().hello.as_ref())?;
        match self.services.metadata.read_here().await {
            Ok(index) => Ok(Response::new(ReadMetadataResponse { index: index.0 })),
            Err(error) => Err(Status::failed_precondition(error.to_string())),
        }
    }

    async fn describe_partitions(
        &self,
        request: Request<DescribePartitionsRequest>,
    ) -> Result<Response<DescribePartitionsResponse>, Status> {
        let request = request.into_inner();
        self.admit(request.hello.as_ref())?;
        groups_within(request.groups.len())?;
        let groups: Vec<_> = request.groups.iter().filter_map(GroupId::from_pb).collect();
        Ok(Response::new(
            self.services.describe_partitions(&groups).await,
        ))
    }

    async fn compare_chains(
        &self,
        request: Request<CompareChainsRequest>,
    ) -> Result<Response<CompareChainsResponse>, Status> {
        let request = request.into_inner();
        self.admit(request.hello.as_ref())?;
        groups_within(request.entries.len())?;
        let known = request.entries.into_iter().filter_map(|entry| {
            let group = entry.group.as_ref().and_then(GroupId::from_pb)?;
            let replica = self.replicas.get(group)?;
            let (term, chain) = replica.chain_at(LogIndex(entry.index))?;
            let term = term.0;
            Some(ChainAt {
                term,
                chain,
                ..entry
            })
        });
        let entries = known.collect();
        Ok(Response::new(CompareChainsResponse { entries }))
    }

    async fn fetch_entries(
        &self,
        request: Request<FetchEntriesRequest>,
    ) -> Result<Response<FetchEntriesResponse>, Status> {
        let request = request.into_inner();
        let by = self.admit(request.hello.as_ref())?;
        let group = request.group.as_ref().and_then(GroupId::from_pb);
        let replica = group.and_then(|group| self.replicas.get(group));
        let Some(replica) = replica.filter(|replica| replica.stopped().is_none()) else {
            return Ok(Response::new(FetchEntriesResponse::default()));
        };
        let supplied = replica.supply(LogIndex(request.from_index), by).await;
        let supplied = supplied.map_err(|error| Status::data_loss(error.to_string()))?;
        Ok(Response::new(supplied))
    }

    async fn send_snapshot(
        &self,
        request: Request<Streaming<SendSnapshotRequest>>,
    ) -> Result<Response<SendSnapshotResponse>, Status> {
        let refused = |error: TransferError| Status::failed_precondition(error.to_string());
        let mut parts = request.into_inner();
        let first = parts.message().await?;
        self.admit(first.as_ref().and_then(|first| first.hello.as_ref()))?;
        let first = first.unwrap_or_default();
        let mut incoming = Incoming::begin(&self.replicas, first).map_err(refused)?;
        while let Some(part) = parts.message().await? {
            incoming.push(&part.data).map_err(refused)?;
        }
        incoming.install().await.map(Response::new).map_err(refused)
    }

    async fn forward(
        &self,
        request: Request<ForwardRequest>,
    ) -> Result<Response<ForwardResponse>, Status> {
        let request = request.into_inner();
        self.admit(request.hello.as_ref())?;
        Ok(Response::new(
            forward::answer(&self.services, request).await,
        ))
    }
}
