//! A clock that goes on evenly whatever happens to the wall clock: what is deleted by age, and the
//! times that say how old it is, must not depend on a wall clock that jumps.
//!
//! The wall clock says what time it is at the start; from then on the monotonic clock carries it on.
//! Small differences are corrections, and are followed. A larger one is a jump: which of the two is
//! right nobody can tell here, so the time goes on as if there had been none, until the wall clock is
//! near again or the broker starts anew. The time never goes back.

use std::sync::{Arc, Mutex, PoisonError};

use highwater_proto::Timestamp;
use tokio::time::Instant;

use super::{Clock, monotonic};

/// A larger difference between two looks at the clocks is a jump, in milliseconds.
const JUMP_MS: i64 = 1000;

/// The pure part: what time it is, from what the two clocks say.
#[derive(Debug, Clone, Copy, Default)]
pub struct Guard {
    /// The wall clock minus the monotonic one, as believed; `None` before the first look.
    offset: Option<i64>,
    last: i64,
    jumped: bool,
}

/// What a look at the clocks gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// The time.
    pub now: Timestamp,
    /// By how much the wall clock is ahead, when it has jumped since the last look.
    pub jumped: Option<i64>,
}

impl Guard {
    /// The time, when the clocks say `wall` and `monotonic` milliseconds.
    pub fn look(&mut self, wall: i64, monotonic: i64) -> Look {
        let seen = wall.saturating_sub(monotonic);
        let offset = *self.offset.get_or_insert(seen);
        let ahead = seen.saturating_sub(offset);
        let jumps = ahead.saturating_abs() > JUMP_MS;
        if !jumps {
            self.offset = Some(seen);
        }
        let jumped = (jumps && !self.jumped).then_some(ahead);
        self.jumped = jumps;
        let believed = self.offset.unwrap_or(seen).saturating_add(monotonic);
        self.last = self.last.max(believed);
        Look {
            now: Timestamp(self.last),
            jumped,
        }
    }
}

/// The time of a wall clock, guarded by the monotonic one.
#[derive(Debug)]
pub struct GuardedClock {
    wall: Arc<dyn Clock>,
    began: Instant,
    // guards: what is believed; held for a look only.
    guard: Mutex<Guard>,
}

impl GuardedClock {
    /// Guards `wall` from now on.
    pub fn new(wall: Arc<dyn Clock>) -> Self {
        Self {
            wall,
            began: monotonic(),
            guard: Mutex::default(),
        }
    }
}

impl Clock for GuardedClock {
    fn now(&self) -> Timestamp {
        let mut guard = self.guard.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX);
        let look = guard.look(self.wall.now().0, elapsed);
        if let Some(ahead_ms) = look.jumped {
            tracing::warn!(
                ahead_ms,
                "the wall clock jumped; append times and retention go on without it until it is \
                 near again or the broker starts anew"
            );
        }
        look.now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 60 * 60 * 1000;
    const START: i64 = 1_795_168_800_000;

    #[test]
    fn a_jump_of_a_day_either_way_changes_nothing() {
        for jump in [DAY, -DAY] {
            let mut guard = Guard::default();
            assert_eq!(guard.look(START, 7).now, Timestamp(START));
            let after = guard.look(START + jump + 10, 17);
            assert_eq!(
                (after.now, after.jumped),
                (Timestamp(START + 10), Some(jump))
            );
            let later = guard.look(START + jump + 5_010, 5_017);
            assert_eq!((later.now, later.jumped), (Timestamp(START + 5_010), None));
            let back = guard.look(START + 6_000, 6_007);
            assert_eq!(back.now, Timestamp(START + 6_000), "it is near again");
        }
    }

    #[test]
    fn small_corrections_are_followed() {
        let mut guard = Guard::default();
        guard.look(START, 0);
        assert_eq!(guard.look(START + 10_400, 10_000).now.0, START + 10_400);
        assert_eq!(guard.look(START + 21_300, 20_000).now.0, START + 21_300);
    }

    #[test]
    fn the_time_never_goes_back_and_never_stands_for_long() {
        let mut guard = Guard::default();
        guard.look(START, 0);
        assert_eq!(guard.look(START + 500, 1_000).now.0, START + 500);
        assert_eq!(guard.look(START + 300, 1_100).now.0, START + 500);
        assert_eq!(guard.look(START + 900, 1_700).now.0, START + 900);
    }

    #[derive(Debug)]
    struct Jumping(Mutex<i64>);

    impl Clock for Jumping {
        fn now(&self) -> Timestamp {
            Timestamp(*self.0.lock().unwrap())
        }
    }

    #[test]
    fn a_guarded_clock_goes_on_with_the_monotonic_one() {
        let wall = Arc::new(Jumping(Mutex::new(START)));
        let clock = GuardedClock::new(Arc::clone(&wall) as Arc<dyn Clock>);
        let mut last = clock.now();
        for jump in [DAY, -3 * DAY, DAY / 2] {
            *wall.0.lock().unwrap() += jump;
            let now = clock.now();
            assert!(last <= now && now.0 < START + DAY / 4, "{now:?}");
            last = now;
        }
    }
}
