//! Reading from an offset up to the high watermark.

use std::time::Duration;

use highwater_proto::pb::v1;
use highwater_proto::{Offset, Reason};
use tokio::sync::watch;
use tokio::time::Instant;

use super::bookmark::Bookmark;
use super::freshness::{Confirmation, Freshness};
use super::records::{Page, Unreadable};
use super::routing::Target;
use super::{Context, Detail, Error, Resource, Services};
use crate::clock;
use crate::log::CommittedBatch;
use crate::partition::{Partition, Published, Read, ReadError};

/// Bytes returned when the request does not say.
const DEFAULT_BYTES: usize = 1 << 20;
/// The most bytes of one reply, below gRPC's stock message limit of 4 MiB.
const MAX_BYTES: usize = 3 << 20;
const MAX_WAIT: Duration = Duration::from_secs(30);

/// The most bytes of one message of a subscription; what a reader that has stopped reading costs
/// grows with it. A batch that is larger is sent all the same.
const MAX_PUSHED_BYTES: usize = 256 << 10;
/// How long a subscription waits for a follower to have the offset that it begins at.
const FOLLOWER_WAIT: Duration = Duration::from_secs(1);

/// Where and how to read.
#[derive(Debug)]
pub struct Place {
    /// The partition that the request names.
    pub target: Target,
    /// The replica of it here.
    pub partition: Partition,
    /// How fresh what is read must be.
    pub freshness: Freshness,
    /// How much one reply may carry.
    pub max_bytes: usize,
}

/// The batches of a read as the API carries them.
pub fn to_batches(read: &Read) -> Vec<v1::AppendedBatch> {
    let batch = |batch: &CommittedBatch| v1::AppendedBatch {
        append_time: batch.append_time.0,
        batch: batch.bytes.clone(),
    };
    read.batches.iter().map(batch).collect()
}

/// The records of a read of `place` from `from` on, as the API carries them, and where the next ones
/// begin. Who goes on there does so with the same `bookmark`.
pub fn to_records(
    read: &Read,
    from: Offset,
    place: &Place,
    bookmark: &mut Bookmark,
) -> Result<(Vec<v1::Record>, Offset), Error> {
    let mut page = Page::new(from, place.max_bytes);
    for batch in &read.batches {
        let opened = bookmark.open(batch).map_err(Unreadable::from);
        let added = opened.and_then(|mut opened| Ok((page.add(&mut opened)?, opened)));
        match added {
            Ok((true, _)) => {}
            Ok((false, opened)) => {
                if page.next_offset() < batch.next_offset {
                    bookmark.keep(opened);
                }
                break;
            }
            // What comes before the fault is answered first; the next request meets it.
            Err(_) if page.next_offset() > from => break,
            Err(why) => return Err(unreadable(batch, from, place, &why)),
        }
    }
    let next_offset = page.next_offset();
    Ok((page.into_records(), next_offset))
}

/// The error of a batch, or a record in it, that cannot be given as records.
fn unreadable(batch: &CommittedBatch, from: Offset, place: &Place, why: &Unreadable) -> Error {
    let begin = from.max(batch.base_offset);
    let (message, offset, next) = match why {
        Unreadable::Batch(error) => {
            let next = batch.next_offset;
            let message = format!(
                "the batch that begins at offset {} cannot be read: {error}; \
                 the next one begins at {next}",
                batch.base_offset
            );
            (message, begin, next)
        }
        Unreadable::Record { offset, .. } => (why.to_string(), *offset, offset.plus(1)),
    };
    let detail = Detail::CorruptData {
        topic: place.target.topic.name.to_string(),
        partition: place.target.partition,
        offset: offset.to_i64(),
        next_offset: Some(next),
    };
    Error::new(Reason::CorruptData, message).with(detail)
}

/// The bytes that an answer may have.
fn byte_limit(max_bytes: i32) -> Result<usize, Error> {
    match usize::try_from(max_bytes) {
        Ok(0) => Ok(DEFAULT_BYTES),
        Ok(bytes) => Ok(bytes.min(MAX_BYTES)),
        Err(_) => Err(Error::invalid(format!(
            "max_bytes {max_bytes} is negative; 0 means {DEFAULT_BYTES}"
        ))),
    }
}

