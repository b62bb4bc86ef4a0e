//! Replicas that are out of their groups: when each is tried again, and whether it has to be
//! repaired before.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use highwater_proto::ReplicaId;
use tokio::time::Instant;

use crate::clock;
use crate::service::FaultKind;

/// When a replica that is out of its group is tried again: at first, and at last.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
const AGAIN_AT_LAST: Duration = Duration::from_secs(60);
const AGAIN_WHILE_FULL: Duration = Duration::from_secs(2);

/// How the system ends its word that a file system is read-only (EROFS).
const READ_ONLY: &str = "(os error 30)";

/// Why a replica is out, with what to do where the whole directory at `place` is concerned.
pub(super) fn explained(why: &str, place: &str) -> String {
    if !why.contains(READ_ONLY) {
        return why.to_owned();
    }
    format!(
        "{why}; the file system of the data directory {place} has become read-only: check the disk \
         (dmesg), mount it writable again, and restart this broker"
    )
}

/// Replicas that could not be opened or have stopped.
#[derive(Debug, Default)]
pub(super) struct Broken {
    out: BTreeMap<ReplicaId, Out>,
    /// Those that were stopped and whose cores have not ended: nobody else may have their logs.
    ending: BTreeSet<ReplicaId>,
}

#[derive(Debug)]
struct Out {
    again_at: Instant,
    patience: Duration,
    damaged: bool,
    repairing: bool,
    /// Not tried again: its history differs.
    for_good: bool,
}

/// What is to be done with a replica that is not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Open,
    Repair,
    Wait,
}

impl Broken {
    /// Notes that a replica is out; it is tried again after a while, longer each time, unless its
    /// history differs. Gives back how long. A full disk is not broken, and may have room soon.
    pub(super) fn put(&mut self, replica: ReplicaId, kind: FaultKind, full: bool) -> Duration {
        self.put_at(replica, kind, full, clock::monotonic())
    }

    fn put_at(
        &mut self,
        replica: ReplicaId,
        kind: FaultKind,
        full: bool,
        now: Instant,
    ) -> Duration {
        let out = self.out.entry(replica).or_insert(Out {
            again_at: now,
            patience: Duration::ZERO,
            damaged: false,
            repairing: false,
            for_good: false,
        });
        let first = kind == FaultKind::Damaged && !out.damaged;
        out.damaged = kind == FaultKind::Damaged;
        out.repairing = false;
        out.for_good |= kind == FaultKind::Diverged;
        if !first {
            let at_last = if full {
                AGAIN_WHILE_FULL
            } else {
                AGAIN_AT_LAST
            };
            out.patience = (out.patience * 2).clamp(AGAIN_AFTER, at_last);
        }
        out.again_at = now + out.patience;
        out.patience
    }

    /// Notes that the core of a replica that was stopped goes on: until it has ended, nothing is done
    /// with the replica.
    pub(super) fn ends_late(&mut self, replica: ReplicaId) {
        self.ending.insert(replica);
    }

    /// Notes that it has ended.
    pub(super) fn has_ended(&mut self, replica: ReplicaId) {
        self.ending.remove(&replica);
    }

    /// The replica is open again, or is gone.
    pub(super) fn remove(&mut self, replica: ReplicaId) {
        self.out.remove(&replica);
    }

    /// Notes that a repair has begun; nothing else happens until it is over.
    pub(super) fn repairing(&mut self, replica: ReplicaId) {
        if let Some(out) = self.out.get_mut(&replica) {
            out.repairing = true;
        }
    }

    /// Whether a repair of the replica is under way, and somebody waits for it.
    pub(super) fn is_repairing(&self, replica: ReplicaId) -> bool {
        self.out.get(&replica).is_some_and(|out| out.repairing)
    }

    /// Notes that nothing of the replica is damaged any more: it is to be opened at once.
    pub(super) fn repaired(&mut self, replica: ReplicaId) {
        if let Some(out) = self.out.get_mut(&replica) {
            (out.damaged, out.repairing) = (false, false);
            out.again_at = clock::monotonic();
        }
    }

    /// What is to be done with a replica now.
    pub(super) fn next(&self, replica: ReplicaId) -> Next {
        self.next_after(replica, clock::monotonic())
    }

    fn next_after(&self, replica: ReplicaId, now: Instant) -> Next {
        match self.out.get(&replica) {
            _ if self.ending.contains(&replica) => Next::Wait,
            None => Next::Open,
            Some(out) if out.for_good || out.repairing || out.again_at > now => Next::Wait,
            Some(out) if out.damaged => Next::Repair,
            Some(_) => Next::Open,
        }
    }

