//! Work on files that may block, on the threads of the data directory.

use std::io;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::log::{Dir, Job};

/// Runs work after all other background work.
pub(crate) async fn offloaded<T: Send + 'static>(
    dir: &Arc<dyn Dir>,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    run(|job| dir.offload(job), work).await
}

/// Runs work that somebody waits for beside other such work.
pub(crate) async fn beside<T: Send + 'static>(
    dir: &Arc<dyn Dir>,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    run(|job| dir.run_beside(job), work).await
}

/// Runs work that may take minutes after other such work, beside everything else.
pub(crate) async fn apart<T: Send + 'static>(
    dir: &Arc<dyn Dir>,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    run(|job| dir.run_apart(job), work).await
}

async fn run<T: Send + 'static>(
    start: impl FnOnce(Job),
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let (done, result) = oneshot::channel();
    start(Box::new(move || drop(done.send(work()))));
    result
        .await
        .map_err(|_| io::Error::other("the I/O threads have ended"))
}
