//! The time that records get which have none of their own.
//!
//! It is read for every record, so on Linux it is the time of the system's last tick, which costs a
//! fifth of a precise one and is at most some milliseconds old.

use highwater_proto::Timestamp;

#[cfg(target_os = "linux")]
pub(super) fn now() -> Timestamp {
    use rustix::time::{ClockId, clock_gettime};
    let time = clock_gettime(ClockId::RealtimeCoarse);
    let millis = time.tv_nsec / 1_000_000;
    Timestamp(time.tv_sec.saturating_mul(1000).saturating_add(millis))
}

#[cfg(not(target_os = "linux"))]
pub(super) fn now() -> Timestamp {
    use std::time::{SystemTime, UNIX_EPOCH};
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let millis = since.unwrap_or_default().as_millis();
    Timestamp(i64::try_from(millis).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn the_time_is_that_of_the_system_within_some_ticks() {
        let before = now();
        let precise = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let after = now();
        let precise = i64::try_from(precise.as_millis()).unwrap();
        assert!(before.0 <= precise, "{before:?} is after {precise}");
        assert!(
            after.0 >= precise - 100,
            "{after:?} is long before {precise}"
        );
    }
}
