//! The only place that spawns: every task belongs to a group that can be cancelled and awaited.

use std::future::Future;

use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// A group of tasks with one life.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    cancel: CancellationToken,
}

impl Tasks {
    /// An empty group.
    pub fn new() -> Self {
        Self::default()
    }

    /// A group that ends with this one, or earlier by itself.
    #[must_use]
    pub fn child(&self) -> Self {
        Self {
            tracker: TaskTracker::new(),
            cancel: self.cancel.child_token(),
        }
    }

    /// Runs `future` until it ends or the group is cancelled, whichever is first.
    pub fn spawn<F>(&self, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let cancel = self.cancel.clone();
        self.tracker.spawn(async move {
            tokio::select! {
                () = cancel.cancelled() => {}
                () = future => {}
            }
        });
    }

    /// Resolves when the group is cancelled.
    pub async fn cancelled(&self) {
        self.cancel.cancelled().await;
    }

    /// True once the group is cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// Asks every task to end.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// Asks every task to end when what this gives is dropped, unless it was disarmed.
    pub fn guard(&self) -> DropGuard {
        self.cancel.clone().drop_guard()
    }

    /// Asks every task to end and waits until all have.
    pub async fn stop(&self) {
        self.cancel.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }

    /// Runs `future` on a thread and a runtime of its own, so that work elsewhere cannot make it
    /// late, until it ends or the group is cancelled. What it spawns runs there, too, and ends with
    /// it.
    pub fn dedicated<F>(&self, name: &str, future: F) -> std::io::Result<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let cancel = self.cancel.clone();
        let running = self.tracker.token();
        let thread = std::thread::Builder::new().name(name.to_owned());
        let run = move || {
            runtime.block_on(async {
                tokio::select! {
                    () = cancel.cancelled() => {}
                    () = future => {}
                }
            });
            drop(runtime);
            drop(running);
        };
        thread.spawn(run).map(drop)
    }
}

/// Runs `future` on a runtime that the caller need not be in, for work that ends what was started
/// there. It ends with the runtime, if that is earlier.
pub fn detached<F>(runtime: &tokio::runtime::Handle, future: F)
where
    F: Future<Output = ()> + Send + 'static,
{
    drop(runtime.spawn(future));
}
