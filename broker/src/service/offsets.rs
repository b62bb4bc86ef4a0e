//! The offsets at positions of a partition; linearizable.

use highwater_proto::Timestamp;
use highwater_proto::pb::v1::{self, list_offsets_request::Position};

use super::{Context, Error, Resource, Services};

impl Services {
    /// The offset at the position that `request` names, and the range that can be read.
    pub async fn list_offsets(
        &self,
        context: &Context,
        request: v1::ListOffsetsRequest,
    ) -> Result<v1::ListOffsetsResponse, Error> {
        let resource = Resource::Topic(&request.topic);
        context.authorize("highwater.v1.LogService/ListOffsets", resource)?;
        let target = self
            .target(&request.topic, &request.topic_id, request.partition)
            .await?;
        let partition = self.local(&target)?;
        let bounds = partition
            .bounds()
            .await
            .map_err(|e| self.read_error(&target, -1, e))?;
        let offset = match request.position {
            Some(Position::Earliest(_)) => bounds.log_start_offset,
            Some(Position::Latest(_)) | None => bounds.high_watermark,
            Some(Position::Timestamp(time)) => partition
                .offset_for_time(Timestamp(time), bounds.high_watermark)
                .map_err(|error| self.read_error(&target, -1, error))?,
        };
        Ok(v1::ListOffsetsResponse {
            cluster_id: self.me.cluster.to_string(),
            topic_id: target.topic.id.to_string(),
            offset: offset.to_i64(),
            log_start_offset: bounds.log_start_offset.to_i64(),
            high_watermark: bounds.high_watermark.to_i64(),
            leader_epoch: bounds.term.to_epoch(),
        })
    }
}
