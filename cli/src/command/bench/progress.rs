//! The progress line on stderr, where somebody can see it.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget};
use tokio::task::AbortHandle;

use super::load::Shared;

/// A line that counts records while it lives; nothing when stderr is no terminal.
#[derive(Debug)]
pub(super) struct Progress {
    shown: Option<(ProgressBar, AbortHandle)>,
}

impl Progress {
    /// Begins to show what the run has done.
    pub(super) fn start(shared: &Arc<Shared>) -> Self {
        if !io::stderr().is_terminal() {
            return Self { shown: None };
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(5))
            .with_message("warming up");
        let (shared, shown) = (Arc::clone(shared), bar.clone());
        let task = tokio::spawn(async move {
            let mut every = tokio::time::interval(Duration::from_millis(200));
            loop {
                every.tick().await;
                let sent = shared.sent.load(Ordering::Relaxed);
                let read = shared.read.load(Ordering::Relaxed);
                shown.set_message(format!("{sent} records sent, {read} read and verified"));
                shown.tick();
            }
        });
        Self {
            shown: Some((bar, task.abort_handle())),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((bar, task)) = &self.shown {
            task.abort();
            bar.finish_and_clear();
        }
    }
}
