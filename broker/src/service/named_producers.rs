//! Named producers. A name's next epoch holds from the moment in which no batch of an earlier one
//! can be appended any more, on no partition:
//!
//! - a partition takes batches of an epoch that it does not know only after the metadata group has
//!   noted that this epoch writes there, and the group notes the current epoch alone;
//! - whoever takes the name over fences every partition so noted, with an entry in its log, before
//!   it is told its epoch.
//!
//! So a predecessor either is noted and fenced, or is not noted and refused. Nothing here relies on
//! time, and a batch of an epoch that a partition knows costs no question to anybody.

use std::sync::Arc;
use std::time::Duration;

use highwater_proto::pb::peer::{FenceProducerRequest, FenceProducerResponse};
use highwater_proto::pb::v1;
use highwater_proto::{ProducerEpoch, ProducerId, ProducerName, Reason};

use super::routing::Target;
use super::{Context, Error, Resource, Services};
use crate::cluster::{Command, NamedProducer, ProducerIncarnation, RETIRED, Reply, TOUCH_EVERY};
use crate::partition::Partition;

/// How long a partition waits for the metadata group to note a producer.
const NOTE_WITHIN: Duration = Duration::from_secs(5);

/// A producer's identity, and what must be done before it holds.
#[derive(Debug)]
pub struct Initialized {
    /// The answer.
    pub response: v1::InitProducerResponse,
    /// What to fence, at the leaders of the partitions.
    pub fences: Vec<FenceProducerRequest>,
}

impl Services {
    /// The next epoch of a name.
    pub(super) async fn init_named(
        &self,
        context: &Context,
        request: &v1::InitProducerRequest,
    ) -> Result<Initialized, Error> {
        let name = ProducerName::parse(&request.name);
        let name = name.map_err(|error| Error::invalid(format!("{:?}: {error}", request.name)))?;
        let command = Command::InitNamedProducer {
            name,
            held: held(request)?,
            attempt: match request.attempt {
                0 => self.random_number(),
                given => given,
            },
        };
        let producer = match self.metadata.propose(&command, context.deadline).await? {
            Reply::NamedProducer(producer) => producer,
            other => {
                let message = format!("the metadata group answered {other:?}");
                return Err(Error::new(Reason::Internal, message));
            }
        };
        let state = self.metadata.state();
        let named = state.named_producer(producer.id);
        let named = in_force(named, producer)?;
        Ok(Initialized {
            response: self.initialized(producer),
            fences: self.fences(named),
        })
    }

