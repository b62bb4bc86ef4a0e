//! What can go wrong in a log, said so that the reader knows what, where and what next.

use std::io;

use highwater_proto::{LogIndex, Offset, Term};

use super::body::BodyError;
use super::dir::SyncError;
use super::room::NoRoom;
use super::segment_header::HeaderFault;

/// Bytes that were durable and are not what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file} is damaged at byte {position}: {reason}")]
pub struct Damage {
    /// The file's name within the log's directory.
    pub file: String,
    /// The first byte that cannot be trusted.
    pub position: u32,
    /// The first entry that is affected, when that can be told.
    pub first_bad_index: Option<LogIndex>,
    /// What is wrong there.
    pub reason: String,
}

/// Why an operation on an open log failed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The disk refused an operation. After a failed write or sync the log accepts nothing more.
    #[error("cannot {action} {file}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// No room for the next file; nothing was written and the log can be used on.
    #[error(transparent)]
    Full(NoRoom),
    /// An earlier write or sync failed; what is on the disk is unknown until the log is reopened.
    #[error("the log stopped after a failed write or sync ({0}); reopen it to recover")]
    Poisoned(SyncError),
    /// A frame that does not follow the last one.
    #[error("entry {found} of term {term} cannot follow entry {last:?} of term {last_term:?}")]
    OutOfOrder {
        /// The entry's index.
        found: LogIndex,
        /// The entry's term.
        term: Term,
        /// The last entry of the log.
        last: Option<LogIndex>,
        /// Its term.
        last_term: Option<Term>,
    },
    /// The leader's head is not what this log computes for the entry: the logs differ before it.
    #[error("entry {index} has chain {theirs:08x} at the leader and {ours:08x} here: {difference}")]
    Diverged {
        /// The entry.
        index: LogIndex,
        /// The chain in the leader's head.
        theirs: u32,
        /// The chain computed here.
        ours: u32,
        /// Which field differs first.
        difference: &'static str,
    },
    /// A body that is not what its kind says.
    #[error("entry {index} is malformed and was not written: {reason}")]
    Malformed {
        /// The entry.
        index: LogIndex,
        /// What is wrong.
        reason: BodyError,
    },
    /// A received body whose bytes do not match their CRC.
    #[error("entry {index} was damaged on its way and was not written: its CRC does not match")]
    Corrupt {
        /// The entry.
        index: LogIndex,
    },
    /// A body longer than any log takes, or offsets past the end of their number space.
    #[error("entry {index} with a body of {bytes} bytes is too large; at most 256 MiB are taken")]
    TooLarge {
        /// The entry.
        index: LogIndex,
        /// The length of its body.
        bytes: usize,
    },
    /// A truncation after an entry that is not in the log.
    #[error("cannot truncate after entry {index}: the log has entries {first} to {last:?}")]
    TruncateOutside {
        /// The entry to keep as the last.
        index: LogIndex,
        /// The first entry of the log.
        first: LogIndex,
        /// The last entry of the log.
        last: Option<LogIndex>,
    },
    /// Entries that were purged.
    #[error("entry {index} was purged; the log begins at entry {first}")]
    Purged {
        /// The entry asked for.
        index: LogIndex,
        /// The first entry that can be read.
        first: LogIndex,
    },
    /// Records that were deleted.
    #[error("offset {offset} is below the log start offset {log_start_offset}")]
    BelowLogStart {
        /// The offset asked for.
        offset: Offset,
        /// The first offset that can be read.
        log_start_offset: Offset,
    },
    /// Stored bytes are not what was written. Nothing of them is served.
    #[error("{0}; nothing of it is served, and the broker asks the other replicas for it")]
    Damaged(Damage),
}

impl LogError {
    pub(super) fn io(
        action: &'static str,
        file: impl Into<String>,
    ) -> impl FnOnce(io::Error) -> Self {
        let file = file.into();
        move |source| Self::Io {
            action,
            file,
            source,
        }
    }
}

/// Why a log could not be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk refused an operation.
    #[error("cannot {action} {file}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// Durable bytes are damaged: the replica must stay down until its peers gave them back.
    #[error(
        "{0}; the broker asks the other replicas for what was durable. Without any, restore the files from a copy"
    )]
    Damaged(Damage),
    /// More would be cut off than can ever have been unsynced.
    #[error("{damage}; cutting {bytes} bytes there is more than the {limit} that can be unsynced")]
    SuspiciousCut {
        /// Where the tail seems to be torn.
        damage: Damage,
        /// How many bytes of frames lie behind that.
        bytes: u64,
        /// How many at most can have been unsynced.
        limit: u64,
    },
    /// A file of a later version.
    #[error("{file}: {fault}; start the version that wrote it")]
    Unsupported {
        /// The file.
        file: String,
        /// What is not known.
        fault: String,
    },
    /// A file of another log.
    #[error("{file} is not a file of this replica: {fault}; move it away")]
    Foreign {
        /// The file.
        file: String,
        /// Whose it is.
        fault: HeaderFault,
    },
}

impl OpenError {
    pub(super) fn io(
        action: &'static str,
        file: impl Into<String>,
    ) -> impl FnOnce(io::Error) -> Self {
        let file = file.into();
        move |source| Self::Io {
            action,
            file,
            source,
        }
    }
}
