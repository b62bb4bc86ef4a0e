//! Following deliveries: when each record became durable.

use std::sync::Arc;

use highwater_client::{Delivery, Error};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinSet;

use super::latency::Latencies;
use super::load::{Chunk, Shared};

/// What became of the records of a run.
#[derive(Debug)]
pub(super) struct Acked {
    pub(super) records: u64,
    pub(super) latencies: Latencies,
    /// When the last one was acknowledged, by the run's clock.
    pub(super) last: u64,
    pub(super) failed: u64,
    pub(super) failure: Option<Error>,
}

/// Follows the deliveries of all clients, one task for each client's partition, since deliveries
/// of a partition become ready in order.
#[derive(Debug)]
pub(super) struct Followers {
    shared: Arc<Shared>,
    tasks: JoinSet<Acked>,
}

impl Followers {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: Arc::clone(shared),
            tasks: JoinSet::new(),
        }
    }

    /// Where a client's deliveries go, by partition. What waits there is bounded by the client's
    /// buffer.
    pub(super) fn of_client(&mut self, partitions: u32) -> Vec<UnboundedSender<Chunk>> {
        let follower = |_| {
            let (sender, chunks) = mpsc::unbounded_channel();
            self.tasks.spawn(follow(Arc::clone(&self.shared), chunks));
            sender
        };
        (0..partitions).map(follower).collect()
    }

    /// Waits until every delivery is known, after the clients dropped their ends.
    pub(super) async fn finish(mut self) -> Acked {
        let mut all = Acked::none();
        while let Some(Ok(acked)) = self.tasks.join_next().await {
            all.records += acked.records;
            all.last = all.last.max(acked.last);
            all.failed += acked.failed;
            all.failure = all.failure.or(acked.failure);
            all.latencies.merge(acked.latencies);
        }
        all
    }
}

impl Acked {
    fn none() -> Self {
        Self {
            records: 0,
            latencies: Latencies::new(),
            last: 0,
            failed: 0,
            failure: None,
        }
    }

    async fn follow_each(
        &mut self,
        shared: &Shared,
        deliveries: impl IntoIterator<Item = (Delivery, u64)>,
    ) {
        let mut now = shared.clock.nanos();
        for (delivery, due) in deliveries {
            let outcome = match delivery.outcome() {
                Some(outcome) => outcome,
                None => {
                    let outcome = delivery.await;
                    now = shared.clock.nanos();
                    outcome
                }
            };
            match outcome {
                Ok(_) => self.note(1, due, now),
                Err(error) => {
                    self.failed += 1;
                    self.failure.get_or_insert(error);
                }
            }
        }
    }

    /// So many records, due at `due`, are known to be durable since `now`.
    fn note(&mut self, records: u64, due: u64, now: u64) {
        self.records += records;
        self.latencies.add_many(now.saturating_sub(due), records);
        self.last = now;
    }
}

async fn follow(shared: Arc<Shared>, mut chunks: UnboundedReceiver<Chunk>) -> Acked {
    let mut acked = Acked::none();
    while let Some(chunk) = chunks.recv().await {
        match chunk {
            Chunk::Together(deliveries, due) => match deliveries.acknowledged().await {
                Ok(()) => acked.note(deliveries.len() as u64, due, shared.clock.nanos()),
                Err(_) => {
                    let each = deliveries.into_iter().map(|delivery| (delivery, due));
                    acked.follow_each(&shared, each).await;
                }
            },
            Chunk::Each(deliveries) => acked.follow_each(&shared, deliveries).await,
        }
    }
    acked
}
