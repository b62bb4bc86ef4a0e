//! The client's only source of randomness: the seeds of the standard library's hash maps, which
//! every platform has. Good enough to spread retries and partitions, not for secrets.

use std::hash::{BuildHasher, Hasher, RandomState};

/// A number that nobody else is likely to have drawn.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
