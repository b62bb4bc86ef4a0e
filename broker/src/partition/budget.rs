//! What may be on its way into a partition. A batch counts from when it comes until it is committed or
//! refused, also when nobody waits for it any more: its bytes are held for so long.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::append::elsewhere;
use super::error::AppendError;
use super::partition::Partition;

/// Bytes of batches that may be on their way into one partition.
pub(super) const BUDGET_BYTES: u32 = 32 << 20;
/// How long a batch that waits for its share goes without a look at whether it may be proposed at all.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// The bytes that a partition takes. Clones are the same one.
#[derive(Debug, Clone)]
pub(super) struct Budget(Arc<Semaphore>);

/// A batch's share of the budget, or that of all batches of an entry; given back when dropped.
pub(super) type Share = OwnedSemaphorePermit;

impl Default for Budget {
    /// All of it.
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(BUDGET_BYTES as usize)))
    }
}

impl Budget {
    /// Waits, in the order of the calls, until a batch of `bytes` fits.
    pub(super) async fn share(&self, bytes: u32) -> Result<Share, AppendError> {
        let permits = bytes.clamp(1, BUDGET_BYTES);
        let share = Arc::clone(&self.0).acquire_many_owned(permits).await;
        share.map_err(|_| AppendError::Stopped("the partition is closed".to_owned()))
    }

    /// Bytes of batches that are on their way.
    pub(super) fn taken(&self) -> u64 {
        let left = u32::try_from(self.0.available_permits()).unwrap_or(u32::MAX);
        u64::from(BUDGET_BYTES.saturating_sub(left))
    }
}

impl Partition {
    /// A batch's share, as soon as there is room. Meanwhile it is refused for what it would be refused
    /// for if it had one: without a majority what is on its way may stay so for ever.
    pub(super) async fn share(&self, bytes: u32) -> Result<Share, AppendError> {
        let mut share = pin!(self.budget.share(bytes));
        // Most need not wait.
        if let Some(share) = share.as_mut().now_or_never() {
            return share;
        }
        loop {
            self.may_wait()?;
            tokio::select! {
                biased;
                share = &mut share => return share,
                // Nothing tells of a majority that cannot be reached any more.
                () = tokio::time::sleep(ASK_AGAIN) => {}
            }
        }
    }

    fn may_wait(&self) -> Result<(), AppendError> {
        let leadership = *self.leadership.borrow();
        let permitted = self.trimmer.may_propose();
        let refused = match leadership.mine {
            true => permitted,
            false => Err(elsewhere(&leadership, &permitted)),
        };
        match refused {
            // It is waited for, with or without a share.
            Err(AppendError::NotReady) => Ok(()),
            refused => refused,
        }
    }

    /// Takes all of the budget: the partition takes nothing until the result is dropped.
    #[cfg(test)]
    pub(crate) async fn fill(&self) -> Share {
        self.budget.share(BUDGET_BYTES).await.unwrap()
    }
}
