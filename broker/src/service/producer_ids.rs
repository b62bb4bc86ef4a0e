//! Producer ids: this broker takes ranges from the metadata group and gives them out one by one.

use std::time::Duration;

use highwater_proto::batch::RecordBatch;
use highwater_proto::pb::v1;
use highwater_proto::{ProducerId, Reason};

use super::{Context, Error, Resource, Services};
use crate::cluster::{Command, Reply};

/// How many ids a broker takes at once; those not given out when it stops are never used.
const RANGE: u64 = 1_000;
/// How long this broker's metadata may lag behind the one that gave out an id.
const CATCH_UP: Duration = Duration::from_secs(1);

/// The range in use.
#[derive(Debug, Default)]
pub struct ProducerIds {
    range: tokio::sync::Mutex<std::ops::Range<u64>>,
}

impl Services {
    /// A producer id that was never given out before.
    pub async fn init_producer(
        &self,
        context: &Context,
    ) -> Result<v1::InitProducerResponse, Error> {
        context.authorize("highwater.v1.LogService/InitProducer", Resource::Cluster)?;
        let mut range = self.producer_ids.range.lock().await;
        if range.is_empty() {
            let command = Command::AllocateProducerIds { count: RANGE };
            match self.metadata.propose(&command, context.deadline).await? {
                Reply::FirstProducerId(first) => {
                    *range = first.0..first.0.saturating_add(RANGE);
                }
                other => {
                    let message = format!("the metadata group answered {other:?}");
                    return Err(Error::new(Reason::Internal, message));
                }
            }
        }
        let id = range.start;
        range.start += 1;
        Ok(v1::InitProducerResponse {
            cluster_id: self.me.cluster.to_string(),
            producer_id: i64::try_from(id).unwrap_or(i64::MAX),
            producer_epoch: 0,
        })
    }

    /// Checks that the producer id of `batch` was given out. The id may be newer than the metadata
    /// here, so an unknown one is looked for a little longer.
    pub(super) async fn known_producer(&self, batch: &RecordBatch) -> Result<(), Error> {
        let Ok(id) = u64::try_from(batch.header().producer_id) else {
            return Ok(());
        };
        let producer = ProducerId(id);
        if self.metadata.state().knows_producer(producer) {
            return Ok(());
        }
        let mut published = self.metadata.watch();
        let known = published.wait_for(|published| published.state.knows_producer(producer));
        match tokio::time::timeout(CATCH_UP, known).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => {
                let message = format!("producer id {id} was never given out");
                Err(Error::new(Reason::UnknownProducer, message))
            }
        }
    }
}
