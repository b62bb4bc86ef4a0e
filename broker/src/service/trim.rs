//! Deleting the beginning of a partition: what becomes its first record, and who may say so.

use highwater_proto::pb::v1::{self, trim_partition_request::To};
use highwater_proto::{Offset, Timestamp};

use super::offsets::offset_at;
use super::{Context, Error, Resource, Services};
use crate::partition::ReadError;

impl Services {
    /// Moves the log start offset of a partition, on every replica, or says where it would be.
    /// Linearizable: the range that decides is confirmed by a majority.
    pub async fn trim_partition(
        &self,
        context: &Context,
        request: v1::TrimPartitionRequest,
    ) -> Result<v1::TrimPartitionResponse, Error> {
        let resource = Resource::Topic(&request.topic);
        context.authorize("highwater.v1.TopicService/TrimPartition", resource)?;
        let to = request.to.ok_or_else(|| {
            Error::invalid("the request names nothing to trim to: set offset, timestamp or end")
        })?;
        if let To::Offset(offset @ ..0) = to {
            return Err(Error::invalid(format!(
                "offset is {offset}, expected 0 or more"
            )));
        }
        let target = self
            .target(&request.topic, &request.topic_id, request.partition)
            .await?;
        let partition = self.local(&target)?;
        let read_error = |offset, error| self.read_error(&target, offset, error);
        let bounds = partition.bounds().await.map_err(|e| read_error(-1, e))?;
        let wanted = match to {
            To::End(_) => bounds.high_watermark,
            To::Offset(offset) => Offset::from_i64(offset).unwrap_or_default(),
            To::Timestamp(time) => offset_at(&partition, Timestamp(time), bounds)
                .await
                .map_err(|error| read_error(-1, error))?,
        };
        if wanted > bounds.high_watermark {
            let error = ReadError::OutOfRange {
                offset: wanted,
                log_start_offset: bounds.log_start_offset,
                high_watermark: bounds.high_watermark,
            };
            return Err(read_error(wanted.to_i64(), error));
        }
        let log_start = if request.dry_run || wanted <= bounds.log_start_offset {
            wanted.max(bounds.log_start_offset)
        } else {
            let trimmed = partition.trim(wanted).await;
            trimmed.map_err(|error| self.append_error(&target, error))?
        };
        Ok(v1::TrimPartitionResponse {
            cluster_id: self.me.cluster.to_string(),
            topic_id: target.topic.id.to_string(),
            log_start_offset: log_start.to_i64(),
            previous_log_start_offset: bounds.log_start_offset.to_i64(),
            high_watermark: bounds.high_watermark.to_i64(),
            leader_epoch: bounds.term.to_epoch(),
        })
    }
}
