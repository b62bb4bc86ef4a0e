//! What a run has done so far, on the progress line.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::AbortHandle;

use crate::progress::ProgressLine;

use super::load::Shared;

/// A line that counts records while it lives.
#[derive(Debug)]
pub(super) struct Progress {
    line: ProgressLine,
    task: AbortHandle,
}

impl Progress {
    /// Begins to show what the run has done.
    pub(super) fn start(shared: &Arc<Shared>) -> Self {
        let line = ProgressLine::start();
        let (shared, shown) = (Arc::clone(shared), line.clone());
        let task = tokio::spawn(async move {
            let mut every = tokio::time::interval(Duration::from_millis(200));
            loop {
                every.tick().await;
                let sent = shared.sent.load(Ordering::Relaxed);
                let read = shared.read.load(Ordering::Relaxed);
                shown.show(|| format!("{sent} records sent, {read} read and verified"));
            }
        });
        Self {
            line,
            task: task.abort_handle(),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.task.abort();
        self.line.clear();
    }
}
