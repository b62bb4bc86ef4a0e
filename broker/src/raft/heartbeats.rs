//! The heartbeats of all partitions that a broker leads. They are sent in bursts, a few groups at a
//! time, so that those to one broker travel as few messages, and no burst is long.

use std::sync::Arc;
use std::time::Duration;

use super::{GroupId, Members, Replica, Replicas};
use crate::clock;

/// How often a leader is heard of. Failure detection does not wait for it: brokers ping each other.
const INTERVAL: Duration = Duration::from_secs(2);
/// Groups of one burst.
const AT_ONCE: usize = 64;

/// Sends heartbeats for ever, for the groups of which this broker `reaches` a majority: a leader that
/// does not must let those it still reaches elect another.
pub async fn run(replicas: Arc<Replicas>, reaches: impl Fn(&Members) -> bool) {
    let leads = |replica: &&Replica| {
        is_due(
            replica.group(),
            replica.is_heard(),
            || replica.members(),
            &reaches,
        )
    };
    loop {
        let led: Vec<Replica> = replicas.all().values().filter(leads).cloned().collect();
        let bursts = led.len().div_ceil(AT_ONCE).max(1);
        let pause = INTERVAL / u32::try_from(bursts).unwrap_or(u32::MAX);
        for burst in led.chunks(AT_ONCE) {
            burst.iter().for_each(Replica::heartbeat);
            tokio::time::sleep_until(clock::monotonic() + pause).await;
        }
        if led.is_empty() {
            tokio::time::sleep_until(clock::monotonic() + INTERVAL).await;
        }
    }
}

/// Whether a replica of `group` sends heartbeats: it leads and is to be `heard`, and has others, a
/// majority of whom is reached. The metadata group has timers of its own.
fn is_due(
    group: GroupId,
    heard: bool,
    members: impl FnOnce() -> Members,
    reaches: impl Fn(&Members) -> bool,
) -> bool {
    if !heard || !matches!(group, GroupId::Partition(..)) {
        return false;
    }
    let members = members();
    members.brokers.len() > 1 && reaches(&members)
}

#[cfg(test)]
mod tests {
    use highwater_proto::{BrokerId, PartitionIndex, ReplicaId, TopicId};

    use super::*;

    fn partition() -> GroupId {
        GroupId::Partition(TopicId::from_bytes([7; 16]), PartitionIndex(0))
    }

    fn members(count: u32) -> Members {
        let ids = || (1..=count).map(|n| ReplicaId(n.into()));
        Members {
            voters: vec![ids().collect()],
            brokers: ids().zip((1..=count).map(BrokerId)).collect(),
        }
    }

    /// Whether a replica of three or so sends heartbeats that reaches the members or does not.
    fn due(group: GroupId, heard: bool, count: u32, reaches: bool) -> bool {
        is_due(
            group,
            heard,
            || members(count),
            |all| {
                assert_eq!(*all, members(count));
                reaches
            },
        )
    }

    #[test]
    fn a_leader_that_reaches_a_majority_of_others_sends_heartbeats() {
        assert!(due(partition(), true, 3, true));
        assert!(due(partition(), true, 2, true));
    }

    #[test]
    fn a_leader_that_reaches_no_majority_lets_the_others_elect() {
        assert!(!due(partition(), true, 3, false));
    }

    #[test]
    fn who_does_not_lead_or_leads_nobody_or_has_timers_sends_none() {
        assert!(!due(partition(), false, 3, true));
        assert!(!due(partition(), true, 1, true));
        assert!(!due(GroupId::Metadata, true, 3, true));
    }
}
