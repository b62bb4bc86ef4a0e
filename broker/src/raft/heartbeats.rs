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
    loop {
        let led = led(&replicas, &reaches);
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

/// The replicas here that lead others, a majority of whom is reached. The metadata group has timers of its own.
fn led(replicas: &Replicas, reaches: impl Fn(&Members) -> bool) -> Vec<Replica> {
    let leads = |replica: &&Replica| {
        let partition = matches!(replica.group(), GroupId::Partition(..));
        if !partition || !replica.leadership().borrow().mine {
            return false;
        }
        let members = replica.members();
        members.brokers.len() > 1 && reaches(&members)
    };
    replicas.all().values().filter(leads).cloned().collect()
}
