//! Why a command changes nothing.

use highwater_proto::Reason;

/// A command that was refused and changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The reason, as in the public API.
    pub reason: Reason,
    /// What, where, why.
    pub message: String,
}

impl Refusal {
    /// A refusal for `reason`; `message` says what, where and why.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }
}
