//! How a log is to be kept.

use highwater_proto::{LogIndex, Term};

use super::segment_header::Owner;

/// The size of the first file of a log.
pub(super) const FIRST_SEGMENT_BYTES: u64 = 1 << 20;

/// How a log is to be kept.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// Whose log it is; every file says so, and files of others are refused.
    pub owner: Owner,
    /// A secret for a new log, from the caller's randomness: nobody can make a payload that passes
    /// for a frame of it. A log that exists keeps the one it began with.
    pub salt: u32,
    /// The size of the first segment file in bytes; each next is twice as large.
    pub first_segment_bytes: u64,
    /// The largest size of a segment file, unless one frame needs more.
    pub max_segment_bytes: u64,
    /// The longest time in milliseconds from the first entry of a file to its last.
    pub segment_ms: Option<i64>,
    /// How many bytes of frames may be written and not synced; more makes an append wait for a
    /// sync. It also bounds what recovery will ever cut off.
    pub max_unsynced_bytes: u64,
    /// The newest file known from elsewhere to have been durable; 0 for none. A log that ends
    /// before it has lost it.
    pub durable_file: u32,
    /// The first entry known from elsewhere not to have been purged. A log whose oldest file goes on
    /// from one that is gone, and begins behind this entry, has lost it. `None`: not known.
    pub unpurged: Option<LogIndex>,
    /// The term of the stored vote: no entry of a later term was ever written. `None`: not known.
    pub voted: Option<Term>,
}

impl LogOptions {
    /// The defaults: segments of 1 to 64 MiB, at most 16 MiB unsynced.
    pub fn new(owner: Owner) -> Self {
        Self {
            owner,
            salt: 0,
            first_segment_bytes: FIRST_SEGMENT_BYTES,
            max_segment_bytes: 64 << 20,
            segment_ms: None,
            max_unsynced_bytes: 16 << 20,
            durable_file: 0,
            unpurged: None,
            voted: None,
        }
    }
}
