//! A partition with a replica on this broker: append as its leader, read below the high watermark.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use highwater_proto::batch::RecordBatch;
use highwater_proto::pb::peer::PartitionStatus;
use highwater_proto::{Offset, PartitionIndex, Term, TopicId};
use tokio::sync::{mpsc, oneshot, watch};

use super::append::{AppendLoop, Appended, Mending, Permission, Request, Work};
use super::budget::Budget;
use super::confirmed::Confirmed;
use super::error::AppendError;
use super::group::Group;
use super::keeper::Keeper;
use super::machine::{Published, Shared};
use super::retention::Retention;
use super::trim::Trimmer;
use crate::clock::{Clock, monotonic};
use crate::metrics::Metrics;
use crate::raft::{Ending, GroupId, Leadership, Line, Replica};
use crate::tasks::Tasks;

/// How long a read waits for a new leader to be ready.
const SETTLE_LIMIT: Duration = Duration::from_secs(2);
/// Batches that may wait for the append loop; the budget bounds their bytes.
const QUEUE: usize = 256;

/// How long a new leader may take to be ready when somebody asks for the partition's state.
const READY_LIMIT: Duration = Duration::from_secs(1);
/// How long a replica may take to have what was committed when somebody asked whether it is in sync.
const CATCH_UP_LIMIT: Duration = Duration::from_millis(300);

/// The partition. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Partition {
    topic: TopicId,
    index: PartitionIndex,
    pub(super) replica: Replica,
    pub(super) shared: Arc<Shared>,
    pub(super) published: watch::Receiver<Published>,
    pub(super) leadership: watch::Receiver<Leadership>,
    pub(super) requests: mpsc::Sender<Work>,
    pub(super) budget: Budget,
    pub(super) trimmer: Trimmer,
    retention: Arc<watch::Sender<Retention>>,
    metrics: Arc<Metrics>,
    pub(super) confirmed: Arc<Confirmed>,
    pub(super) tasks: Tasks,
}

/// What a partition works with that is not its own.
pub struct Surroundings {
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Where it counts and measures.
    pub metrics: Arc<Metrics>,
    /// Whether it may propose.
    pub permission: Permission,
    /// What it may keep.
    pub retention: Retention,
}

impl std::fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Surroundings").finish_non_exhaustive()
    }
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
            retention,
        } = around;
        // Before anything is appended.
        retention.limit(&replica);
        let retention = Arc::new(watch::Sender::new(retention));
        let (requests, queue) = mpsc::channel(QUEUE);
        let (published, leadership) = (shared.published(), replica.leadership());
        let budget = Budget::default();
        let line = Line::begin();
        let trimmer = Trimmer {
            replica: replica.clone(),
            leadership: leadership.clone(),
            published: published.clone(),
            clock: Arc::clone(&clock),
            permission: Arc::clone(&permission),
        };
        let append = AppendLoop {
            replica: replica.clone(),
            shared: Arc::clone(&shared),
            leadership: leadership.clone(),
            published: published.clone(),
            clock,
            metrics: Arc::clone(&metrics),
            permission,
            budget: budget.clone(),
            term: Term(0),
            proposals: 0,
            cuts: line.cuts(),
            line,
            mending: Mending::default(),
            early: Vec::new(),
            repeated: Vec::new(),
            group: Group::default(),
        };
        tasks.spawn(append.run(queue));
        let leaps = trimmer.clock.leaps();
        let keeper = Keeper {
            replica: replica.clone(),
            trimmer: trimmer.clone(),
            retention: retention.subscribe(),
            published: published.clone(),
            leadership: leadership.clone(),
            log_start: shared.log_start(),
            rolls: replica.rolls(),
            saving: replica.saving(),
            leaps,
            metrics: Arc::clone(&metrics),
        };
        tasks.spawn(keeper.run());
        tasks.spawn(wake_readers(Arc::clone(&shared), leadership.clone()));
        Self {
            topic,
            index,
            replica,
            shared,
            published,
            leadership,
            requests,
            budget,
            trimmer,
            retention,
            metrics,
            confirmed: Arc::default(),
            tasks,
        }
    }

    pub(super) fn confirmed(&self) -> &Confirmed {
        &self.confirmed
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
        let share = self.share(bytes).await?;
        let (answer, verdict) = oneshot::channel();
        self.requests
            .send(Work::Batch(Request {
                batch,
                arrived,
                share,
                answer,
            }))
            .await
            .map_err(|_| stopped())?;
        let metrics = Arc::clone(&self.metrics);
        Ok(async move {
            let appended = match verdict.await {
                Ok(verdict) => verdict.resolve(&metrics).await,
                Err(_) => Err(AppendError::Stopped("the partition is closed".to_owned())),
            };
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

    /// Changes what the partition may keep, from now on.
    pub fn retain(&self, retention: Retention) {
        self.retention
            .send_if_modified(|old| std::mem::replace(old, retention) != retention);
    }

    /// Makes `to` the log start offset, if it is above the one there is; gives the one there is
    /// then. A majority has it on the disk when this returns, and it never moves back.
    pub async fn trim(&self, to: Offset) -> Result<Offset, AppendError> {
        self.trimmer.trim(to).await
    }

    /// The partition's state, if this replica leads it. A replica that has just come to lead is given
    /// time to be ready, and the others to take what was committed at the call.
    pub async fn status(&self) -> Option<PartitionStatus> {
        if !self.leadership.borrow().mine {
            return None;
        }
        drop(tokio::time::timeout(READY_LIMIT, self.settled()).await);
        let in_sync = self.replica.in_sync_within(CATCH_UP_LIMIT).await?;
        let bounds = self.bounds_here().ok()?;
        let brokers = self.replica.members().brokers;
        let on = |replica| brokers.get(&replica).map(|broker| broker.0);
        Some(PartitionStatus {
            group: Some(GroupId::Partition(self.topic, self.index).to_pb()),
            term: bounds.term.0,
            in_sync: in_sync.into_iter().filter_map(on).collect(),
            log_start_offset: bounds.log_start_offset.0,
            high_watermark: bounds.high_watermark.0,
            disk_bytes: self.replica.disk_bytes().await.unwrap_or(0),
        })
    }

    /// Has what waits for a leader that is ready looked at again.
    pub fn wake(&self) {
        self.shared.wake();
    }

    /// Stops serving: the append loop ends and the replica shuts down. If its core has not ended by
    /// then, this gives back what ends with it.
    pub async fn stop(&self) -> Option<Ending> {
        self.tasks.stop().await;
        self.shared.wake();
        self.replica.shutdown().await
    }
}

/// Has whoever waits for data look again whenever another replica may lead.
async fn wake_readers(shared: Arc<Shared>, mut leadership: watch::Receiver<Leadership>) {
    while leadership.changed().await.is_ok() {
        shared.wake();
    }
}
