//! Producer ids: this broker takes ranges from the metadata group and gives them out one by one.
//! Named producers are in `named_producers`.

use highwater_proto::batch::BatchHeader;
use highwater_proto::pb::v1;
use highwater_proto::{ProducerEpoch, ProducerId, Reason};

use super::named_producers::Initialized;
use super::routing::{CATCH_UP, Target};
use super::{Context, Error, Resource, Services};
use crate::cluster::{Command, ProducerIncarnation, Reply, is_named};
use crate::partition::Partition;

/// How many ids a broker takes at once; those not given out when it stops are never used.
const RANGE: u64 = 1_000;

/// The range in use.
#[derive(Debug, Default)]
pub struct ProducerIds {
    range: tokio::sync::Mutex<std::ops::Range<u64>>,
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
            epoch: ProducerEpoch(0),
        };
        Ok(Initialized {
            response: self.initialized(producer),
            fences: Vec::new(),
        })
    }

    async fn fresh_producer(&self, context: &Context) -> Result<ProducerId, Error> {
        let mut range = self.producer_ids.range.lock().await;
        if range.is_empty() {
            let command = Command::AllocateProducerIds { count: RANGE };
            match self.metadata.propose(&command, context.deadline).await? {
                Reply::FirstProducerId(first) => {
                    *range = first.0..first.0.saturating_add(RANGE);
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
