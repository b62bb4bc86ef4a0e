//! The offsets at positions of a partition; linearizable.

use bytes::Bytes;
use highwater_proto::batch::StoredBatch;
use highwater_proto::pb::v1::{self, list_offsets_request::Position};
use highwater_proto::{Offset, Timestamp};

use super::{Context, Error, Resource, Services};
use crate::partition::{Bounds, Partition, ReadError, Replicas};

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
        let bounds = tokio::time::timeout(context.deadline, partition.bounds()).await;
        let bounds = bounds
            .unwrap_or(Err(ReadError::Unconfirmed))
            .map_err(|e| self.read_error(&target, -1, e))?;
        let offset = match request.position {
            Some(Position::Earliest(_)) => bounds.log_start_offset,
            Some(Position::Latest(_)) | None => bounds.high_watermark,
            Some(Position::Timestamp(time)) => offset_at(&partition, Timestamp(time), bounds)
                .await
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

/// The offset of the first record at `time` or later, or the end. The log tells the batch, its
/// records the rest; where they cannot be read, it is the beginning of the batch.
pub(super) async fn offset_at(
    partition: &Partition,
    time: Timestamp,
    mut bounds: Bounds,
) -> Result<Offset, ReadError> {
    let end = bounds.high_watermark;
    loop {
        let found = partition.offset_for_time(time, bounds).await?;
        let found = found.max(bounds.log_start_offset);
        if found >= end {
            return Ok(end);
        }
        partition.warm(found, 1).await?;
        let read = match partition.read(Replicas::Leader, found, 1) {
            // Deleted since it was found: it is the first one of what is left.
            Err(ReadError::OutOfRange {
                log_start_offset, ..
            }) if log_start_offset > found => {
                bounds.log_start_offset = log_start_offset;
                continue;
            }
            read => read?,
        };
        let batch = read.batches.into_iter().next();
        let exact = batch.and_then(|batch| first_at(batch.bytes, found, time));
        return Ok(exact.unwrap_or(found));
    }
}

/// The first record of a batch from `from` on that has this time or a later one.
fn first_at(batch: Bytes, from: Offset, time: Timestamp) -> Option<Offset> {
    let records = StoredBatch::decode(batch).ok()?.records().ok()?;
    let mut views = records.views().map_while(Result::ok);
    let found = views.find(|view| view.offset >= from && view.timestamp >= time);
    found.map(|view| view.offset)
}
