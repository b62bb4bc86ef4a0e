//! When something came, and for how long nothing did.

use std::ops::Range;
use std::time::{Duration, Instant};

/// What comes closer together than this counts as one moment.
const MOMENT: Duration = Duration::from_millis(1);

/// The moments at which something came, in order.
#[derive(Debug, Default)]
pub(super) struct Moments(Vec<Instant>);

impl Moments {
    /// Something came now.
    pub(super) fn note(&mut self) {
        let now = Instant::now();
        let new = |last: &Instant| now.duration_since(*last) >= MOMENT;
        if self.0.last().is_none_or(new) {
            self.0.push(now);
        }
    }

    /// Of the times in which nothing came, the longest that ended within `outage`.
    #[track_caller]
    pub(super) fn longest_silence(&self, outage: &Range<Instant>) -> Range<Instant> {
        let pairs = self.0.windows(2).map(|pair| pair[0]..pair[1]);
        let within = pairs.filter(|silence| outage.contains(&silence.end));
        let longest = within.max_by_key(|silence| silence.end.duration_since(silence.start));
        longest.expect("something came during the outage")
    }
}
