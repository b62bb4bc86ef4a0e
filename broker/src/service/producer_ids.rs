//! Producer ids: this broker takes from the metadata group as many as it is asked for, so that an id
//! is known from the moment it is given to somebody, and never before: nobody can have written under
//! an id that a producer gets. Named producers are in `named_producers`.

use std::sync::atomic::{AtomicU64, Ordering};

use highwater_proto::batch::BatchHeader;
use highwater_proto::pb::v1;
use highwater_proto::{ProducerEpoch, ProducerId, Reason};

use super::named_producers::Initialized;
use super::routing::{CATCH_UP, Target};
use super::{Context, Error, Resource, Services};
use crate::cluster::{Command, ProducerIncarnation, Reply, is_named};
use crate::partition::Partition;

/// The most ids that a broker takes at once.
const RANGE: u64 = 1_000;
/// The epoch of every producer without a name.
const UNNAMED: ProducerEpoch = ProducerEpoch(0);

/// The ids taken for those who are asking now.
#[derive(Debug, Default)]
pub struct ProducerIds {
    // guards: the ids that are taken and not given out; those left when it stops are never used.
    range: tokio::sync::Mutex<std::ops::Range<u64>>,
    asking: AtomicU64,
}

/// A caller that waits for an id.
struct Asking<'a>(&'a AtomicU64);

impl<'a> Asking<'a> {
    fn begin(count: &'a AtomicU64) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Services {
    /// A producer id that was never given out before, or the next epoch of a name, which holds only
    /// once everything is fenced that comes with it.
    pub async fn init_producer(
        &self,
        context: &Context,
        request: &v1::InitProducerRequest,
    ) -> Result<Initialized, Error> {
        context.authorize("highwater.v1.LogService/InitProducer", Resource::Cluster)?;
        if !request.name.is_empty() {
            return self.init_named(context, request).await;
        }
        if request.producer_id != 0 {
            return Err(Error::invalid("a `producer_id` goes with a `name` only"));
        }
        let producer = ProducerIncarnation {
            id: self.fresh_producer(context).await?,
            epoch: UNNAMED,
        };
        Ok(Initialized {
            response: self.initialized(producer),
            fences: Vec::new(),
        })
    }

    async fn fresh_producer(&self, context: &Context) -> Result<ProducerId, Error> {
        let asking = Asking::begin(&self.producer_ids.asking);
        let mut range = self.producer_ids.range.lock().await;
        if range.is_empty() {
            let count = asking.count().clamp(1, RANGE);
            let command = Command::AllocateProducerIds { count };
            match self.metadata.propose(&command, context.deadline).await? {
                Reply::FirstProducerId(first) => {
                    *range = first.0..first.0.saturating_add(count);
                }
                other => {
                    let message = format!("the metadata group answered {other:?}");
                    return Err(Error::new(Reason::Internal, message));
                }
            }
        }
        let id = range.start;
        range.start += 1;
        Ok(ProducerId(id))
    }

    pub(super) fn initialized(&self, producer: ProducerIncarnation) -> v1::InitProducerResponse {
        v1::InitProducerResponse {
            cluster_id: self.me.cluster.to_string(),
            producer_id: i64::try_from(producer.id.0).unwrap_or(i64::MAX),
            producer_epoch: producer.epoch.0.into(),
        }
    }

    /// Checks that a batch's producer may write to the partition. What is not known here is asked
    /// of the metadata's leader, so that `UNKNOWN_PRODUCER` is never said of an id that is new.
    pub(super) async fn admit_producer(
        &self,
        target: &Target,
        partition: &Partition,
        header: &BatchHeader,
    ) -> Result<(), Error> {
        let id = u64::try_from(header.producer_id).map(ProducerId);
        let epoch = u16::try_from(header.producer_epoch).map(ProducerEpoch);
        let (Ok(id), Ok(epoch)) = (id, epoch) else {
            return Ok(());
        };
        if is_named(id) {
            let producer = ProducerIncarnation { id, epoch };
            return self.admit_named(target, partition, producer).await;
        }
        if epoch != UNNAMED {
            let message = format!(
                "epoch {epoch} of producer {id} was never given out: without a name there is only epoch 0"
            );
            return Err(Error::new(Reason::UnknownProducer, message));
        }
        let known = || self.metadata.state().knows_producer(id);
        if known() {
            return Ok(());
        }
        let current = self.metadata.catch_up(CATCH_UP).await;
        match known() {
            true => Ok(()),
            false if current => {
                let message = format!("producer id {id} was never given out");
                Err(Error::new(Reason::UnknownProducer, message))
            }
            false => Err(Error::metadata_away()),
        }
    }
}
