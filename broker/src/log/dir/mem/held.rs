//! A disk in memory that a test lets wait.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::MemDir;
use crate::log::Job;

/// Holds the jobs of a disk back, syncs and reads, while a test wants it.
pub(crate) struct HeldDisk {
    // guards: whether jobs are held; what is held is queued under it, so that none is forgotten
    held: Arc<Mutex<bool>>,
    jobs: UnboundedReceiver<Job>,
}

impl HeldDisk {
    /// A disk that holds nothing yet.
    pub(crate) fn new() -> (Self, MemDir) {
        let (queue, jobs) = unbounded_channel();
        let held = Arc::new(Mutex::new(false));
        let holds = Arc::clone(&held);
        let disk = MemDir::with_schedule(Arc::new(move |job: Job| {
            let is_held = holds.lock().unwrap_or_else(PoisonError::into_inner);
            if *is_held {
                return drop(queue.send(job));
            }
            drop(is_held);
            job();
        }));
        (Self { held, jobs }, disk)
    }

    /// Jobs wait from now on.
    pub(crate) fn hold(&self) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }

    /// The next job that is held, once there is one.
    pub(crate) async fn next(&mut self) -> Job {
        self.jobs.recv().await.expect("the disk is there")
    }

    /// Does what was held, in order; gives how much it was. Nothing waits from now on.
    pub(crate) fn release(&mut self) -> usize {
        let held: Vec<Job> = {
            let mut is_held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            *is_held = false;
            std::iter::from_fn(|| self.jobs.try_recv().ok()).collect()
        };
        let count = held.len();
        held.into_iter().for_each(|job| job());
        count
    }
}
