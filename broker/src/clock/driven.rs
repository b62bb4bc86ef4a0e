//! A clock for tests: the machine's, and the time that a test let pass at once.

use std::sync::Arc;
use std::time::Duration;

use highwater_proto::Timestamp;
use tokio::sync::watch;

use super::{Clock, SystemClock};

/// Shows the machine's time until it is advanced. Clones show the same time.
#[derive(Debug, Clone, Default)]
pub struct DrivenClock {
    /// The time that passed at once, in milliseconds.
    leapt: Arc<watch::Sender<i64>>,
}

impl DrivenClock {
    /// Lets time pass at once, as if everything had run meanwhile: nothing is skipped.
    pub fn advance(&self, by: Duration) {
        let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.leapt
            .send_modify(|leapt| *leapt = leapt.saturating_add(by));
    }

    fn leapt(&self) -> i64 {
        *self.leapt.borrow()
    }
}

impl Clock for DrivenClock {
    fn now(&self) -> Timestamp {
        Timestamp(SystemClock.now().0.saturating_add(self.leapt()))
    }

    fn uptime(&self) -> i64 {
        SystemClock.uptime().saturating_add(self.leapt())
    }

    fn leaps(&self) -> Option<watch::Receiver<i64>> {
        Some(self.leapt.subscribe())
    }
}
