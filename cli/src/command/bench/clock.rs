//! The time of a run: one monotonic clock for everyone who sends and reads, and the processor time
//! of this process.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds since the bench began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    begin: Instant,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self {
            begin: Instant::now(),
        }
    }

    pub(super) fn begin(self) -> Instant {
        self.begin
    }

    #[inline]
    pub(super) fn nanos(self) -> u64 {
        u64::try_from(self.begin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Processor time that this process has used so far, user and system, of all its threads.
pub(super) fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}
