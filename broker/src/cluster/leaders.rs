//! Who leads which group, as this broker knows: from its own replicas and from what other brokers
//! say of theirs in their answers to pings. The highest term wins.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use highwater_proto::{BrokerId, ReplicaId, Term};
use tokio::sync::watch;

use crate::raft::{GroupId, Leadership};

/// A leader: its broker, its replica, its term.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leader {
    /// The broker.
    pub broker: BrokerId,
    /// The replica.
    pub replica: ReplicaId,
    /// The term of the leadership.
    pub term: Term,
}

/// The table. Its version rises with every change.
#[derive(Debug)]
pub struct Leaders {
    me: BrokerId,
    // guards: the table; held for map operations only.
    table: Mutex<Table>,
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Table {
    /// What this broker's replicas know, their own leaderships included.
    seen: BTreeMap<GroupId, Leadership>,
    own_version: u64,
    others: BTreeMap<BrokerId, Announced>,
}

#[derive(Debug, Default)]
struct Announced {
    version: u64,
    groups: BTreeMap<GroupId, (ReplicaId, Term)>,
}

impl Leaders {
    /// An empty table. `first_version` must be above that of an earlier life of this broker.
    pub fn new(me: BrokerId, first_version: u64) -> Self {
        let table = Table {
            own_version: first_version,
            ..Table::default()
        };
        Self {
            me,
            table: Mutex::new(table),
            changed: watch::Sender::new(0),
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn notify(&self) {
        self.changed.send_modify(|version| *version += 1);
    }

    /// Resolves after changes of the table.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Takes what a replica here knows.
    pub fn see(&self, group: GroupId, leadership: Leadership) {
        let mut table = self.table();
        let before = table.seen.insert(group, leadership);
        if before == Some(leadership) {
            return;
        }
        if leadership.mine || before.is_some_and(|before| before.mine) {
            table.own_version += 1;
        }
        drop(table);
        self.notify();
    }

    /// Forgets a group whose replica here is gone.
    pub fn forget(&self, group: GroupId) {
        let mut table = self.table();
        if table.seen.remove(&group).is_some() {
            table.own_version += 1;
            drop(table);
            self.notify();
        }
    }

    /// The version of this broker's own leaderships, and all of them.
    pub fn own(&self) -> (u64, Vec<(GroupId, ReplicaId, Term)>) {
        let table = self.table();
        let mine = table.seen.iter().filter(|(_, leadership)| leadership.mine);
        let own =
            mine.filter_map(|(group, l)| l.leader.map(|(replica, _)| (*group, replica, l.term)));
        (table.own_version, own.collect())
    }

    /// The version of `broker`'s leaderships that is known here; 0 for none.
    pub fn known_version(&self, broker: BrokerId) -> u64 {
        self.table()
            .others
            .get(&broker)
            .map_or(0, |announced| announced.version)
    }

    /// Takes all leaderships that `broker` says it has, as of `version`.
    pub fn announce(
        &self,
        broker: BrokerId,
        version: u64,
        groups: impl IntoIterator<Item = (GroupId, ReplicaId, Term)>,
    ) {
        let groups = groups
            .into_iter()
            .map(|(group, replica, term)| (group, (replica, term)));
        let announced = Announced {
            version,
            groups: groups.collect(),
        };
        self.table().others.insert(broker, announced);
        self.notify();
    }

    /// Drops what is known of `broker`, which does not answer any more.
    pub fn lost(&self, broker: BrokerId) {
        let mut table = self.table();
        table.others.remove(&broker);
        for leadership in table.seen.values_mut() {
            if leadership.leader.is_some_and(|(_, on)| on == broker) {
                leadership.leader = None;
            }
        }
        drop(table);
        self.notify();
    }

    /// The leader of `group`.
    pub fn leader(&self, group: GroupId) -> Option<Leader> {
        let table = self.table();
        let seen = table.seen.get(&group).and_then(|leadership| {
            let (replica, broker) = leadership.leader?;
            Some(Leader {
                broker,
                replica,
                term: leadership.term,
            })
        });
        let others = table.others.iter().filter_map(|(broker, announced)| {
            let (replica, term) = *announced.groups.get(&group)?;
            Some(Leader {
                broker: *broker,
                replica,
                term,
            })
        });
        others.chain(seen).max_by_key(|leader| leader.term)
    }

    /// Resolves when `group` has another leader than this one, or none.
    pub async fn replaced(&self, group: GroupId, leader: Leader) {
        let mut changes = self.changes();
        while self.leader(group) == Some(leader) {
            // The sender lives in this table.
            drop(changes.changed().await);
        }
    }

    /// True when the leader that a replica here knows says so itself. A stored vote names a leader
    /// that may have restarted since and not lead any more.
    pub fn confirms(&self, group: GroupId, leadership: &Leadership) -> bool {
        let Some((_, broker)) = leadership.leader else {
            return false;
        };
        if leadership.mine {
            return true;
        }
        let table = self.table();
        let announced = table
            .others
            .get(&broker)
            .and_then(|other| other.groups.get(&group));
        announced.is_some_and(|(_, term)| *term >= leadership.term)
    }

    /// The broker that keeps this table.
    pub fn me(&self) -> BrokerId {
        self.me
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn led(term: u64, broker: u32, mine: bool) -> Leadership {
        let leader = Some((ReplicaId(u64::from(broker)), BrokerId(broker)));
        Leadership {
            term: Term(term),
            leader,
            mine,
        }
    }

    #[test]
    fn the_highest_term_wins_and_a_lost_broker_leads_nothing() {
        let leaders = Leaders::new(BrokerId(1), 5);
        let group = GroupId::Metadata;
        leaders.see(group, led(3, 1, true));
        assert_eq!(leaders.leader(group).unwrap().broker, BrokerId(1));
        leaders.announce(BrokerId(2), 9, [(group, ReplicaId(2), Term(4))]);
        assert_eq!(leaders.leader(group).unwrap().broker, BrokerId(2));
        assert_eq!(leaders.known_version(BrokerId(2)), 9);
        leaders.lost(BrokerId(2));
        assert_eq!(leaders.leader(group).unwrap().broker, BrokerId(1));
        assert_eq!(leaders.known_version(BrokerId(2)), 0);
    }

    #[test]
    fn a_leader_is_confirmed_by_its_own_word_only() {
        let leaders = Leaders::new(BrokerId(1), 5);
        let follows = led(4, 2, false);
        leaders.see(GroupId::Metadata, follows);
        assert!(!leaders.confirms(GroupId::Metadata, &follows));
        leaders.announce(BrokerId(2), 1, [(GroupId::Metadata, ReplicaId(2), Term(3))]);
        assert!(!leaders.confirms(GroupId::Metadata, &follows));
        leaders.announce(BrokerId(2), 2, [(GroupId::Metadata, ReplicaId(2), Term(4))]);
        assert!(leaders.confirms(GroupId::Metadata, &follows));
        assert!(leaders.confirms(GroupId::Metadata, &led(4, 1, true)));
    }

    #[tokio::test]
    async fn a_leader_is_replaced_when_it_is_lost_or_another_leads_and_not_by_other_news() {
        let (group, other) = (
            GroupId::Metadata,
            [(GroupId::Metadata, ReplicaId(3), Term(5))],
        );
        let lost = |leaders: &Leaders| leaders.lost(BrokerId(2));
        let succeeded = |leaders: &Leaders| leaders.announce(BrokerId(3), 1, other);
        let ways: [&dyn Fn(&Leaders); 2] = [&lost, &succeeded];
        for way in ways {
            let leaders = Leaders::new(BrokerId(1), 5);
            leaders.announce(BrokerId(2), 9, [(group, ReplicaId(2), Term(4))]);
            let leader = leaders.leader(group).unwrap();
            let mut replaced = std::pin::pin!(leaders.replaced(group, leader));
            assert_eq!((&mut replaced).now_or_never(), None);
            leaders.announce(BrokerId(4), 1, []);
            assert_eq!((&mut replaced).now_or_never(), None);
            way(&leaders);
            assert_eq!(replaced.now_or_never(), Some(()));
        }
    }

    #[test]
    fn the_own_version_rises_when_a_leadership_comes_or_goes() {
        let leaders = Leaders::new(BrokerId(1), 5);
        leaders.see(GroupId::Metadata, led(3, 2, false));
        assert_eq!(leaders.own(), (5, Vec::new()));
        leaders.see(GroupId::Metadata, led(4, 1, true));
        assert_eq!(
            leaders.own(),
            (6, vec![(GroupId::Metadata, ReplicaId(1), Term(4))])
        );
        leaders.forget(GroupId::Metadata);
        assert_eq!(leaders.own(), (7, Vec::new()));
    }
}
