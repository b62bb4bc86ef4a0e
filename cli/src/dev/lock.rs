//! One command at a time changes a development cluster.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The right to change the cluster in a directory, until it is dropped or the program ends. Brokers
/// that are started meanwhile do not inherit it.
#[derive(Debug)]
pub(crate) struct DirLock {
    _held: File,
}

/// Why a cluster may not be changed now.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockError {
    /// Another command changes it.
    #[error("another `highwater dev up` or `dev down` is at work in {}", dir.display())]
    Busy { dir: PathBuf },
    /// The file system refused.
    #[error("locking {}: {error}", dir.display())]
    Io { dir: PathBuf, error: io::Error },
}

impl DirLock {
    /// Takes the right for `dir`, which must be there; does not wait. The lock is on the directory itself:
    /// the file of the state is replaced with each change.
    pub(crate) fn take(dir: &Path) -> Result<Self, LockError> {
        let failed = |error| LockError::Io {
            dir: dir.to_owned(),
            error,
        };
        loop {
            let held = File::open(dir).map_err(failed)?;
            match held.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(LockError::Busy {
                        dir: dir.to_owned(),
                    });
                }
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
            // A `down --purge` may have removed what was opened, and another `up` made it anew.
            let (mine, there) = (held.metadata(), fs::metadata(dir));
            if mine.map_err(failed)?.ino() == there.map_err(failed)?.ino() {
                return Ok(Self { _held: held });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_changed_by_one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let held = DirLock::take(dir.path()).unwrap();
        let refused = DirLock::take(dir.path());
        assert!(
            matches!(refused, Err(LockError::Busy { .. })),
            "{refused:?}"
        );
        drop(held);
        DirLock::take(dir.path()).unwrap();
    }

    #[test]
    fn what_is_not_there_cannot_be_locked() {
        let dir = tempfile::tempdir().unwrap();
        let refused = DirLock::take(&dir.path().join("none"));
        assert!(matches!(refused, Err(LockError::Io { .. })), "{refused:?}");
    }
}
