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

/// Where to tell that the history of the metadata replica differs: it is marked, so that it is not
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

fn key(replica: ReplicaId) -> HardKey {
    let slot = DIVERGED;
    HardKey { replica, slot }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
