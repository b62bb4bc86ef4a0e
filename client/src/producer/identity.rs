//! Who a producer is to the brokers: an id that nobody else has, or the next epoch of a name.

use highwater_proto::pb::v1;
use highwater_proto::{ProducerEpoch, ProducerId, Reason};

use tokio::time::Instant;

use crate::entropy;
use crate::error::{Error, Result};
use crate::metadata::Metadata;

/// A producer's identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) id: ProducerId,
    pub(crate) epoch: ProducerEpoch,
}

/// One asking for the next epoch of a name. However often it is sent, brokers give it one epoch, so
/// whoever got no answer asks under the same one: another would find the epoch that the first took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asking(u64);

impl Asking {
    /// An asking that is no other.
    pub(crate) fn draw() -> Self {
        Self(entropy::random() | 1)
    }
}

/// Asks for an identity until `deadline`. With a name, it ends whoever had the name before; with what
/// it `held` so far, only if nobody else has taken the name since.
pub(crate) async fn ask(
    metadata: &Metadata,
    name: Option<&str>,
    asking: Asking,
    held: Option<Identity>,
    deadline: Instant,
) -> Result<Identity> {
    let mut request = v1::InitProducerRequest::default();
    if let Some(name) = name {
        request.name = name.to_owned();
        request.attempt = asking.0;
        if let Some(held) = held {
            request.producer_id = i64::try_from(held.id.0).unwrap_or(i64::MAX);
            request.producer_epoch = held.epoch.0.into();
        }
    }
    let call = |api: crate::channels::Api| {
        let request = request.clone();
        async move {
            let answer = api.log().init_producer(request).await?;
            // Another cluster's identity may be that of somebody else here.
            metadata.of_this_cluster(&answer.get_ref().cluster_id)?;
            Ok(answer)
        }
    };
    metadata.ask_until(deadline, call).await.and_then(identity)
}

fn identity(answer: v1::InitProducerResponse) -> Result<Identity> {
    let id = u64::try_from(answer.producer_id).ok().map(ProducerId);
    let epoch = u16::try_from(answer.producer_epoch).ok().map(ProducerEpoch);
    match (id, epoch) {
        (Some(id), Some(epoch)) => Ok(Identity { id, epoch }),
        _ => {
            let (id, epoch) = (answer.producer_id, answer.producer_epoch);
            let message = format!("the broker gave a producer id that cannot be: {id}/{epoch}");
            Err(Error::new(Reason::Internal, message))
        }
    }
}
