//! Why a saved state is not taken.

use crate::cluster::refusal::Refusal;

/// Why a message is not a state that this version could have saved. The group must not go on with
/// it; another replica may have a sound one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the saved metadata is damaged or of a newer version: {0}")]
pub struct RestoreError(pub(super) String);

impl From<Refusal> for RestoreError {
    fn from(refusal: Refusal) -> Self {
        Self(refusal.message)
    }
}