    fn random_number(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = (self.random)();
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    /// What ends every earlier life of the producer.
    fn fences(&self, named: &NamedProducer) -> Vec<FenceProducerRequest> {
        let current = named.incarnation;
        let retired = named.previous.map(|id| (id, RETIRED));
        let ended: Vec<(ProducerId, ProducerEpoch)> = retired
            .into_iter()
            .chain((current.epoch.0 > 0).then_some((current.id, current.epoch)))
            .collect();
        let state = self.metadata.state();
        let mut fences = Vec::new();
        for (topic, partition) in &named.partitions {
            // A topic that is gone has nothing to fence.
            let Some(topic) = state.topic(*topic) else {
                continue;
            };
            fences.extend(ended.iter().map(|(id, epoch)| FenceProducerRequest {
                topic: topic.name.to_string(),
                topic_id: topic.id.to_string(),
                partition: i32::try_from(partition.0).unwrap_or(i32::MAX),
                producer_id: id.0,
                epoch: epoch.0.into(),
            }));
        }
        fences
    }

    /// Fences a partition that is led here.
    pub async fn fence_producer(
        self: &Arc<Self>,
        context: &Context,
        request: FenceProducerRequest,
    ) -> Result<FenceProducerResponse, Error> {
        context.authorize("highwater.v1.LogService/InitProducer", Resource::Cluster)?;
        let target = self
            .target(&request.topic, &request.topic_id, request.partition)
            .await?;
        let epoch = u16::try_from(request.epoch);
        let epoch = epoch.map_err(|_| Error::invalid("the epoch is beyond the largest"))?;
        let partition = self.local(&target)?;
        let fence = partition.fence(ProducerId(request.producer_id), ProducerEpoch(epoch));
        let fenced = match tokio::time::timeout(context.deadline, fence).await {
            Ok(fenced) => fenced.map_err(|error| self.append_error(&target, error)),
            Err(_) => {
                let message = format!("the fence was not committed within {:?}", context.deadline);
                Err(Error::new(Reason::TimedOut, message))
            }
        };
        fenced.map(|()| FenceProducerResponse {})
    }

    /// Lets a batch of a named producer through if the partition knows its epoch, or after the
    /// metadata group has noted that this epoch writes here.
    pub(super) async fn admit_named(
        &self,
        target: &Target,
        partition: &Partition,
        producer: ProducerIncarnation,
    ) -> Result<(), Error> {
        let now = self.clock.now();
        let known = partition.producer_epoch(producer.id, now);
        if known.is_some_and(|known| known > producer.epoch) {
            // The append loop says so, with what it knows.
            return Ok(());
        }
        let state = self.metadata.state();
        let touched = state.named_producer(producer.id).map(|named| named.touched);
        let every = i64::try_from(TOUCH_EVERY.as_millis()).unwrap_or(i64::MAX);
        let recent = touched.is_some_and(|time| now.0.saturating_sub(time.0) < every);
        if recent && known == Some(producer.epoch) {
            return Ok(());
        }
        if !partition.replica().leadership_now().mine {
            return Err(self.elsewhere(target));
        }
        let command = Command::RegisterProducer {
            producer,
            topic: target.topic.id,
            partition: target.partition,
        };
        match self.metadata.propose(&command, NOTE_WITHIN).await {
            Ok(_) => Ok(()),
            // Whether it was noted is not known; that nothing was written is.
            Err(refusal) if refusal.reason == Reason::TimedOut => {
                Err(Error::new(Reason::NotReady, refusal.message))
            }
            Err(refusal) => Err(refusal.into()),
        }
    }
}

/// The producer as it is known here, if `given`, which the metadata group gave it, is its life still.
/// What is known here may be older than what the group gave: that nobody else took the name is known
/// to the group alone, which gives whoever asks again under the same attempt the same.
fn in_force(
    named: Option<&NamedProducer>,
    given: ProducerIncarnation,
) -> Result<&NamedProducer, Error> {
    let ProducerIncarnation { id, epoch } = given;
    match named {
        Some(named) if named.incarnation == given => Ok(named),
        Some(named) if named.incarnation.epoch > epoch => {
            let now = named.incarnation.epoch;
            let message = format!(
                "producer {id} was given epoch {epoch}, and its name was taken since: it has epoch {now}"
            );
            Err(Error::new(Reason::ProducerFenced, message))
        }
        Some(_) | None => {
            let message = format!(
                "the name has producer {id} with epoch {epoch}, which this broker has not learned in \
                 time: it is behind with the metadata; ask again under the same attempt"
            );
            Err(Error::new(Reason::TimedOut, message))
        }
    }
}

/// What the caller says that it holds.
fn held(request: &v1::InitProducerRequest) -> Result<Option<ProducerIncarnation>, Error> {
    if request.producer_id == 0 {
        return Ok(None);
    }
    let id = u64::try_from(request.producer_id).map(ProducerId);
    let epoch = i16::try_from(request.producer_epoch).ok();
    let epoch = epoch.filter(|epoch| *epoch >= 0);
    match (id, epoch) {
        (Ok(id), Some(epoch)) => Ok(Some(ProducerIncarnation {
            id,
            epoch: ProducerEpoch(epoch.unsigned_abs()),
        })),
        _ => {
            let (id, epoch) = (request.producer_id, request.producer_epoch);
            let message = format!("producer {id} with epoch {epoch} cannot be");
            Err(Error::invalid(message))
        }
    }
}

#[cfg(test)]
mod tests {
    use highwater_proto::{ClusterId, Timestamp};

    use super::*;
    use crate::cluster::ClusterState;

    #[test]
    fn a_broker_that_is_behind_does_not_say_that_a_name_was_taken() {
        let apply = |state: &mut ClusterState, command: &Command| {
            state.apply(&command.to_pb(), Timestamp(1)).unwrap()
        };
        let mut founded = ClusterState::new();
        let found = Command::FoundCluster {
            cluster: ClusterId::from_bytes([1; 16]),
            group_shards: 1,
        };
        apply(&mut founded, &found);
        let (mut states, mut lives) = (vec![founded], Vec::new());
        for attempt in 1..=3 {
            let command = Command::InitNamedProducer {
                name: ProducerName::parse("billing").unwrap(),
                held: None,
                attempt,
            };
            let mut next = states[states.len() - 1].clone();
            match apply(&mut next, &command) {
                Reply::NamedProducer(life) => lives.push(life),
                other => panic!("{other:?}"),
            }
            states.push(next);
        }
        // What a broker says of the second life that has learned of so many.
        let answer = |learned: usize| {
            let known = states[learned].named_producer(lives[1].id);
            in_force(known, lives[1]).map(|named| named.incarnation)
        };
        for learned in [0, 1] {
            assert_eq!(answer(learned).unwrap_err().reason, Reason::TimedOut);
        }
        assert_eq!(answer(2).unwrap(), lives[1]);
        assert_eq!(answer(3).unwrap_err().reason, Reason::ProducerFenced);
    }
}
