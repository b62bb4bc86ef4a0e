//! What a log keeps its files to. It may change while the log is open, from any thread.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// What a file for one batch may have more than the batch: it is rounded, and has room for what Raft
/// cannot do without.
const AROUND: u64 = 128 << 10;

/// Whether a file is larger than any is made where files have at most `most` bytes. A batch that needs
/// more has a file for itself; a limit allows batches of twice its files.
pub fn is_oversized(file_len: u64, most: u64) -> bool {
    file_len > most.saturating_mul(2).saturating_add(AROUND)
}

/// The limits of a log's files.
#[derive(Debug)]
pub struct FileLimits {
    bytes: AtomicU64,
    /// `i64::MAX` for none.
    ms: AtomicI64,
}

impl FileLimits {
    /// Files of at most `bytes` bytes, unless one frame needs more, and of at most `ms`
    /// milliseconds from the first batch to the last.
    pub fn new(bytes: u64, ms: Option<i64>) -> Self {
        Self {
            bytes: AtomicU64::new(bytes),
            ms: AtomicI64::new(ms.unwrap_or(i64::MAX)),
        }
    }

    /// Changes the limits, for files begun from now on. A file that is much larger than it might be
    /// is not written on.
    pub fn set(&self, bytes: u64, ms: Option<i64>) {
        self.bytes.store(bytes, Ordering::Relaxed);
        self.ms.store(ms.unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// The largest size of a file.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn ms(&self) -> i64 {
        self.ms.load(Ordering::Relaxed)
    }

    /// Whether a file of this size is so large that nothing more is to be written to it.
    pub fn refuses(&self, file_len: u64) -> bool {
        is_oversized(file_len, self.bytes())
    }
}