/// How long a read may wait.
fn wait_limit(max_wait_ms: i32) -> Result<Duration, Error> {
    let wait = u64::try_from(max_wait_ms).map_err(|_| {
        Error::invalid(format!(
            "max_wait_ms {max_wait_ms} is negative; 0 does not wait"
        ))
    })?;
    Ok(Duration::from_millis(wait).min(MAX_WAIT))
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
        let freshness = Freshness::of(request.freshness, request.max_age_ms)?;
        let target = self
            .target(&request.topic, &request.topic_id, request.partition)
            .await?;
        let from = start_offset(request.offset)?;
        let partition = self.local(&target)?;
        let wait = wait_limit(request.max_wait_ms)?;
        let until = clock::monotonic() + wait.min(context.deadline);
        let place = Place {
            target,
            partition,
            freshness,
            max_bytes: byte_limit(request.max_bytes)?,
        };
        let (found, began) = self.read_until(context, &place, from, until).await?;
        let (records, batches, next_offset) = if request.batches {
            (Vec::new(), to_batches(&found), found.next_offset)
        } else {
            let mut bookmark = self.bookmarks.bookmark();
            let (records, next_offset) = to_records(&found, from, &place, &mut bookmark)?;
            (records, Vec::new(), next_offset)
        };
        self.count_fetched(&found, &records, began);
        Ok(v1::FetchResponse {
            cluster_id: self.me.cluster.to_string(),
            topic_id: place.target.topic.id.to_string(),
            records,
            next_offset: next_offset.to_i64(),
            log_start_offset: found.bounds.log_start_offset.to_i64(),
            high_watermark: found.bounds.high_watermark.to_i64(),
            leader_epoch: found.bounds.term.to_epoch(),
            broker: i32::try_from(self.me.broker.0).unwrap_or(i32::MAX),
            follower: found.bounds.follower,
            batches,
        })
    }

    /// Reads, and waits for data until there is some or the time is over. A follower that still
    /// does not have the offset by then leaves it to the leader to say what that means.
    async fn read_until(
        &self,
        context: &Context,
        place: &Place,
        from: Offset,
        until: Instant,
    ) -> Result<(Read, Instant), Error> {
        let mut published = place.partition.published();
        published.mark_unchanged();
        let mut began = clock::monotonic();
        let mut found = self.read_first(context, place, from).await?;
        while found.batches.is_empty() {
            let changed = changed_before(&mut published, until).await;
            began = clock::monotonic();
            found = self.read_on(context, place, from).await?;
            if !changed {
                break;
            }
        }
        if found.bounds.follower && from > found.bounds.high_watermark {
            return Err(self.elsewhere(&place.target));
        }
        Ok((found, began))
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

    /// As `read`, for the first read of a request: what was asked of its freshness holds when
    /// it returns. A leader that has been deposed without knowing it has an old end: nobody is told
    /// that an offset is beyond the end before a majority has confirmed who leads.
    pub async fn read_first(
        &self,
        context: &Context,
        place: &Place,
        from: Offset,
    ) -> Result<Read, Error> {
        let Place {
            target,
            partition,
            freshness,
            max_bytes,
        } = place;
        partition.settled().await;
        let confirmed = self
            .freshen(context, (target, partition), *freshness)
            .await?;
        let warm = partition.warm(from, *max_bytes).await;
        warm.map_err(|error| self.read_error(target, from.to_i64(), error))?;
        let read = match partition.read(freshness.replicas(), from, *max_bytes) {
            Err(ReadError::OutOfRange { high_watermark, .. }) if from > high_watermark => {
                let confirmed = partition.bounds().await;
                confirmed.map_err(|error| self.read_error(target, from.to_i64(), error))?;
                self.read(place, from)
            }
            read => read.map_err(|error| self.read_error(target, from.to_i64(), error)),
        };
        let fresh = Confirmation::check(confirmed);
        fresh.map_err(|error| self.read_error(target, from.to_i64(), error))?;
        read
    }

    /// As `read`, for a later read of a request: what goes on being promised holds.
    pub async fn read_on(
        &self,
        context: &Context,
        place: &Place,
        from: Offset,
    ) -> Result<Read, Error> {
        match place.freshness {
            Freshness::Bounded(_) => self.read_first(context, place, from).await,
            Freshness::Leader | Freshness::Linearizable | Freshness::Committed => {
                let warm = place.partition.warm(from, place.max_bytes).await;
                warm.map_err(|error| self.read_error(&place.target, from.to_i64(), error))?;
                self.read(place, from)
            }
        }
    }

    /// What can be read from `from` on, at least one batch if there is any.
    fn read(&self, place: &Place, from: Offset) -> Result<Read, Error> {
        let read = place
            .partition
            .read(place.freshness.replicas(), from, place.max_bytes);
        read.map_err(|error| self.read_error(&place.target, from.to_i64(), error))
    }

    /// Begins a subscription: where it reads, and from where on.
    pub async fn subscribe(
        &self,
        context: &Context,
        request: &v1::SubscribeRequest,
    ) -> Result<(Place, Offset), Error> {
        let resource = Resource::Topic(&request.topic);
        context.authorize("highwater.v1.LogService/Subscribe", resource)?;
        let freshness = Freshness::of(request.freshness, request.max_age_ms)?;
        let target = self
            .target(&request.topic, &request.topic_id, request.partition)
            .await?;
        let from = start_offset(request.offset)?;
        let partition = self.local(&target)?;
        let place = Place {
            target,
            partition,
            freshness,
            max_bytes: byte_limit(request.max_bytes)?.min(MAX_PUSHED_BYTES),
        };
        // The first read tells a wrong offset or a wrong broker before the stream begins.
        let until = clock::monotonic() + FOLLOWER_WAIT.min(context.deadline);
        let mut published = place.partition.published();
        let reached = |now: &Published| now.high_watermark.offset() >= from;
        let first = self.read_first(context, &place, from).await?;
        if first.bounds.follower && from > first.bounds.high_watermark {
            let caught_up = tokio::time::timeout_at(until, published.wait_for(reached)).await;
            if !matches!(caught_up, Ok(Ok(_))) {
                return Err(self.elsewhere(&place.target));
            }
        }
        Ok((place, from))
    }
}

/// Waits for a change until the time is over. One that is there already does not prolong it: where
/// they come faster than reads, there always is one.
async fn changed_before<T>(published: &mut watch::Receiver<T>, until: Instant) -> bool {
    let changed = tokio::time::timeout_at(until, published.changed()).await;
    matches!(changed, Ok(Ok(()))) && clock::monotonic() < until
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wait_ends_at_its_time_however_often_something_changes() {
        let (changes, mut published) = watch::channel(0);
        let now = clock::monotonic();
        changes.send_replace(1);
        assert!(changed_before(&mut published, now + MAX_WAIT).await);
        changes.send_replace(2);
        assert!(!changed_before(&mut published, now).await);
        drop(changes);
        assert!(!changed_before(&mut published, now + MAX_WAIT).await);
    }
}
