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

/// The same for reads, which are not begun when nobody waits any more by the time a thread has them:
/// who asks a slow disk again and again adds nothing to its work.
pub(super) async fn beside_if_awaited<T: Send + 'static>(
    dir: &Arc<dyn Dir>,
    read: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let (done, result) = oneshot::channel();
    dir.run_beside(Box::new(move || {
        if !done.is_closed() {
            drop(done.send(read()));
        }
    }));
    answer(result).await
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
    answer(result).await
}

async fn answer<T>(result: oneshot::Receiver<T>) -> io::Result<T> {
    result
        .await
        .map_err(|_| io::Error::other("the I/O threads have ended"))
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::poll;

    use super::*;
    use crate::log::HeldDisk;

    #[tokio::test]
    async fn what_nobody_waits_for_any_more_is_not_read_when_the_disk_comes_to_it() {
        let (mut disk, dir) = HeldDisk::new();
        let dir: Arc<dyn Dir> = Arc::new(dir);
        let done = Arc::new(AtomicUsize::new(0));
        let read = || {
            let done = Arc::clone(&done);
            move || done.fetch_add(1, Ordering::Relaxed)
        };
        disk.hold();
        // Clients that come and go while the disk stands still.
        for _ in 0..10 {
            let gone = pin!(beside_if_awaited(&dir, read()));
            assert!(poll!(gone).is_pending());
        }
        let mut waiting = pin!(beside_if_awaited(&dir, read()));
        assert!(poll!(waiting.as_mut()).is_pending());
        assert_eq!(disk.release(), 11);
        assert_eq!(waiting.await.unwrap(), 0, "it is the first");
        assert_eq!(done.load(Ordering::Relaxed), 1);
    }
}
