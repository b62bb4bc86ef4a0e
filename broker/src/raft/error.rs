//! Why a replica cannot be opened, or cannot do what it is asked.

use super::WireError;

/// Why a replica cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Stored state does not parse.
    #[error("a stored vote or position does not parse: {0}")]
    Stored(#[from] WireError),
    /// The log holds a term above the vote: the vote was lost or rolled back, and the replica might
    /// vote twice in one term.
    #[error("the log holds term {log} and the stored vote term {vote}: the vote was lost")]
    VoteLost {
        /// The term of the last entry.
        log: u64,
        /// The term of the vote.
        vote: u64,
    },
    /// A file cannot be read.
    #[error("the saved state cannot be read: {0}")]
    Io(#[from] std::io::Error),
    /// The log is whole, and the state before its first entry is lost: other replicas have it.
    #[error("the state before the replica's log is lost: {0}")]
    StateLost(String),
    /// The log and the state before its first entry do not fit together.
    #[error("the replica's log is incomplete: {0}")]
    Floor(String),
    /// openraft refused to start.
    #[error("the group does not start: {0}")]
    Raft(String),
}

/// Why a proposal was not accepted, or what is known of its fate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// It may or may not be committed.
    #[error("whether the entry was committed is not known: {0}")]
    Unknown(String),
    /// It was not written, and never will be.
    #[error("nothing was written: {0}")]
    Refused(String),
    /// The replica's core has ended; nothing was proposed.
    #[error("the group has stopped: {0}")]
    Stopped(String),
}

/// Why a linearizable read cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("leadership could not be confirmed: {0}")]
pub struct ReadError(pub String);
