//! `LogService`.

use std::sync::Arc;

use highwater_proto::pb::v1;
use highwater_proto::pb::v1::log_service_server::LogService;
use tokio_stream::Empty;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::context::context;
use super::forward::at_leader;
use super::init_producer::init_producer;
use super::status::status;
use super::uncopied::answer;
use super::{session, subscribe};
use crate::service::Services;

/// The data plane.
#[derive(Debug)]
pub(crate) struct LogApi {
    services: Arc<Services>,
}

impl LogApi {
    pub(super) fn new(services: Arc<Services>) -> Self {
        Self { services }
    }
}

#[tonic::async_trait]
impl LogService for LogApi {
    type ProduceSessionStream = ReceiverStream<Result<v1::ProduceSessionResponse, Status>>;
    type SubscribeStream = Empty<Result<v1::SubscribeResponse, Status>>;

    async fn produce(
        &self,
        request: Request<v1::ProduceRequest>,
    ) -> Result<Response<v1::ProduceResponse>, Status> {
        let context = context(request.metadata());
        at_leader(&self.services, &context, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn produce_session(
        &self,
        request: Request<Streaming<v1::ProduceSessionRequest>>,
    ) -> Result<Response<Self::ProduceSessionStream>, Status> {
        let context = context(request.metadata());
        let answers = session::run(Arc::clone(&self.services), context, request.into_inner());
        Ok(Response::new(answers))
    }

    async fn fetch(
        &self,
        request: Request<v1::FetchRequest>,
    ) -> Result<Response<v1::FetchResponse>, Status> {
        let context = context(request.metadata());
        let found = at_leader(&self.services, &context, request.into_inner()).await?;
        let message = tokio_stream::once(Ok(found));
        Ok(answer(message, v1::FetchResponse::default()))
    }

    async fn subscribe(
        &self,
        request: Request<v1::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let context = context(request.metadata());
        let request = request.into_inner();
        let messages = subscribe::run(Arc::clone(&self.services), context, request)
            .await
            .map_err(|error| status(&error))?;
        Ok(answer(messages, tokio_stream::empty()))
    }

    async fn list_offsets(
        &self,
        request: Request<v1::ListOffsetsRequest>,
    ) -> Result<Response<v1::ListOffsetsResponse>, Status> {
        let context = context(request.metadata());
        at_leader(&self.services, &context, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn init_producer(
        &self,
        request: Request<v1::InitProducerRequest>,
    ) -> Result<Response<v1::InitProducerResponse>, Status> {
        let context = context(request.metadata());
        init_producer(&self.services, &context, request.into_inner())
            .await
            .map(Response::new)
    }
}
