//! Waiting for cold data without holding up the runtime's threads.

use std::io;
use std::time::Duration;

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

/// How long is waited at first for the system to have what a read needs; twice as long each next time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const PAUSE: Duration = Duration::from_secs(1);
/// How often is waited, 5.5 s in all.
const PAUSES: u32 = 8;

/// How often a read has waited whose error would end a replica, though a moment later the system can do
/// what it cannot now.
#[derive(Debug, Default)]
pub(super) struct Patience {
    pauses: u32,
}

impl Patience {
    /// Waits when the read is to be tried again. Gives back what is final: the system lacks something for
    /// long, or it is no such error. What the disk has lost does not come back.
    pub(super) async fn wait(&mut self, error: LogError) -> Result<(), LogError> {
        let Some(pause) = self.pause(&error) else {
            return Err(error);
        };
        if self.pauses == 1 {
            tracing::warn!(%error, "a replica tries again to read its log");
        }
        tokio::time::sleep(pause).await;
        Ok(())
    }

    fn pause(&mut self, error: &LogError) -> Option<Duration> {
        let may_pass = matches!(error, LogError::Io { .. }) && self.pauses < PAUSES;
        may_pass.then(|| {
            let pause = FIRST_PAUSE.saturating_mul(1 << self.pauses);
            self.pauses += 1;
            pause.min(PAUSE)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Damage;

    #[test]
    fn a_replica_waits_some_seconds_for_memory() {
        let error = LogError::Io {
            action: "read",
            file: "00000001.seg".to_owned(),
            source: io::ErrorKind::OutOfMemory.into(),
        };
        let mut patience = Patience::default();
        let pauses: Vec<_> = std::iter::from_fn(|| patience.pause(&error)).collect();
        assert_eq!(pauses[..2], [FIRST_PAUSE, 2 * FIRST_PAUSE]);
        assert!(pauses.iter().all(|pause| *pause <= PAUSE));
        let all: Duration = pauses.iter().sum();
        assert_eq!(all, Duration::from_millis(5_500));
    }

    #[tokio::test]
    async fn a_replica_does_not_wait_for_what_the_disk_has_lost() {
        let lost = LogError::Damaged(Damage {
            file: "00000001.seg".to_owned(),
            position: 64,
            first_bad_index: None,
            reason: "the disk cannot read it".to_owned(),
        });
        let mut patience = Patience::default();
        assert_eq!(patience.pause(&lost), None);
        let is_final = matches!(patience.wait(lost).await, Err(LogError::Damaged(_)));
        assert!(is_final);
    }
}
