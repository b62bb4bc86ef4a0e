//! Waiting for cold data without holding up the runtime's threads.

use std::io;

use super::Replica;
use super::blocking::beside_if_awaited;
use crate::log::{Cold, LogError, LogReader};

impl Replica {
    /// Reads the log on an I/O thread: for reads that walk over more than what is warmed before.
    pub async fn read_beside<T: Send + 'static>(
        &self,
        read: impl FnOnce(&LogReader) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        let reader = self.reader().clone();
        let read = beside_if_awaited(self.home(), move || read(&reader)).await;
        read.unwrap_or_else(|source: io::Error| {
            let (action, file) = ("read", "the log".to_owned());
            Err(LogError::Io {
                action,
                file,
                source,
            })
        })
    }
}

/// Resolves when what is cold has been read from the disk. After an error it must not be touched.
pub async fn make_resident(cold: Option<Cold>) -> Result<(), LogError> {
    let Some((cold, home)) = cold.and_then(|cold| cold.home().map(|home| (cold, home))) else {
        return Ok(());
    };
    // Without an answer the I/O threads have ended, and the broker with them.
    let read = beside_if_awaited(&home, move || cold.read()).await;
    read.unwrap_or(Ok(()))
}
