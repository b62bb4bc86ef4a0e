//! How long anything may be told to take. Times are added to that of a clock, which ends somewhere.

use std::time::Duration;

/// What is longer than this counts as this: a year.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The time as it is used.
pub(crate) fn at_most_a_year(time: Duration) -> Duration {
    time.min(LONGEST)
}
