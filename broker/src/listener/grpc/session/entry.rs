//! The way of a batch to its partition: who may write where, what a batch is, whether there is room.

use std::future;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use highwater_proto::pb::v1;
use highwater_proto::{PartitionIndex, TopicId};
use tokio::sync::OwnedSemaphorePermit;

use super::super::context::Context;
use crate::partition::Appended;
use crate::peer::Identity;
use crate::service::{Error, Resource, Services, Target, parse_batch};

/// Resolves when it is known what became of a batch.
pub(super) type Committed = BoxFuture<'static, Result<Appended, Error>>;

/// What brings the batches of a session to their partitions.
pub(super) struct Entry {
    services: Arc<Services>,
    context: Context,
}

/// A batch that its partition has, or cannot take.
pub(super) struct Admitted {
    pub(super) number: u64,
    /// Whose batch it is, if that was found.
    pub(super) partition: Option<(TopicId, PartitionIndex)>,
    pub(super) committed: Committed,
    /// Its bytes of the session's credit.
    pub(super) permit: OwnedSemaphorePermit,
}

impl Entry {
    pub(super) fn new(services: Arc<Services>, context: Context) -> Self {
        Self { services, context }
    }

    /// Which broker this is.
    pub(super) fn me(&self) -> &Identity {
        &self.services.me
    }

    /// Brings a batch to its partition; waits as long as that takes.
    pub(super) async fn admit(
        &self,
        request: v1::ProduceSessionRequest,
        permit: OwnedSemaphorePermit,
    ) -> Admitted {
        let number = request.number;
        let target = self.target(&request).await;
        let partition = target.as_ref().ok();
        let partition = partition.map(|target| (target.topic.id, target.partition));
        let committed = match target {
            Ok(target) => self.enqueue(&target, request).await,
            Err(error) => Err(error),
        };
        Admitted {
            number,
            partition,
            committed: committed.unwrap_or_else(|error| {
                self.services.metrics.produce_error(error.reason);
                Box::pin(future::ready(Err(error)))
            }),
            permit,
        }
    }

    async fn target(&self, request: &v1::ProduceSessionRequest) -> Result<Target, Error> {
        let resource = Resource::Topic(&request.topic);
        self.context
            .authorize("highwater.v1.LogService/ProduceSession", resource)?;
        self.services
            .target(&request.topic, &request.topic_id, request.partition)
            .await
    }

    async fn enqueue(
        &self,
        target: &Target,
        request: v1::ProduceSessionRequest,
    ) -> Result<Committed, Error> {
        let batch = parse_batch(request.batch, target.topic.config.max_batch_bytes)?;
        let committed = self.services.enqueue(target, batch).await?;
        Ok(Box::pin(committed))
    }
}
