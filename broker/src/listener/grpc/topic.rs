//! `TopicService`. Changes go through the metadata group, so any broker can take them.

use std::sync::Arc;

use highwater_proto::pb::v1;
use highwater_proto::pb::v1::topic_service_server::TopicService;
use tonic::{Request, Response, Status};

use super::context::context;
use super::forward::at_leader;
use super::status::status;
use crate::service::Services;

/// Creating, describing, altering and deleting topics.
#[derive(Debug)]
pub(super) struct TopicApi {
    services: Arc<Services>,
}

impl TopicApi {
    pub(super) fn new(services: Arc<Services>) -> Self {
        Self { services }
    }
}

#[tonic::async_trait]
impl TopicService for TopicApi {
    async fn create_topic(
        &self,
        request: Request<v1::CreateTopicRequest>,
    ) -> Result<Response<v1::CreateTopicResponse>, Status> {
        let context = context(request.metadata());
        let answer = self
            .services
            .create_topic(&context, request.into_inner())
            .await;
        answer.map(Response::new).map_err(|error| status(&error))
    }

    async fn list_topics(
        &self,
        request: Request<v1::ListTopicsRequest>,
    ) -> Result<Response<v1::ListTopicsResponse>, Status> {
        let context = context(request.metadata());
        self.services
            .list_topics(&context)
            .await
            .map(Response::new)
            .map_err(|error| status(&error))
    }

    async fn describe_topic(
        &self,
        request: Request<v1::DescribeTopicRequest>,
    ) -> Result<Response<v1::DescribeTopicResponse>, Status> {
        let context = context(request.metadata());
        let answer = self
            .services
            .describe_topic(&context, request.into_inner())
            .await;
        answer.map(Response::new).map_err(|error| status(&error))
    }

    async fn alter_topic(
        &self,
        request: Request<v1::AlterTopicRequest>,
    ) -> Result<Response<v1::AlterTopicResponse>, Status> {
        let context = context(request.metadata());
        let answer = self
            .services
            .alter_topic(&context, request.into_inner())
            .await;
        answer.map(Response::new).map_err(|error| status(&error))
    }

    async fn delete_topic(
        &self,
        request: Request<v1::DeleteTopicRequest>,
    ) -> Result<Response<v1::DeleteTopicResponse>, Status> {
        let context = context(request.metadata());
        let answer = self
            .services
            .delete_topic(&context, request.into_inner())
            .await;
        answer.map(Response::new).map_err(|error| status(&error))
    }

    async fn trim_partition(
        &self,
        request: Request<v1::TrimPartitionRequest>,
    ) -> Result<Response<v1::TrimPartitionResponse>, Status> {
        let context = context(request.metadata());
        at_leader(&self.services, &context, request.into_inner())
            .await
            .map(Response::new)
    }
}
