//! The append loop: the only proposer of a partition. It judges sequences on what is applied and in
//! flight, stamps the append time, and proposes in order, tied to the term it judged in, so that a
//! judgement of one term never serves another.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::Shared;
use highwater_proto::batch::RecordBatch;
use highwater_proto::{Offset, Term, Timestamp};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::budget::{Budget, Share};
use super::error::AppendError;
use super::fence::FenceRequest;
use super::group::{Group, Merged};
use super::machine::{self, Published};
use super::producers::{self, Judgement};
use super::sequence::Sequenced;
use crate::clock::{Clock, monotonic};
use crate::log::Held;
use crate::metrics::Metrics;
use crate::raft::{
    Answered, Leadership, Line, Proposal, ProposalKind, ProposeError, Replica, Reply,
};

mod admit;
mod mend;
#[cfg(test)]
mod tests;

pub(super) use admit::elsewhere;
pub(super) use mend::Mending;

/// Batches taken up at once.
const TAKE: usize = 64;

/// Where a batch is in the log, for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The offset of its first record.
    pub base_offset: Offset,
    /// How many records it has.
    pub record_count: u32,
    /// When the leader appended it.
    pub append_time: Timestamp,
    /// The term of the leader that answers.
    pub term: Term,
    /// True when the batch had been appended before.
    pub duplicate: bool,
}

/// Says why the leader must not propose now, if it must not: a majority of the partition's voters
/// cannot be reached or has no room for the bytes that are on their way, or the broker is stopping
/// and others take over.
pub type Permission = Arc<dyn Fn(u64) -> Result<(), AppendError> + Send + Sync>;

/// A batch on its way to the loop.
pub(super) struct Request {
    pub(super) batch: RecordBatch,
    /// When it came to the partition.
    pub(super) arrived: Instant,
    /// Its bytes of the partition's budget, for as long as they are here.
    pub(super) share: Share,
    pub(super) answer: oneshot::Sender<Verdict>,
}

impl Request {
    /// Tells whoever waits, if anybody does, once the batch is gone.
    fn resolve(self, verdict: Verdict) {
        let Self { share, answer, .. } = self;
        drop(share);
        drop(answer.send(verdict));
    }
}

/// What comes to the loop, in order.
pub(super) enum Work {
    Batch(Request),
    Fence(FenceRequest),
}

/// What the loop decided about a batch.
pub(super) enum Verdict {
    Refused(AppendError),
    Known(Appended),
    Proposed {
        /// The fate of the entry, shared by its batches.
        fate: Shared<Answered>,
        term: Term,
        /// How many records of the entry come before the batch.
        before: u64,
        record_count: u32,
        proposed: Instant,
    },
}

impl Verdict {
    /// Waits until the batch is committed, or its fate cannot be told any more.
    pub(super) async fn resolve(self, metrics: &Metrics) -> Result<Appended, AppendError> {
        match self {
            Self::Refused(error) => Err(error),
            Self::Known(appended) => Ok(appended),
            Self::Proposed {
                fate,
                term,
                before,
                record_count,
                proposed,
            } => match fate.await {
                Ok(Reply::Batch {
                    base_offset,
                    append_time,
                }) => {
                    metrics.produce_commit.record(proposed.elapsed());
                    Ok(Appended {
                        base_offset: base_offset.plus(before),
                        record_count,
                        append_time,
                        term,
                        duplicate: false,
                    })
                }
                Ok(other) => Err(AppendError::Unknown(format!("the group answered {other}"))),
                Err(ProposeError::Unknown(why)) => Err(AppendError::Unknown(why)),
                Err(ProposeError::Refused(why)) => Err(AppendError::Refused(why)),
                Err(ProposeError::Stopped(why)) => Err(AppendError::Stopped(why)),
            },
        }
    }
}

