//! `ClusterService`.

use std::sync::Arc;

use highwater_proto::pb::v1;
use highwater_proto::pb::v1::cluster_service_server::ClusterService;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::context::{Context, context};
use super::forward::{LeaderCall, at_broker};
use super::status::status;
use crate::service::{Services, Wanted};

/// Who is in the cluster, and where the partitions are.
#[derive(Debug)]
pub(super) struct ClusterApi {
    services: Arc<Services>,
}

impl ClusterApi {
    pub(super) fn new(services: Arc<Services>) -> Self {
        Self { services }
    }

    /// Has the broker that a call about its drain names answer that.
    async fn at_drained<C: LeaderCall>(
        &self,
        broker: i32,
        request: Request<C>,
    ) -> Result<Response<C::Reply>, Status> {
        let context = context(request.metadata());
        let broker = self.services.drained_broker(broker);
        let broker = broker.map_err(|error| status(&error))?;
        let answer = at_broker(&self.services, &context, broker, request.into_inner()).await;
        answer.map(Response::new)
    }
}

#[tonic::async_trait]
impl ClusterService for ClusterApi {
    type WatchMetadataStream = ReceiverStream<Result<v1::WatchMetadataResponse, Status>>;

    async fn get_cluster(
        &self,
        request: Request<v1::GetClusterRequest>,
    ) -> Result<Response<v1::GetClusterResponse>, Status> {
        let context = context(request.metadata());
        self.services
            .get_cluster(&context)
            .map(Response::new)
            .map_err(|error| status(&error))
    }

    async fn list_brokers(
        &self,
        request: Request<v1::ListBrokersRequest>,
    ) -> Result<Response<v1::ListBrokersResponse>, Status> {
        let context = context(request.metadata());
        self.services
            .list_brokers(&context)
            .map(Response::new)
            .map_err(|error| status(&error))
    }

    async fn get_metadata(
        &self,
        request: Request<v1::GetMetadataRequest>,
    ) -> Result<Response<v1::GetMetadataResponse>, Status> {
        let context = context(request.metadata());
        let wanted = Wanted::parse(request.into_inner().topics);
        let wanted = wanted.map_err(|error| status(&error))?;
        let metadata = self.services.find_metadata(&context, &wanted).await;
        let metadata = Some(metadata.map_err(|error| status(&error))?);
        Ok(Response::new(v1::GetMetadataResponse { metadata }))
    }

    async fn drain_broker(
        &self,
        request: Request<v1::DrainBrokerRequest>,
    ) -> Result<Response<v1::DrainBrokerResponse>, Status> {
        let broker = request.get_ref().broker;
        self.at_drained(broker, request).await
    }

    async fn get_drain(
        &self,
        request: Request<v1::GetDrainRequest>,
    ) -> Result<Response<v1::GetDrainResponse>, Status> {
        let broker = request.get_ref().broker;
        self.at_drained(broker, request).await
    }

    async fn watch_metadata(
        &self,
        request: Request<v1::WatchMetadataRequest>,
    ) -> Result<Response<Self::WatchMetadataStream>, Status> {
        let context = context(request.metadata());
        let (messages, stream) = mpsc::channel(1);
        let services = Arc::clone(&self.services);
        let wanted = Wanted::parse(request.into_inner().topics);
        let wanted = wanted.map_err(|error| status(&error))?;
        let tasks = services.tasks.clone();
        tasks.spawn(async move { watch(&services, &context, &wanted, &messages).await });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// Sends the metadata now and after every change, until the client goes.
async fn watch(
    services: &Services,
    context: &Context,
    wanted: &Wanted,
    messages: &mpsc::Sender<Result<v1::WatchMetadataResponse, Status>>,
) {
    let mut leaders = services.leaders.changes();
    let mut state = services.metadata.watch();
    loop {
        leaders.mark_unchanged();
        state.mark_unchanged();
        let message = match services.get_metadata(context, wanted) {
            Ok(metadata) => Ok(v1::WatchMetadataResponse {
                metadata: Some(metadata),
            }),
            Err(error) => Err(status(&error)),
        };
        if messages.send(message).await.is_err() {
            return;
        }
        let changed = tokio::select! {
            () = messages.closed() => return,
            changed = leaders.changed() => changed,
            changed = state.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
    }
}
