//! A partition with a replica on this broker: append as its leader, read below the high watermark.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use highwater_proto::batch::RecordBatch;
use highwater_proto::pb::peer::PartitionStatus;
use highwater_proto::{Offset, PartitionIndex, Term, Timestamp, TopicId};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use super::append::{AppendLoop, Appended, Doubt, Permission, Request};
use super::error::{AppendError, ReadError};
use super::group::Group;
use super::machine::{Published, Shared};
use crate::clock::{Clock, monotonic};
use crate::log::CommittedBatch;
use crate::metrics::Metrics;
use crate::raft::{GroupId, Leadership, Replica};
use crate::tasks::Tasks;

/// Bytes of batches that may be on their way into one partition.
pub(super) const BUDGET_BYTES: u32 = 32 << 20;
/// How long a read waits for a new leader to be ready.
const SETTLE_LIMIT: Duration = Duration::from_secs(2);
/// Batches that may wait for the append loop; the budget bounds their bytes.
const QUEUE: usize = 256;

/// How long a majority may take to confirm who leads.
const CONFIRM_LIMIT: Duration = Duration::from_secs(2);

/// The partition. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Partition {
    topic: TopicId,
    index: PartitionIndex,
    replica: Replica,
    shared: Arc<Shared>,
    published: watch::Receiver<Published>,
    leadership: watch::Receiver<Leadership>,
    requests: mpsc::Sender<Request>,
    budget: Arc<Semaphore>,
    metrics: Arc<Metrics>,
    tasks: Tasks,
}

/// What a partition works with that is not its own.
pub struct Surroundings {
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Where it counts and measures.
    pub metrics: Arc<Metrics>,
    /// Whether it may propose.
    pub permission: Permission,
}

impl std::fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Surroundings").finish_non_exhaustive()
    }
}

/// What can be read, as of a moment after the question was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The first offset that can be read.
    pub log_start_offset: Offset,
    /// The end of what can be read.
    pub high_watermark: Offset,
    /// The term of the leader.
    pub term: Term,
}

/// What one read found.
#[derive(Debug)]
pub struct Read {
    /// Whole batches; the first may begin below the offset asked for.
    pub batches: Vec<CommittedBatch>,
    /// Where to read next.
    pub next_offset: Offset,
    /// The range that can be read.
    pub bounds: Bounds,
}

impl Partition {
    /// Starts serving the partition of `replica`, whose machine shares `shared`.
    pub fn start(
        (topic, index): (TopicId, PartitionIndex),
        replica: Replica,
        shared: Arc<Shared>,
        around: Surroundings,
        tasks: Tasks,
    ) -> Self {
        let Surroundings {
            clock,
            metrics,
            permission,
        } = around;
        let (requests, queue) = mpsc::channel(QUEUE);
        let (published, leadership) = (shared.published(), replica.leadership());
        let budget = Arc::new(Semaphore::new(BUDGET_BYTES as usize));
        let append = AppendLoop {
            replica: replica.clone(),
            shared: Arc::clone(&shared),
            leadership: leadership.clone(),
            published: published.clone(),
            clock,
            metrics: Arc::clone(&metrics),
            permission,
            budget: Arc::clone(&budget),
            term: Term(0),
            proposals: 0,
            doubt: Doubt::default(),
            renewed: Term(0),
            early: Vec::new(),
            repeated: Vec::new(),
            group: Group::default(),
        };
        tasks.spawn(append.run(queue));
        let (waking, mut changes) = (Arc::clone(&shared), leadership.clone());
        tasks.spawn(async move {
            while changes.changed().await.is_ok() {
                waking.wake()
            }
        });
        Self {
            topic,
            index,
            replica,
            shared,
            published,
            leadership,
            requests,
            budget,
            metrics,
            tasks,
        }
    }

    /// The topic.
    pub fn topic(&self) -> TopicId {
        self.topic
    }

    /// The partition's number.
    pub fn index(&self) -> PartitionIndex {
        self.index
    }

    /// The replica here.
    pub fn replica(&self) -> &Replica {
        &self.replica
    }