/// The loop of one partition.
pub(super) struct AppendLoop {
    pub(super) replica: Replica,
    pub(super) shared: Arc<machine::Shared>,
    pub(super) leadership: watch::Receiver<Leadership>,
    pub(super) published: watch::Receiver<Published>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) permission: Permission,
    /// What is taken of it are the bytes of batches that are queued or not yet committed.
    pub(super) budget: Budget,
    /// The term that the proposals in flight belong to.
    pub(super) term: Term,
    pub(super) proposals: u64,
    /// What was judged on one another is written as a whole or up to the first that is refused.
    pub(super) line: Line,
    /// Wakes those who wait for what is on its way: what is cut off never comes.
    pub(super) cuts: watch::Receiver<bool>,
    /// How far it is with beginning a new line.
    pub(super) mending: Mending,
    /// What came before the leader was ready, in order: nothing that came later passes it.
    pub(super) early: Vec<Work>,
    /// Repetitions of batches in flight: judged again when more is applied. The batches of both have
    /// their shares of the partition's budget.
    pub(super) repeated: Vec<Request>,
    /// Judged, and proposed before the loop waits again.
    pub(super) group: Group,
}

impl AppendLoop {
    pub(super) async fn run(mut self, mut requests: mpsc::Receiver<Work>) {
        let mut taken = Vec::with_capacity(TAKE);
        // Apart from those that judging looks at: what is seen while one is judged must still wake
        // those that were judged before it.
        let (mut applied, mut led) = (self.published.clone(), self.leadership.clone());
        loop {
            let waiting = !(self.early.is_empty() && self.repeated.is_empty());
            let moved = tokio::select! {
                count = requests.recv_many(&mut taken, TAKE) => {
                    if count == 0 {
                        return;
                    }
                    // What comes at the same time shares an entry, a write and a sync.
                    tokio::task::yield_now().await;
                    while taken.len() < TAKE && let Ok(request) = requests.try_recv() {
                        taken.push(request);
                    }
                    false
                }
                _ = applied.changed(), if waiting => true,
                changed = led.changed(), if waiting => {
                    if changed.is_err() {
                        self.refuse_waiting();
                    }
                    true
                }
                _ = self.cuts.changed(), if waiting => true,
            };
            let moved = applied.borrow_and_update().has_changed() || moved;
            let moved = led.borrow_and_update().has_changed() || moved;
            let moved = self.line.is_cut() || moved;
            let repeated = if moved {
                std::mem::take(&mut self.repeated)
            } else {
                Vec::new()
            };
            // Batches of a producer must keep their order.
            let early = std::mem::take(&mut self.early);
            let waited = repeated.into_iter().map(Work::Batch).chain(early);
            for work in waited.chain(taken.drain(..)) {
                self.take(work).await;
            }
            self.propose().await;
        }
    }

    /// The replica has ended: nothing that is in flight will be applied here.
    fn refuse_waiting(&mut self) {
        let repeated = self.repeated.drain(..).map(Work::Batch);
        for work in self.early.drain(..).chain(repeated) {
            let error = AppendError::Stopped("its log has ended".to_owned());
            refuse(work, error);
        }
    }

    async fn take(&mut self, work: Work) {
        if self.line.is_cut() {
            // Those repeat what is cut off, and come first.
            let repeated = self.repeated.drain(..).map(Work::Batch);
            self.early.extend(repeated);
        }
        if !self.early.is_empty() {
            return self.early.push(work);
        }
        let admitted = self.admit(&work).await;
        let (term, held) = match admitted {
            Ok(admitted) => admitted,
            // The first entry of the term is on its way; what came meanwhile waits for it.
            Err(AppendError::NotReady) => return self.early.push(work),
            Err(error) => return refuse(work, error),
        };
        let request = match work {
            Work::Batch(request) => request,
            Work::Fence(fence) => return self.fence(fence, term).await,
        };
        let record_count = request.batch.record_count();
        let sequenced = sequenced(&request);
        match sequenced.map(|batch| self.judge(&batch, term, record_count)) {
            None | Some(Next::Propose) => self.gather(request, term, held).await,
            Some(Next::Park) => self.repeated.push(request),
            Some(Next::Answer(verdict)) => request.resolve(verdict),
        }
    }

