//! Ending the epochs of a producer: an entry of the log, proposed by the append loop in order with
//! the batches, so that no batch of an ended epoch is judged after it.

use highwater_proto::{ProducerEpoch, ProducerId, Term, Timestamp};
use tokio::sync::oneshot;

use super::append::{AppendLoop, Work};
use super::command::Command;
use super::error::AppendError;
use super::machine::Shared;
use super::partition::Partition;
use crate::raft::{Answered, Proposal, ProposalKind, ProposeError, Reply};

/// A fence on its way to the loop.
pub(super) struct FenceRequest {
    pub(super) producer: ProducerId,
    /// The first epoch that may append.
    pub(super) epoch: ProducerEpoch,
    pub(super) answer: oneshot::Sender<FenceVerdict>,
}

/// What the loop decided about a fence.
pub(super) enum FenceVerdict {
    Refused(AppendError),
    /// It is in the log already.
    Known,
    Proposed(Answered),
}

impl FenceRequest {
    pub(super) fn refuse(self, error: AppendError) {
        drop(self.answer.send(FenceVerdict::Refused(error)));
    }
}

impl FenceVerdict {
    /// Waits until the fence is committed, or its fate cannot be told any more.
    pub(super) async fn resolve(self) -> Result<(), AppendError> {
        let fate = match self {
            Self::Refused(error) => return Err(error),
            Self::Known => return Ok(()),
            Self::Proposed(fate) => fate,
        };
        match fate.await {
            Ok(Reply::Command { .. }) => Ok(()),
            Ok(other) => Err(AppendError::Unknown(format!("the group answered {other}"))),
            Err(ProposeError::Unknown(why)) => Err(AppendError::Unknown(why)),
            Err(ProposeError::Refused(why)) => Err(AppendError::Refused(why)),
            Err(ProposeError::Stopped(why)) => Err(AppendError::Stopped(why)),
        }
    }
}

impl Partition {
    /// Ends the epochs of `producer` below `epoch`: once this is done, none of their batches is ever
    /// appended. Repeating it is harmless.
    pub async fn fence(
        &self,
        producer: ProducerId,
        epoch: ProducerEpoch,
    ) -> Result<(), AppendError> {
        let stopped = || AppendError::Stopped("the partition is closed".to_owned());
        let (answer, verdict) = oneshot::channel();
        let fence = FenceRequest {
            producer,
            epoch,
            answer,
        };
        let sent = self.requests.send(Work::Fence(fence)).await;
        sent.map_err(|_| stopped())?;
        verdict.await.map_err(|_| stopped())?.resolve().await
    }

    /// The epoch of a producer as far as this replica knows, what is on its way included.
    pub fn producer_epoch(&self, producer: ProducerId, now: Timestamp) -> Option<ProducerEpoch> {
        self.shared.state().producers().epoch(producer, now)
    }
}

impl AppendLoop {
    /// Proposes a fence behind what was judged before it.
    pub(super) async fn fence(&mut self, request: FenceRequest, term: Term) {
        let FenceRequest {
            producer,
            epoch,
            answer,
        } = request;
        let append_time = self.clock.now();
        if is_fenced(&self.shared, producer, epoch) {
            return drop(answer.send(FenceVerdict::Known));
        }
        self.propose().await;
        self.shared
            .state()
            .producers_mut()
            .propose_fence(producer, epoch);
        let proposal = Proposal {
            kind: ProposalKind::Command,
            body: Command::FenceProducer(producer, epoch).encode(),
            append_time,
            line: self.line.clone(),
        };
        let verdict = match self.replica.propose(term, proposal).await {
            Ok(fate) => FenceVerdict::Proposed(fate),
            Err(error) => FenceVerdict::Refused(AppendError::Stopped(error.to_string())),
        };
        drop(answer.send(verdict));
    }
}

fn is_fenced(shared: &Shared, id: ProducerId, epoch: ProducerEpoch) -> bool {
    shared.state().producers().is_fenced(id, epoch)
}
