//! How much room a leader's followers say they have. Every answer to entries or to a heartbeat says
//! it, so what is known is soon renewed, also of a follower whose disk was full. A leader proposes
//! only what a majority has room for: what some of it could not take would keep the next leader
//! from committing anything.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use highwater_proto::ReplicaId;
use tokio::time::Instant;

/// How long a follower's word holds: longer than the time between two heartbeats.
const HOLDS: Duration = Duration::from_secs(5);
/// With so much room a follower is not kept in mind. More than a partition has on its way.
const PLENTY: u64 = 128 << 20;

/// What the followers with little room have said. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Rooms {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    count: AtomicUsize,
    // guards: who has little room, and since when; held for a look or a change
    little: Mutex<Little>,
}

type Little = BTreeMap<ReplicaId, (Instant, u64)>;

impl Rooms {
    /// A follower has room for so many bytes of entries.
    pub(super) fn note(&self, replica: ReplicaId, left: u64, now: Instant) {
        if left < PLENTY {
            self.change(|little| _ = little.insert(replica, (now, left)));
        } else if !self.all_have_plenty() {
            self.change(|little| _ = little.remove(&replica));
        }
    }

    /// What is asked for each batch.
    pub(super) fn all_have_plenty(&self) -> bool {
        self.shared.count.load(Ordering::Relaxed) == 0
    }

    /// The room of each follower that has little.
    pub(super) fn little(&self, now: Instant) -> BTreeMap<ReplicaId, u64> {
        self.change(|little| {
            little.retain(|_, (when, _)| now.duration_since(*when) < HOLDS);
            let left = little.iter().map(|(replica, (_, left))| (*replica, *left));
            left.collect()
        })
    }

    fn change<R>(&self, change: impl FnOnce(&mut Little) -> R) -> R {
        let mut little = self.lock();
        let result = change(&mut little);
        self.shared.count.store(little.len(), Ordering::Relaxed);
        result
    }

    fn lock(&self) -> MutexGuard<'_, Little> {
        let little = &self.shared.little;
        little.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::monotonic;

    #[test]
    fn a_word_holds_until_there_is_a_newer_one_or_it_is_old() {
        let (rooms, now) = (Rooms::default(), monotonic());
        rooms.note(ReplicaId(1), PLENTY, now);
        assert!(rooms.all_have_plenty());
        rooms.note(ReplicaId(1), 100, now);
        rooms.note(ReplicaId(2), 0, now);
        let expected = [(ReplicaId(1), 100), (ReplicaId(2), 0)];
        assert_eq!(rooms.little(now), BTreeMap::from(expected));
        rooms.note(ReplicaId(1), PLENTY, now);
        assert_eq!(rooms.little(now).len(), 1);
        assert!(!rooms.all_have_plenty());
        assert!(rooms.little(now + HOLDS).is_empty());
        assert!(rooms.all_have_plenty());
    }
}
