//! A clock that goes on evenly whatever happens to the wall clock: what is deleted by age, and the
//! times that say how old it is, must not depend on a wall clock that jumps.
//!
//! The wall clock says what time it is when a broker first starts; from then on the time since the
//! machine's start carries it on, also through restarts of the broker. Small differences are
//! corrections, and are followed. A larger one is a jump: which of the two is right nobody can tell
//! here, so the time goes on as if there had been none, until the wall clock is near again. When the
//! machine itself was started anew the time is never before the one that was last kept, and what the
//! wall clock is ahead of it counts as skipped. Other brokers may know better ([`GuardedClock::shift`]).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use highwater_proto::Timestamp;
use tokio::sync::watch;

use super::{Ages, Clock, Skips};

/// A larger difference between two looks at the clocks is a jump, in milliseconds.
const JUMP_MS: i64 = 1000;
/// What a wall clock may differ by when the broker starts again, and is still believed.
const NEAR_MS: i64 = 10_000;

/// What is kept of a clock from one life of the broker to the next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// Names one run of the machine's kernel; empty where that has no name.
    pub boot: Vec<u8>,
    /// The time minus that since the machine's start, in milliseconds.
    pub offset: i64,
    /// The time when this was kept, in milliseconds since 1970.
    pub time: i64,
    /// What was skipped before.
    pub skips: Skips,
}

/// The pure part: what time it is, from what the two clocks say.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    /// The wall clock minus the time since the machine's start, as believed; `None` before the first look.
    offset: Option<i64>,
    last: i64,
    jumped: bool,
    /// By how much the wall clock is ahead, while it is not followed.
    ahead: i64,
    skips: Skips,
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
    /// Goes on from what was kept, in the run of the kernel named `boot`, when the clocks say `wall`
    /// and `uptime` milliseconds.
    pub fn resume(kept: &Kept, boot: &[u8], wall: i64, uptime: i64) -> Self {
        let (offset, mut skips) = (kept.offset, kept.skips.clone());
        let carried = offset.saturating_add(uptime).max(kept.time);
        let same_run = !boot.is_empty() && boot == kept.boot;
        let near = wall.saturating_sub(carried).saturating_abs() <= NEAR_MS;
        let time = match same_run {
            true if near => wall.max(kept.time),
            true => carried,
            false => wall.max(kept.time),
        };
        let seen = if same_run { carried } else { kept.time };
        skips.note(seen, time);
        Self {
            offset: Some(time.saturating_sub(uptime)),
            last: kept.time,
            jumped: false,
            ahead: 0,
            skips,
        }
    }

    /// The time, when the clocks say `wall` and `uptime` milliseconds.
    pub fn look(&mut self, wall: i64, uptime: i64) -> Look {
        let seen = wall.saturating_sub(uptime);
        let offset = *self.offset.get_or_insert(seen);
        let ahead = seen.saturating_sub(offset);
        let jumps = ahead.saturating_abs() > JUMP_MS;
        if !jumps {
            self.offset = Some(seen);
        }
        let jumped = (jumps && !self.jumped).then_some(ahead);
        self.jumped = jumps;
        self.ahead = if jumps { ahead } else { 0 };
        let believed = self.offset.unwrap_or(seen).saturating_add(uptime);
        self.last = self.last.max(believed);
        Look {
            now: Timestamp(self.last),
            jumped,
        }
    }

    /// Others know that the time is another one: `by` milliseconds later, or earlier if negative. It
    /// is right after a look. What is skipped counts as such.
    pub fn shift(&mut self, by: i64) {
        let (from, to) = (self.last, self.last.saturating_add(by));
        self.offset = self.offset.map(|offset| offset.saturating_add(by));
        self.last = to;
        self.skips.cut(to);
        self.skips.note(from, to);
    }

    /// What is to be kept after a look, in the run of the kernel named `boot`.
    pub fn keep(&self, boot: &[u8]) -> Kept {
        Kept {
            boot: boot.to_vec(),
            offset: self.offset.unwrap_or_default(),
            time: self.last,
            skips: self.skips.clone(),
        }
    }
}

/// The time of a wall clock, guarded by the time since the machine's start.
#[derive(Debug)]
pub struct GuardedClock {
    wall: Arc<dyn Clock>,
    boot: Vec<u8>,
    is_new: bool,
    // guards: what is believed; held for a look only.
    guard: Mutex<Guard>,
    shifts: watch::Sender<()>,
}

impl GuardedClock {
    /// Guards `wall` from now on, in the run of the kernel named `boot`: goes on from what was kept,
    /// or takes its word where nothing was.
    pub fn new(wall: Arc<dyn Clock>, boot: Vec<u8>, kept: Option<&Kept>) -> Self {
        let guard = kept.map_or_else(Guard::default, |kept| {
            Guard::resume(kept, &boot, wall.now().0, wall.uptime())
        });
        Self {
            wall,
            boot,
            is_new: kept.is_none(),
            guard: Mutex::new(guard),
            shifts: watch::Sender::default(),
        }
    }

    /// Whether nothing was kept of it.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// A look at the clocks.
    fn look(&self) -> (MutexGuard<'_, Guard>, Timestamp) {
        let mut guard = self.guard.lock().unwrap_or_else(PoisonError::into_inner);
        let look = guard.look(self.wall.now().0, self.wall.uptime());
        if let Some(ahead_ms) = look.jumped {
            tracing::warn!(
                ahead_ms,
                "the wall clock jumped, or is not what it was when this broker last ran or what most \
                 brokers have; append times and retention go on without it until it is near again"
            );
        }
        (guard, look.now)
    }

    /// Takes the word of others that the time is `by` milliseconds later, or earlier if negative.
    pub fn shift(&self, by: i64) {
        self.look().0.shift(by);
        self.shifts.send_replace(());
    }

    /// By how many milliseconds the wall clock is ahead of the time that it does not agree with: after
    /// a jump, or when others were believed. 0 while it is followed.
    pub fn ahead_ms(&self) -> i64 {
        self.look().0.ahead
    }

    /// Changes when others were believed: what is kept is not true any more.
    pub fn shifts(&self) -> watch::Receiver<()> {
        self.shifts.subscribe()
    }

    /// What is to be kept of it.
    pub fn keep(&self) -> Kept {
        self.look().0.keep(&self.boot)
    }
}

impl Clock for GuardedClock {
    fn now(&self) -> Timestamp {
        self.look().1
    }

    fn uptime(&self) -> i64 {
        self.wall.uptime()
    }

    fn ages(&self) -> Ages {
        let (guard, now) = self.look();
        Ages::new(now, guard.skips.clone())
    }

    fn leaps(&self) -> Option<watch::Receiver<i64>> {
        self.wall.leaps()
    }
}

#[cfg(test)]
mod tests;
