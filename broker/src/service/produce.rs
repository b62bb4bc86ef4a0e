//! Appending records or a batch to a partition.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use highwater_proto::batch::RecordBatch;
use highwater_proto::partitioner::partition_for_key;
use highwater_proto::pb::v1;
use highwater_proto::{PartitionIndex, Reason};

use super::routing::Target;
use super::{Context, Error, Resource, Services, records};
use crate::cluster::Topic;
use crate::partition::Appended;

impl Services {
    /// Appends what `request` holds and answers once it is committed.
    pub async fn produce(
        self: &Arc<Self>,
        context: &Context,
        request: &v1::ProduceRequest,
    ) -> Result<v1::ProduceResponse, Error> {
        let resource = Resource::Topic(&request.topic);
        context.authorize("highwater.v1.LogService/Produce", resource)?;
        let target = self.produce_target(request).await?;
        let limit = target.topic.config.max_batch_bytes;
        let batch = if request.batch.is_empty() {
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            records::to_batch(&request.records, self.clock.now(), limit)
                .map_err(|error| Error::new(error.reason(), error.to_string()))?
        } else {
            parse_batch(request.batch.clone(), limit)?
        };
        // A partition that takes nothing may keep a batch waiting for ever.
        let committed = async { self.enqueue(&target, batch).await?.await };
        let appended = match tokio::time::timeout(context.deadline, committed).await {
            Ok(appended) => appended?,
            Err(_) => {
                let message = format!("the batch was not committed within {:?}", context.deadline);
                return Err(Error::new(Reason::TimedOut, message));
            }
        };
        Ok(self.response(&target, appended))
    }

    async fn produce_target(&self, request: &v1::ProduceRequest) -> Result<Target, Error> {
        match (request.records.is_empty(), request.batch.is_empty()) {
            (false, false) => return Err(Error::invalid("send `records` or `batch`, not both")),
            (true, true) => return Err(Error::invalid("there are no `records` and no `batch`")),
            (true, false) if request.partition.is_none() => {
                return Err(Error::invalid("a `batch` needs its `partition`"));
            }
            _ => {}
        }
        if let Some(partition) = request.partition {
            return self
                .target(&request.topic, &request.topic_id, partition)
                .await;
        }
        let topic = self.find_topic(&request.topic, &request.topic_id).await?;
        let partition = self.choose(&topic, &request.records);
        Ok(Target { topic, partition })
    }

    /// The first record's key decides; without a key, chance does.
    fn choose(&self, topic: &Topic, records: &[v1::Record]) -> PartitionIndex {
        let count = u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX);
        let key = records.first().and_then(records::key_bytes);
        match key {
            Some(key) => partition_for_key(key, count),
            None => partition_for_key(&(self.random)(), count),
        }
    }

    /// Hands a batch to the partition's leader here, in the order of the calls. The result resolves
    /// with its fate.
    pub async fn enqueue(
        self: &Arc<Self>,
        target: &Target,
        batch: RecordBatch,
    ) -> Result<impl Future<Output = Result<Appended, Error>> + Send + use<>, Error> {
        let partition = self.local(target)?;
        self.admit_producer(target, &partition, batch.header())
            .await?;
        let answer = partition.enqueue(batch).await;
        let answer = answer.map_err(|error| self.append_error(target, error))?;
        let (services, target) = (Arc::clone(self), target.clone());
        Ok(async move {
            answer.await.map_err(|error| {
                let error = services.append_error(&target, error);
                services.metrics.produce_error(error.reason);
                error
            })
        })
    }

    fn response(&self, target: &Target, appended: Appended) -> v1::ProduceResponse {
        let last = appended
            .base_offset
            .plus(u64::from(appended.record_count.saturating_sub(1)));
        v1::ProduceResponse {
            cluster_id: self.me.cluster.to_string(),
            topic_id: target.topic.id.to_string(),
            partition: target.partition.0.try_into().unwrap_or(i32::MAX),
            base_offset: appended.base_offset.to_i64(),
            last_offset: last.to_i64(),
            append_time: appended.append_time.0,
            leader_epoch: appended.term.to_epoch(),
            duplicate: appended.duplicate,
        }
    }
}

/// Checks a batch that a client sent.
pub fn parse_batch(bytes: Bytes, max_bytes: u64) -> Result<RecordBatch, Error> {
    let limit = usize::try_from(max_bytes).unwrap_or(usize::MAX);
    RecordBatch::parse(bytes, limit).map_err(|error| Error::new(error.reason(), error.to_string()))
}