    /// When something is to be tried again.
    pub(super) fn next_at(&self) -> Option<Instant> {
        let waiting = self.out.iter().filter(|(replica, out)| {
            !out.repairing && !out.for_good && !self.ending.contains(replica)
        });
        waiting.map(|(_, out)| out.again_at).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_only_file_system_is_named_by_its_directory_and_with_what_to_do() {
        let system = std::io::Error::from_raw_os_error(30);
        let why = explained(&format!("cannot write 00000001.seg: {system}"), "/data");
        for part in [
            "cannot write 00000001.seg",
            "directory /data ",
            "restart this broker",
        ] {
            assert!(why.contains(part), "{why}");
        }
        assert_eq!(explained("something else", "/data"), "something else");
    }

    const ID: ReplicaId = ReplicaId(3);

    /// How many seconds pass between so many attempts.
    fn waits(broken: &mut Broken, kind: FaultKind, full: bool, attempts: usize) -> Vec<u64> {
        let put = |_| broken.put(ID, kind, full).as_secs();
        (0..attempts).map(put).collect()
    }

    #[test]
    fn a_replica_that_stops_again_and_again_is_opened_after_1_2_4_to_60_seconds() {
        let (mut broken, mut now) = (Broken::default(), clock::monotonic());
        assert_eq!((broken.next(ID), broken.next_at()), (Next::Open, None));
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            let wait = Duration::from_secs(seconds);
            let kind = FaultKind::Stopped;
            assert_eq!(broken.put_at(ID, kind, false, now), wait);
            let before = now + wait - Duration::from_nanos(1);
            now += wait;
            assert_eq!(broken.next_at(), Some(now));
            assert_eq!(broken.next_after(ID, before), Next::Wait);
            assert_eq!(broken.next_after(ID, now), Next::Open);
        }
        broken.remove(ID);
        assert_eq!(broken.next_at(), None);
        assert_eq!(waits(&mut broken, FaultKind::Stopped, false, 1), [1]);
    }

    #[test]
    fn a_replica_on_a_full_disk_is_opened_every_two_seconds() {
        let mut broken = Broken::default();
        let kind = FaultKind::Stopped;
        assert_eq!(waits(&mut broken, kind, true, 4), [1, 2, 2, 2]);
        assert_eq!(waits(&mut broken, kind, false, 3), [4, 8, 16]);
        assert_eq!(waits(&mut broken, kind, true, 1), [2]);
    }

    #[test]
    fn a_damaged_replica_is_repaired_at_once_and_then_opened() {
        let mut broken = Broken::default();
        let kind = FaultKind::Damaged;
        assert_eq!(waits(&mut broken, kind, false, 1), [0]);
        broken.repairing(ID);
        assert_eq!((broken.next(ID), broken.next_at()), (Next::Wait, None));
        broken.repaired(ID);
        assert_eq!(broken.next(ID), Next::Open);
        assert_eq!(waits(&mut broken, kind, false, 3), [0, 1, 2]);
        let later = clock::monotonic() + Duration::from_secs(3);
        assert_eq!(broken.next_after(ID, later), Next::Repair);
    }

    #[test]
    fn a_replica_whose_history_differs_is_never_opened_again() {
        let mut broken = Broken::default();
        broken.put(ID, FaultKind::Diverged, false);
        broken.put(ID, FaultKind::Stopped, false);
        let later = clock::monotonic() + Duration::from_secs(3600);
        assert_eq!(broken.next_after(ID, later), Next::Wait);
        assert_eq!(broken.next_at(), None);
    }

    #[test]
    fn nothing_is_done_with_a_replica_before_its_old_core_has_ended() {
        let (mut broken, id, now) = (Broken::default(), ReplicaId(7), clock::monotonic());
        let later = now + Duration::from_secs(3600);
        for kind in [FaultKind::Stopped, FaultKind::Damaged] {
            broken.ends_late(id);
            assert_eq!(broken.next_after(id, later), Next::Wait);
            broken.put_at(id, kind, false, now);
            assert_eq!(broken.next_after(id, later), Next::Wait);
            assert_eq!(broken.next_at(), None, "it says so when it has ended");
            broken.has_ended(id);
            assert_ne!(broken.next_after(id, later), Next::Wait);
            assert!(broken.next_at().is_some());
            broken.remove(id);
        }
    }
}