    /// Hands a batch to the append loop, in the order of the calls, once it fits into the
    /// partition's budget. The result resolves when the batch is committed and can be read.
    pub async fn enqueue(
        &self,
        batch: RecordBatch,
    ) -> Result<impl Future<Output = Result<Appended, AppendError>> + Send + use<>, AppendError>
    {
        let arrived = monotonic();
        let stopped = || AppendError::Stopped("the partition is closed".to_owned());
        let bytes = u32::try_from(batch.len()).unwrap_or(u32::MAX);
        let permits = bytes.clamp(1, BUDGET_BYTES);
        let permit = Arc::clone(&self.budget).acquire_many_owned(permits).await;
        let permit = permit.map_err(|_| stopped())?;
        let (answer, verdict) = oneshot::channel();
        self.requests
            .send(Request {
                batch,
                arrived,
                answer,
            })
            .await
            .map_err(|_| stopped())?;
        let metrics = Arc::clone(&self.metrics);
        Ok(async move {
            let appended = match verdict.await {
                Ok(verdict) => verdict.resolve(&metrics).await,
                Err(_) => Err(AppendError::Stopped("the partition is closed".to_owned())),
            };
            drop(permit);
            match &appended {
                Ok(appended) if appended.duplicate => metrics.duplicate_batches.add(1),
                Ok(appended) => {
                    let records = u64::from(appended.record_count);
                    metrics.produced.add(records, u64::from(bytes));
                }
                Err(_) => {}
            }
            appended
        })
    }

    /// The high watermark, and every change of it or of the leadership.
    pub fn published(&self) -> watch::Receiver<Published> {
        self.published.clone()
    }

    /// Waits a while for a replica that has just come to lead to be ready to answer.
    pub async fn settled(&self) {
        let mut published = self.published.clone();
        let settled = published.wait_for(|published| {
            let leadership = *self.leadership.borrow();
            !leadership.mine || published.term == leadership.term
        });
        drop(tokio::time::timeout(SETTLE_LIMIT, settled).await);
    }

    /// What can be read now, if this replica leads and is ready to answer.
    fn bounds_here(&self) -> Result<Bounds, ReadError> {
        let leadership = *self.leadership.borrow();
        if !leadership.mine || self.tasks.is_cancelled() {
            return Err(ReadError::NotLeader);
        }
        let published = *self.published.borrow();
        if published.term != leadership.term {
            return Err(ReadError::NotReady);
        }
        Ok(Bounds {
            log_start_offset: self.replica.reader().log_start_offset(),
            high_watermark: published.high_watermark.offset(),
            term: leadership.term,
        })
    }

    /// Reads whole batches from `from` on, up to `max_bytes` but at least one if there is any.
    pub fn read(&self, from: Offset, max_bytes: usize) -> Result<Read, ReadError> {
        let bounds = self.bounds_here()?;
        let Bounds {
            log_start_offset,
            high_watermark,
            ..
        } = bounds;
        if from < log_start_offset || from > high_watermark {
            return Err(ReadError::OutOfRange {
                offset: from,
                log_start_offset,
                high_watermark,
            });
        }
        if from == high_watermark {
            return Ok(Read {
                batches: Vec::new(),
                next_offset: from,
                bounds,
            });
        }
        let batches = self
            .replica
            .reader()
            .read_committed(from, high_watermark, max_bytes);
        let batches = batches.map_err(|error| ReadError::Damaged(error.to_string()))?;
        let next_offset = batches.last().map_or(from, |batch| batch.next_offset);
        Ok(Read {
            batches,
            next_offset,
            bounds,
        })
    }

    /// What can be read, no older than the call: leadership is confirmed by a majority.
    pub async fn bounds(&self) -> Result<Bounds, ReadError> {
        self.settled().await;
        self.bounds_here()?;
        match tokio::time::timeout(CONFIRM_LIMIT, self.replica.read_barrier()).await {
            Ok(Ok(())) => self.bounds_here(),
            Ok(Err(_)) => Err(ReadError::NotReady),
            Err(_) => Err(ReadError::Unconfirmed),
        }
    }

    /// The offset of the first batch below `end` with a record at `time` or later; `end` if none.
    pub fn offset_for_time(&self, time: Timestamp, end: Offset) -> Result<Offset, ReadError> {
        let found = self.replica.reader().offset_for_time(time, end);
        let found = found.map_err(|error| ReadError::Damaged(error.to_string()))?;
        Ok(found.unwrap_or(end))
    }

    /// What can be read as this replica knows, if it leads.
    pub fn led(&self) -> Option<Bounds> {
        self.bounds_here().ok()
    }

    /// The partition's state, if this replica leads it.
    pub fn status(&self) -> Option<PartitionStatus> {
        let bounds = self.bounds_here().ok()?;
        let brokers = self.replica.members().brokers;
        let in_sync = self.replica.in_sync()?;
        let on = |replica| brokers.get(&replica).map(|broker| broker.0);
        Some(PartitionStatus {
            group: Some(GroupId::Partition(self.topic, self.index).to_pb()),
            term: bounds.term.0,
            in_sync: in_sync.into_iter().filter_map(on).collect(),
            log_start_offset: bounds.log_start_offset.0,
            high_watermark: bounds.high_watermark.0,
        })
    }

    /// Stops serving: the append loop ends and the replica shuts down.
    pub async fn stop(&self) {
        self.tasks.stop().await;
        self.shared.wake();
        self.replica.shutdown().await;
    }
}
