//! Producer ids: this broker takes from the metadata group as many as it is asked for, so that an id
//! is known from the moment it is given to somebody, and never before: nobody can have written under
//! an id that a producer gets, and an id is higher than all that were given out before it was asked
//! for. Named producers are in `named_producers`.

use std::sync::atomic::{AtomicU64, Ordering};

use highwater_proto::batch::BatchHeader;
use highwater_proto::pb::v1;
use highwater_proto::{ProducerEpoch, ProducerId, Reason};

use super::named_producers::Initialized;
use super::routing::{CATCH_UP, Target};
use super::{Context, Error, Resource, Services};
use crate::cluster::{Command, ProducerIncarnation, Reply};
use crate::partition::Partition;

/// The most ids that a broker takes at once.
const RANGE: u64 = 1_000;
/// The epoch of every producer without a name.
const UNNAMED: ProducerEpoch = ProducerEpoch(0);

/// The ids taken for those who are asking now.
#[derive(Debug, Default)]
pub struct ProducerIds {
    // guards: the ids that are taken and not given out; those left when it stops are never used.
    range: tokio::sync::Mutex<Taken>,
    begun: AtomicU64,
    ended: AtomicU64,
}

/// Ids for those who were asking when they were asked for. Who comes later must get one that is higher
/// than all that were given out before it came: a partition may refuse lower ones as forgotten.
#[derive(Debug)]
struct Taken {
    ids: std::ops::Range<u64>,
    /// The first caller who came later.
    until: u64,
}

/// A caller that waits for an id.
struct Asking<'a> {
    of: &'a ProducerIds,
    number: u64,
}

impl Default for Taken {
    fn default() -> Self {
        Self {
            ids: 0..0,
            until: 0,
        }
    }
}

impl Taken {
    /// An id for this caller, if there is one. Those that are too old for it are for nobody.
    fn next_for(&mut self, number: u64) -> Option<ProducerId> {
        match number < self.until {
            true => self.ids.next().map(ProducerId),
            false => None,
        }
    }
}

impl ProducerIds {
    fn ask(&self) -> Asking<'_> {
        Asking {
            of: self,
            number: self.begun.fetch_add(1, Ordering::SeqCst),
        }
    }

    /// The first caller who is not asking yet, and how many are.
    fn asking(&self) -> (u64, u64) {
        let ended = self.ended.load(Ordering::SeqCst);
        let begun = self.begun.load(Ordering::SeqCst);
        (begun, begun.saturating_sub(ended))
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.of.ended.fetch_add(1, Ordering::SeqCst);
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
        let asking = self.producer_ids.ask();
        let mut taken = self.producer_ids.range.lock().await;
        let id = match taken.next_for(asking.number) {
            Some(id) => id,
            None => self.take_ids(&mut taken, context).await?,
        };
        // Before the lock is free: nobody may take an id for this caller, too.
        drop(asking);
        Ok(id)
    }

    /// Takes as many ids as there are callers, and gives the first.
    async fn take_ids(&self, taken: &mut Taken, context: &Context) -> Result<ProducerId, Error> {
        let (until, count) = self.producer_ids.asking();
        let count = count.clamp(1, RANGE);
        let command = Command::AllocateProducerIds { count };
        match self.metadata.propose(&command, context.deadline).await? {
            Reply::FirstProducerId(first) => {
                let ids = first.0.saturating_add(1)..first.0.saturating_add(count);
                *taken = Taken { ids, until };
                Ok(first)
            }
            other => {
                let message = format!("the metadata group answered {other:?}");
                Err(Error::new(Reason::Internal, message))
            }
        }
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
        if id.is_named() {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_are_left_are_not_given_to_who_asks_later() {
        let mut taken = Taken {
            ids: 5..7,
            until: 3,
        };
        assert_eq!(taken.next_for(2), Some(ProducerId(5)));
        assert_eq!(taken.next_for(3), None);
        assert_eq!(taken.next_for(0), Some(ProducerId(6)));
        assert_eq!(taken.next_for(1), None);
        assert_eq!(Taken::default().next_for(0), None);
    }

    #[test]
    fn as_many_ids_are_taken_as_callers_are_asking() {
        let ids = ProducerIds::default();
        let (first, second) = (ids.ask(), ids.ask());
        assert_eq!(ids.asking(), (2, 2));
        drop(first);
        assert_eq!(ids.asking(), (2, 1));
        assert_eq!((second.number, ids.ask().number), (1, 2));
        assert_eq!(ids.asking(), (3, 1));
    }
}
