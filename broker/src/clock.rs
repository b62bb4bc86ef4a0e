//! The clocks, the only place that reads them. Nothing but append times, ages and logs depends on what
//! time it is.

use std::fmt::Debug;
use std::time::{SystemTime, UNIX_EPOCH};

use highwater_proto::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::watch;

mod ages;
mod driven;
mod guarded;

pub use ages::{Ages, Skips};
pub use driven::DrivenClock;
pub use guarded::{Guard, GuardedClock, Kept};

/// Where the time comes from.
pub trait Clock: Debug + Send + Sync {
    /// The time now.
    fn now(&self) -> Timestamp;

    /// Milliseconds since the machine was started, also those in which it slept. Never jumps.
    fn uptime(&self) -> i64;

    /// The time now, for judging how old something is.
    fn ages(&self) -> Ages {
        Ages::new(self.now(), Skips::default())
    }

    /// Changes when time has passed at once, of which no sleep knows; `None` where it never does.
    fn leaps(&self) -> Option<watch::Receiver<i64>> {
        None
    }
}

/// The machine's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn uptime(&self) -> i64 {
        let time = clock_gettime(ClockId::Boottime);
        time.tv_sec.saturating_mul(1000) + time.tv_nsec / 1_000_000
    }
}

/// The monotonic time, for deadlines and failure detection; a simulation can hold and drive it.
pub fn monotonic() -> tokio::time::Instant {
    tokio::time::Instant::now()
}
