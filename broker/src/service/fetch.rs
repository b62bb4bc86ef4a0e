//! Reading from an offset up to the high watermark.

use std::time::Duration;

use highwater_proto::batch::StoredBatch;
use highwater_proto::pb::v1;
use highwater_proto::{Offset, Reason};
use tokio::time::Instant;

use super::records::Page;
use super::routing::Target;
use super::{Context, Error, Resource, Services};
use crate::clock;
use crate::log::CommittedBatch;
use crate::partition::{Partition, Read, ReadError};

/// Bytes returned when the request does not say.
const DEFAULT_BYTES: usize = 1 << 20;
/// The most bytes of one reply, below gRPC's stock message limit of 4 MiB.
const MAX_BYTES: usize = 3 << 20;
const MAX_WAIT: Duration = Duration::from_secs(30);

/// The batches of a read as the API carries them.
pub fn to_batches(read: &Read) -> Vec<v1::AppendedBatch> {
    let batch = |batch: &CommittedBatch| v1::AppendedBatch {
        append_time: batch.append_time.0,
        batch: batch.bytes.clone(),
    };
    read.batches.iter().map(batch).collect()
}

/// The records of a read from `from` on, as the API carries them, and where the next ones begin.
pub fn to_records(
    read: &Read,
    from: Offset,
    max_bytes: usize,
) -> Result<(Vec<v1::Record>, Offset), Error> {
    let mut page = Page::new(from, max_bytes);
    for batch in &read.batches {
        let stored = StoredBatch::decode(batch.bytes.clone());
        match stored.and_then(|stored| page.add(&stored)) {
            Ok(true) => {}
            Ok(false) => break,
            // What comes before the fault is answered first; the next request meets it.
            Err(_) if page.next_offset() > from => break,
            Err(error) => {
                let next = batch.next_offset;
                let message = format!(
                    "the batch that begins at offset {} cannot be read: {error}; \
                     the next one begins at {next}",
                    batch.base_offset
                );
                return Err(Error::new(Reason::CorruptData, message));
            }
        }
    }
    let next_offset = page.next_offset();
    Ok((page.into_records(), next_offset))
}

/// The bytes that a request may have.
pub(super) fn byte_limit(max_bytes: i32) -> usize {
    match usize::try_from(max_bytes) {
        Ok(0) | Err(_) => DEFAULT_BYTES,
        Ok(bytes) => bytes.min(MAX_BYTES),
    }
}

impl Services {
    /// Reads once, waiting for data as long as the request allows.
    pub async fn fetch(
        &self,
        context: &Context,
        request: v1::FetchRequest,
    ) -> Result<v1::FetchResponse, Error> {
        let resource = Resource::Topic(&request.topic);
        context.authorize("highwater.v1.LogService/Fetch", resource)?;
        let target = self
            .target(&request.topic, &request.topic_id, request.partition)
            .await?;
        let from = start_offset(request.offset)?;
        let partition = self.local(&target)?;
        let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
        let until = clock::monotonic() + wait.min(MAX_WAIT).min(context.deadline);
        let limit = byte_limit(request.max_bytes);
        let mut published = partition.published();
        published.mark_unchanged();
        let mut began = clock::monotonic();
        let mut found = self.read_first(&partition, &target, from, limit).await?;
        while found.batches.is_empty() {
            match tokio::time::timeout_at(until, published.changed()).await {
                Ok(Ok(())) => {
                    began = clock::monotonic();
                    found = self.read(&partition, &target, from, limit)?;
                }
                Ok(Err(_)) | Err(_) => break,
            }
        }
        let (records, batches, next_offset) = if request.batches {
            (Vec::new(), to_batches(&found), found.next_offset)
        } else {
            let (records, next_offset) = to_records(&found, from, limit)?;
            (records, Vec::new(), next_offset)
        };
        self.count_fetched(&found, &records, began);
        Ok(v1::FetchResponse {
            cluster_id: self.me.cluster.to_string(),
            topic_id: target.topic.id.to_string(),
            records,
            next_offset: next_offset.to_i64(),
            log_start_offset: found.bounds.log_start_offset.to_i64(),
            high_watermark: found.bounds.high_watermark.to_i64(),
            leader_epoch: found.bounds.term.to_epoch(),
            batches,
        })
    }

    /// Counts what a reply carries: `records`, or the batches of the read if there are none.
    pub fn count_fetched(&self, read: &Read, records: &[v1::Record], began: Instant) {
        if read.batches.is_empty() {
            return;
        }
        self.metrics.fetch.record(began.elapsed());
        let batches = read.batches.iter();
        let (all, bytes) = batches.fold((0, 0), |(records, bytes), batch| {
            let count = batch.next_offset.0.saturating_sub(batch.base_offset.0);
            (records + count, bytes + batch.bytes.len() as u64)
        });
        let records = if records.is_empty() {
            all
        } else {
            records.len() as u64
        };
        self.metrics.fetched.add(records, bytes);
        self.metrics.fetched_batches.add(read.batches.len() as u64);
    }

    /// As [`Self::read`], for the first read of a request. A leader that has been deposed without
    /// knowing it has an old end: nobody is told that an offset is beyond the end before a majority
    /// has confirmed who leads.
    pub async fn read_first(
        &self,
        partition: &Partition,
        target: &Target,
        from: Offset,
        max_bytes: usize,
    ) -> Result<Read, Error> {
        partition.settled().await;
        match partition.read(from, max_bytes) {
            Err(ReadError::OutOfRange { high_watermark, .. }) if from > high_watermark => {
                let confirmed = partition.bounds().await;
                confirmed.map_err(|error| self.read_error(target, from.to_i64(), error))?;
                self.read(partition, target, from, max_bytes)
            }
            read => read.map_err(|error| self.read_error(target, from.to_i64(), error)),
        }
    }

    /// What can be read of `partition` from `from` on, at least one batch if there is any.
    pub fn read(
        &self,
        partition: &Partition,
        target: &Target,
        from: Offset,
        max_bytes: usize,
    ) -> Result<Read, Error> {
        let read = partition.read(from, max_bytes);
        read.map_err(|error| self.read_error(target, from.to_i64(), error))
    }

    /// Begins a subscription: the partition, where it starts, and how much one message may carry.
    pub async fn subscribe(
        &self,
        context: &Context,
        request: &v1::SubscribeRequest,
    ) -> Result<(Target, Partition, Offset, usize), Error> {
        let resource = Resource::Topic(&request.topic);
        context.authorize("highwater.v1.LogService/Subscribe", resource)?;
        let target = self
            .target(&request.topic, &request.topic_id, request.partition)
            .await?;
        let from = start_offset(request.offset)?;
        let partition = self.local(&target)?;
        // The first read tells a wrong offset or a wrong broker before the stream begins.
        self.read_first(&partition, &target, from, 1).await?;
        Ok((target, partition, from, byte_limit(request.max_bytes)))
    }
}

fn start_offset(offset: i64) -> Result<Offset, Error> {
    let invalid = || {
        Error::new(
            Reason::InvalidRequest,
            format!("offset {offset} is negative"),
        )
    };
    Offset::from_i64(offset).ok_or_else(invalid)
}
