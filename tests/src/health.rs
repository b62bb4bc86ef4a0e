//! Waiting for what the health of a cluster says.

use std::time::{Duration, Instant};

use crate::program::Run;

const LIMIT: Duration = Duration::from_secs(60);

/// Looks at the health until it is bad and every part is said: brokers learn from each other what is
/// out, and that takes its time.
#[track_caller]
pub(crate) fn unhealthy(look: impl Fn() -> Run, parts: &[&str]) -> String {
    let deadline = Instant::now() + LIMIT;
    loop {
        let seen = look().end();
        let said = seen.text();
        if seen.code == Some(1) && parts.iter().all(|part| said.contains(part)) {
            return said.to_owned();
        }
        assert!(Instant::now() < deadline, "not all of {parts:?}: {seen}");
    }
}
