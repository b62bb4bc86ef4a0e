//! The heartbeats of all partitions that a broker leads. They are sent in bursts, a few groups at a
//! time, so that those to one broker travel as few messages, and no burst is long.

use std::sync::Arc;
use std::time::Duration;

use super::{GroupId, Replica, Replicas};
use crate::clock;

/// How often a leader is heard of. Failure detection does not wait for it: brokers ping each other.
const INTERVAL: Duration = Duration::from_secs(2);
/// Groups of one burst.
const AT_ONCE: usize = 64;

/// Sends heartbeats for ever.
pub async fn run(replicas: Arc<Replicas>) {
    loop {
        let led = led(&replicas);
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

/// The replicas here that lead others. The metadata group has timers of its own.
fn led(replicas: &Replicas) -> Vec<Replica> {
    let leads = |replica: &&Replica| {
        let partition = matches!(replica.group(), GroupId::Partition(..));
        partition && replica.leadership().borrow().mine && replica.members().brokers.len() > 1
    };
    replicas.all().values().filter(leads).cloned().collect()
}
