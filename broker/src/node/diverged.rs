//! The mark of a replica whose history differs from that of its group: it names the entry that the
//! replica ends with, and keeps it closed, through restarts, until its files have another history.

use std::sync::Arc;

use bytes::Bytes;
use highwater_proto::{LogIndex, ReplicaId};
use tokio::sync::{mpsc, watch};

use super::groups::{Groups, awaited, synced};
use super::watching::Ended;
use crate::log::{HardKey, LastFrame, LogReader};
use crate::raft::Replica;
use crate::tasks::Tasks;

/// The slot of the hard state that has the mark.
const DIVERGED: u8 = 4;
/// The longest reason that is kept.
const MOST: usize = 1024;

/// Index and chain of the entry that the replica ended with, and how its history differs.
#[derive(Debug, PartialEq, Eq)]
struct Mark {
    index: LogIndex,
    chain: u32,
    why: String,
}

impl Mark {
    fn encode(&self) -> Bytes {
        let why = self.why.as_bytes();
        let why = &why[..why.len().min(MOST)];
        let (index, chain) = (self.index.0.to_le_bytes(), self.chain.to_le_bytes());
        Bytes::from([&index[..], &chain, why].concat())
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (index, rest) = bytes.split_first_chunk()?;
        let (chain, why) = rest.split_first_chunk()?;
        Some(Self {
            index: LogIndex(u64::from_le_bytes(*index)),
            chain: u32::from_le_bytes(*chain),
            why: String::from_utf8_lossy(why).into_owned(),
        })
    }
}

impl Groups {
    /// Marks a replica that has stopped because its history differs; durable when this returns.
    pub(super) async fn mark_diverged(&self, id: ReplicaId, last: Option<LastFrame>, why: &str) {
        let Some(last) = last else {
            return;
        };
        let (index, chain) = (last.index, last.chain);
        let why = why.to_owned();
        let (done, durable) = awaited();
        let mark = Mark { index, chain, why };
        self.hard_state.put(key(id), mark.encode(), done);
        if let Err(error) = synced(durable).await {
            tracing::error!(replica = %id, %error, "that a replica has diverged was not noted");
        }
    }

    /// Why a replica must stay closed: it was marked, and its log has no other history since. What
    /// cannot be read counts as the same.
    pub(super) fn is_diverged(&self, id: ReplicaId, log: &LogReader) -> Option<String> {
        let mark = Mark::decode(&self.hard_state.get(key(id))?)?;
        match log.head(mark.index) {
            Ok(Some(head)) if head.chain != mark.chain => None,
            _ => Some(mark.why),
        }
    }
}

/// Where to tell that most others contradict the history of the metadata replica: it is marked, so that it is not
/// opened again, and then the broker ends, with the reason in `failed`.
pub(super) fn end_of_metadata(
    groups: &Arc<Groups>,
    replica: &Replica,
    failed: &watch::Sender<Option<String>>,
    tasks: &Tasks,
) -> mpsc::UnboundedSender<Ended> {
    let (groups, replica, failed) = (Arc::clone(groups), replica.clone(), failed.clone());
    let (ending, mut ended) = mpsc::unbounded_channel::<Ended>();
    tasks.spawn(async move {
        let Some(Ended { group, why, .. }) = ended.recv().await else {
            return;
        };
        let last = replica.reader().last();
        groups.mark_diverged(replica.id(), last, &why).await;
        tracing::error!(%group, %why, "the broker cannot go on");
        failed.send_replace(Some(format!("{group}: {why}")));
    });
    ending
}

/// Why the broker ends, if the history of its metadata replica differs, once that is marked.
pub(super) async fn why_ended(
    replica: &Replica,
    mut failed: watch::Receiver<Option<String>>,
) -> Option<String> {
    replica.diverged()?;
    let why = failed.wait_for(Option::is_some).await.ok()?;
    why.clone()
}

fn key(replica: ReplicaId) -> HardKey {
    let slot = DIVERGED;
    HardKey { replica, slot }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use highwater_proto::{BrokerId, ClusterId, Incarnation};
    use tokio::time::timeout;

    use super::super::groups::NotOpened;
    use super::*;
    use crate::clock::SystemClock;
    use crate::cluster::MetadataMachine;
    use crate::log::{Dir as _, HardState, MemDir};
    use crate::metrics::Metrics;
    use crate::peer::{Identity, Peers};
    use crate::raft::GroupId;
    use crate::service::FaultKind;

    #[test]
    fn a_mark_comes_back_and_its_reason_is_bounded() {
        let mark = |why: String| Mark {
            index: LogIndex(7),
            chain: 0x0102_0304,
            why,
        };
        let back = |mark: &Mark| Mark::decode(&mark.encode());
        assert_eq!(back(&mark("why".into())), Some(mark("why".into())));
        assert_eq!(back(&mark("y".repeat(5000))), Some(mark("y".repeat(MOST))));
        assert_eq!(Mark::decode(&[0; 11]), None);
    }

    #[tokio::test]
    async fn the_metadata_replica_is_marked_before_its_broker_ends_and_not_opened_again() {
        let limit = Duration::from_secs(30);
        let tasks = Tasks::new();
        let identity = Identity {
            cluster: ClusterId::from_bytes([2; 16]),
            broker: BrokerId(1),
            incarnation: Incarnation::from_bytes([3; 16]),
        };
        let root = MemDir::new().subdir("broker").unwrap();
        let hard_state = HardState::open(root.subdir("hard-state").unwrap()).unwrap();
        let groups = Arc::new(Groups {
            root,
            hard_state: Arc::new(hard_state),
            peers: Arc::new(Peers::new(identity, tasks.clone())),
            clock: Arc::new(SystemClock),
            metrics: Arc::new(Metrics::new([])),
        });
        let (group, id) = (GroupId::Metadata, ReplicaId(1));
        let open = || {
            let machine = Box::new(MetadataMachine::new().0);
            groups.open(group, id, None, machine, &tasks)
        };
        let replica = open().await.unwrap();
        replica.initialize([(id, BrokerId(1))]).await.unwrap();
        let mut leads = replica.leadership();
        let leads = timeout(limit, leads.wait_for(|now| now.mine));
        drop(leads.await.unwrap().unwrap());

        let (failed, mut ended) = watch::channel(None);
        let ending = end_of_metadata(&groups, &replica, &failed, &tasks);
        let why = "two chains".to_owned();
        let kind = FaultKind::Diverged;
        let end = Ended {
            group,
            replica: id,
            kind,
            why,
        };
        ending.send(end).unwrap();
        let said = timeout(limit, ended.wait_for(Option::is_some));
        assert!(
            said.await
                .unwrap()
                .unwrap()
                .as_ref()
                .unwrap()
                .contains("two chains")
        );
        replica.shutdown().await;
        drop(replica);
        let refused = open().await.unwrap_err();
        assert_eq!(refused, NotOpened::Diverged("two chains".to_owned()));
        assert!(
            refused.to_string().contains("its history differs"),
            "{refused}"
        );
        tasks.stop().await;
    }
}
