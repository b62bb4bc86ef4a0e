//! Looking for damage before anybody needs the bytes: every full segment file is read once after
//! the start and then once a day, slowly. Whoever meets damage otherwise is heard here, too. And
//! logs that are idle note how far they are durable.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use highwater_proto::{LogIndex, ReplicaId};
use tokio::sync::{mpsc, watch};

use super::groups::offloaded;
use super::watching::Ended;
use crate::clock;
use crate::log::Dir;
use crate::raft::{GroupId, Replica, Replicas};
use crate::service::FaultKind;

/// How often it looks for damage that others met.
const TICK: Duration = Duration::from_millis(500);
/// The most bytes checked between two looks.
const BYTES_A_TICK: u64 = 64 << 20;
/// When everything is checked again.
const AGAIN_AFTER: Duration = Duration::from_secs(24 * 3600);
/// How many looks a log must be at rest to count as idle.
const IDLE_TICKS: u64 = 2;

/// What looks for damage.
pub(super) struct Scrub {
    pub(super) replicas: Arc<Replicas>,
    pub(super) root: Arc<dyn Dir>,
    /// Where it tells of damaged replicas.
    pub(super) ending: mpsc::UnboundedSender<Ended>,
    /// Where it says why the broker must exit.
    pub(super) failed: watch::Sender<Option<String>>,
}

/// What is known of one replica's log.
#[derive(Default)]
struct Seen {
    /// The file to be checked next is the first that begins here or later.
    next: LogIndex,
    /// The last entry at the last look, and for how many looks it has been that.
    last: Option<LogIndex>,
    at_rest: u64,
}

impl Scrub {
    /// Runs until the broker stops.
    pub(super) async fn run(self) {
        let mut seen: BTreeMap<ReplicaId, Seen> = BTreeMap::new();
        let mut began = clock::monotonic();
        loop {
            if clock::monotonic() - began > AGAIN_AFTER {
                seen.clear();
                began = clock::monotonic();
            }
            let replicas = self.replicas.all();
            let mut room = BYTES_A_TICK;
            for replica in replicas.values() {
                let seen = seen.entry(replica.id()).or_default();
                self.look_at(replica, seen, &mut room).await;
            }
            let open = |id: &ReplicaId| replicas.values().any(|replica| replica.id() == *id);
            if seen.len() > replicas.len() {
                seen.retain(|id, _| open(id));
            }
            tokio::time::sleep(TICK).await;
        }
    }

    async fn look_at(&self, replica: &Replica, seen: &mut Seen, room: &mut u64) {
        let reader = replica.reader();
        let last = reader.last().map(|last| last.index);
        if last == seen.last {
            seen.at_rest += 1;
            if seen.at_rest == IDLE_TICKS {
                reader.mark_durable();
            }
        } else {
            (seen.last, seen.at_rest) = (last, 0);
        }
        while *room > 0 && reader.damage().is_none() {
            let Some((first, next, bytes)) = reader.full_file_from(seen.next) else {
                break;
            };
            let checked = reader.clone();
            let check = move || checked.check_file(first).map_err(|error| error.to_string());
            if let Err(why) = offloaded(&self.root, check).await {
                tracing::debug!(group = %replica.group(), %why, "a file is not whole");
            }
            seen.next = next;
            *room = room.saturating_sub(bytes);
        }
        let Some(damage) = reader.damage() else {
            return;
        };
        // When it is open again it is checked from the beginning.
        *seen = Seen::default();
        let (group, why) = (replica.group(), damage.to_string());
        if group == GroupId::Metadata {
            let why = format!("{group}: {why}; start the broker again to repair it");
            self.failed.send_replace(Some(why));
            return;
        }
        drop(self.ending.send(Ended {
            group,
            replica: replica.id(),
            kind: FaultKind::Damaged,
            why,
        }));
    }
}
