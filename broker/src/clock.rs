//! The wall clock, the only place that reads it. Nothing but append times and logs depends on it.

use std::fmt::Debug;
use std::time::{SystemTime, UNIX_EPOCH};

use highwater_proto::Timestamp;

mod guarded;

pub use guarded::{Guard, GuardedClock};

/// Where the time comes from.
pub trait Clock: Debug + Send + Sync {
    /// The time now.
    fn now(&self) -> Timestamp;
}

/// The machine's wall clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

/// The monotonic time, for deadlines and failure detection; a simulation can hold and drive it.
pub fn monotonic() -> tokio::time::Instant {
    tokio::time::Instant::now()
}
