//! What a leader is asked to write, and what becomes of it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use highwater_proto::{Term, Timestamp};
use openraft::ReadPolicy;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::error::{ProposeError, ReadError};
use super::line::Line;
use super::replica::Replica;
use super::types::{Answer, CommittedLeaderId, Proposal, ProposalKind, Reply, Written, is_refused};

/// The fate of a proposal: resolves when it is applied, or when that can no longer be told.
pub type Answered = Pin<Box<dyn Future<Output = Result<Reply, ProposeError>> + Send>>;

/// Resolves when an entry is applied behind which nothing from before comes.
#[derive(Debug)]
pub struct Settling(oneshot::Receiver<Written>);

impl Future for Settling {
    type Output = Result<(), ProposeError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let fate = Pin::new(&mut self.0).poll(context);
        fate.map(|fate| decode(fate).map(drop))
    }
}

impl Replica {
    /// Proposes an entry in `term`; a leader of another term refuses it, and so does one that no
    /// majority has answered for a lease. The first await hands it to the core, in the order of the
    /// calls; the result resolves with its fate.
    pub async fn propose(&self, term: Term, proposal: Proposal) -> Result<Answered, ProposeError> {
        self.propose_with(term, proposal, None).await
    }

    /// The same, and `share` is given back when the entry is applied or refused, or never will be;
    /// before the result is known, and also when nobody waits for that.
    pub async fn propose_with(
        &self,
        term: Term,
        proposal: Proposal,
        share: Option<OwnedSemaphorePermit>,
    ) -> Result<Answered, ProposeError> {
        let fate = self.hand_over(term, proposal, share).await?;
        Ok(Box::pin(async move {
            match decode(fate.await)? {
                // A blank entry stands where it would have been.
                Reply::Nothing => Err(ProposeError::Refused(
                    "an entry that goes before it was refused".to_owned(),
                )),
                reply => Ok(reply),
            }
        }))
    }

    /// Resolves when a majority answers this leader of `term`, and what it gives when everything that
    /// was handed over before is applied or never will be.
    pub async fn settle(&self, term: Term) -> Result<Settling, ProposeError> {
        // An expired lease begins anew with the answers.
        let barrier = self.read_barrier().await;
        barrier.map_err(|error| ProposeError::Refused(error.to_string()))?;
        let blank = Proposal {
            kind: ProposalKind::Command,
            body: Bytes::new(),
            append_time: Timestamp(0),
            line: Line::ended(),
        };
        let fate = self.hand_over(term, blank, None).await?;
        Ok(Settling(fate))
    }

    async fn hand_over(
        &self,
        term: Term,
        proposal: Proposal,
        share: Option<OwnedSemaphorePermit>,
    ) -> Result<oneshot::Receiver<Written>, ProposeError> {
        let (answer, fate) = Answer::channel(proposal.line.clone(), share, is_refused);
        let written = self
            .raft()
            .write(proposal)
            .with_leader(CommittedLeaderId { term: term.0 })
            .responder(answer)
            .await;
        written.map_err(|fatal| ProposeError::Stopped(fatal.to_string()))?;
        Ok(fate)
    }

    /// Waits until everything committed before the call is applied here and this replica is known
    /// to lead (ReadIndex; leases are never trusted).
    pub async fn read_barrier(&self) -> Result<(), ReadError> {
        let barrier = self.raft().ensure_linearizable(ReadPolicy::ReadIndex).await;
        barrier.map(drop).map_err(|e| ReadError(e.to_string()))
    }
}

fn decode(fate: Result<Written, oneshot::error::RecvError>) -> Result<Reply, ProposeError> {
    match fate {
        Ok(Ok(response)) => Ok(response.data),
        Ok(written) if is_refused(&written) => {
            let why = written
                .err()
                .map_or_else(String::new, |error| error.to_string());
            Err(ProposeError::Refused(why))
        }
        Ok(Err(error)) => Err(ProposeError::Unknown(error.to_string())),
        Err(_) => Err(ProposeError::Unknown("the group stopped".to_owned())),
    }
}
