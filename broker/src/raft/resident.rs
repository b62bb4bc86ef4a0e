//! Waiting for cold data without holding up the runtime's threads.

use tokio::sync::oneshot;

use crate::log::{Cold, LogError};

/// Resolves when what is cold has been read from the disk. After an error it must not be touched.
pub async fn make_resident(cold: Option<Cold>) -> Result<(), LogError> {
    let Some(cold) = cold else {
        return Ok(());
    };
    let (done, warm) = oneshot::channel();
    cold.warm(Box::new(move |result| _ = done.send(result)));
    // Without an answer the I/O threads have ended, and the broker with them.
    warm.await.unwrap_or(Ok(()))
}