    /// The term in which this replica leads and may judge.
    fn leading(&mut self) -> Result<Term, AppendError> {
        let leadership = *self.leadership.borrow_and_update();
        if !leadership.mine {
            let permitted = (self.permission)(self.on_its_way());
            return Err(elsewhere(&leadership, &permitted));
        }
        (self.permission)(self.on_its_way())?;
        let ready = self.published.borrow_and_update().term == leadership.term;
        if !ready {
            return Err(AppendError::NotReady);
        }
        if self.term != leadership.term {
            self.begin_line();
            self.term = leadership.term;
        }
        Ok(leadership.term)
    }

    fn judge(&mut self, batch: &Sequenced, term: Term, record_count: u32) -> Next {
        let producer = i64::try_from(batch.producer().0).unwrap_or(i64::MAX);
        let refused = |error| Next::Answer(Verdict::Refused(error));
        let now = self.clock.now();
        let mut state = self.shared.state();
        match state.producers().judge(batch, now) {
            Judgement::Fresh => {
                self.proposals += 1;
                let proposal = producers::Proposal(self.proposals);
                state.producers_mut().propose(*batch, proposal);
                Next::Propose
            }
            // Applied, and about to be published: whoever is told of it must be able to read it.
            Judgement::Duplicate { base_offset, .. }
                if self.published.borrow().high_watermark.offset() <= base_offset =>
            {
                Next::Park
            }
            Judgement::Duplicate {
                base_offset,
                append_time,
            } => {
                let duplicate = true;
                let known = Appended {
                    base_offset,
                    record_count,
                    append_time,
                    term,
                    duplicate,
                };
                Next::Answer(Verdict::Known(known))
            }
            Judgement::DuplicateInFlight(_) => Next::Park,
            Judgement::OldDuplicate => refused(AppendError::OldDuplicate {
                producer,
                sequence: batch.base().0,
            }),
            Judgement::Unknown => refused(AppendError::UnknownProducer {
                producer,
                actual: batch.base().0,
            }),
            Judgement::Gap { expected } => refused(AppendError::SequenceGap {
                producer,
                expected: expected.0,
                actual: batch.base().0,
            }),
            Judgement::Fenced { current } => refused(AppendError::Fenced {
                producer,
                current: current.0,
                actual: batch.epoch().0,
            }),
        }
    }

    /// Adds a batch to the group, proposing the group first if the batch does not fit in.
    async fn gather(&mut self, request: Request, term: Term, held: Option<Held>) {
        if !self.group.admits(request.batch.len(), term) {
            self.propose().await;
        }
        self.group.push(request, term, held);
    }

    /// Proposes what is gathered as one entry.
    pub(super) async fn propose(&mut self) {
        let Some(Merged {
            term,
            body,
            members,
            held,
            share,
        }) = self.group.take()
        else {
            return;
        };
        self.replica.room().propose(body.len());
        drop(held);
        let proposal = Proposal {
            kind: ProposalKind::Batch,
            body,
            append_time: self.clock.now(),
            line: self.line.clone(),
        };
        let now = monotonic();
        let fate = self.replica.propose_with(term, proposal, share).await;
        let fate = fate.map(FutureExt::shared);
        for member in members {
            let verdict = match &fate {
                Ok(fate) => Verdict::Proposed {
                    fate: fate.clone(),
                    term,
                    before: member.before,
                    record_count: member.record_count,
                    proposed: now,
                },
                Err(error) => Verdict::Refused(AppendError::Stopped(error.to_string())),
            };
            self.metrics.produce_queue.record(now - member.arrived);
            drop(member.answer.send(verdict));
        }
    }
}

enum Next {
    Propose,
    Park,
    Answer(Verdict),
}

fn sequenced(request: &Request) -> Option<Sequenced> {
    // Parsing has refused contradicting fields already.
    Sequenced::of(request.batch.header()).unwrap_or_default()
}

fn refuse(work: Work, error: AppendError) {
    match work {
        Work::Batch(request) => request.resolve(Verdict::Refused(error)),
        Work::Fence(fence) => fence.refuse(error),
    }
}
