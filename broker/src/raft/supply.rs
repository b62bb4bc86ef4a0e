//! Entries for a replica that lost some: what this one has, and how far it is known to be committed.

use std::cmp::Ordering;
use std::time::Duration;

use bytes::Bytes;
use highwater_proto::pb::peer::{Entry, FetchEntriesResponse};
use highwater_proto::{BrokerId, LogIndex, Term};

use super::begin_again::FloorState;
use super::replica::Replica;
use super::types::LogId;
use super::wire::{WireError, encode_log_id};
use crate::log::repair::Supply;
use crate::log::{Frame, Head, LastFrame, LogError, LogReader};
use crate::peer::MAX_MESSAGE_BYTES;

mod gather;
#[cfg(test)]
mod tests;

use gather::{Source, gather};

/// How long a leader waits for what is in its log to be applied: less than who asks waits for it.
const APPLY_LIMIT: Duration = Duration::from_secs(3);
/// The most bytes of entries in one answer.
const SUPPLY_BYTES: usize = 1 << 20;
/// The largest state that fits into an answer without entries.
const STATE_BYTES: usize = MAX_MESSAGE_BYTES - (1 << 20);

/// A replica that another broker asks, because its own one is damaged and closed.
struct Asked<'a> {
    replica: &'a Replica,
    by: BrokerId,
}

impl Replica {
    /// The entries from `from` on for a broker whose replica is out, as many as fit into one answer.
    /// Above what is committed they may be replaced one day: who asked has to prove them by their chain.
    pub async fn supply(
        &self,
        from: LogIndex,
        by: BrokerId,
    ) -> Result<FetchEntriesResponse, LogError> {
        let gathered = gather(&Asked { replica: self, by }, from).await?;
        let before = gathered.before;
        Ok(FetchEntriesResponse {
            replica: self.id().0,
            before: before.map_or_else(Default::default, |head| encode_head(&head)),
            entries: gathered.frames.into_iter().map(encode).collect(),
            committed: gathered.committed.as_ref().map(encode_log_id),
            complete: gathered.complete,
            floor: self.floor_for(from),
        })
    }

    /// The state before the log, for who asks for an entry that is purged; also for who asks for the
    /// first one that is not, since the one before that is gone, but then the entries come first.
    fn floor_for(&self, from: LogIndex) -> Bytes {
        let first = self.reader().first_index();
        let most = match from.cmp(&first) {
            Ordering::Less => STATE_BYTES,
            Ordering::Equal if first > LogIndex(0) => SUPPLY_BYTES,
            Ordering::Equal | Ordering::Greater => return Bytes::new(),
        };
        let state = self.floor.state().map(|state| state.encode());
        state
            .filter(|state| state.len() <= most)
            .unwrap_or_default()
            .into()
    }

    /// Term and chain of an entry that is committed and still there.
    pub fn chain_at(&self, index: LogIndex) -> Option<(Term, u32)> {
        let reader = self.reader();
        if self.stopped().is_some()
            || index < reader.first_index()
            || self.committed_index() < Some(index)
        {
            return None;
        }
        let head = reader.head(index).ok()??;
        Some((head.term, head.chain))
    }

    /// The last entry that is known to be committed and is in the log.
    pub fn committed_index(&self) -> Option<LogIndex> {
        let committed = self.committed().map(|id| LogIndex(id.index));
        committed.min(self.last_index())
    }

    fn last_index(&self) -> Option<LogIndex> {
        self.reader().last().map(|last| last.index)
    }
}

impl Source for Asked<'_> {
    fn is_one_of_two(&self) -> bool {
        let members = self.replica.members();
        members.are_two(self.replica.id(), self.by)
    }

    fn last(&self) -> Option<LogIndex> {
        self.replica.last_index()
    }

    fn applied(&self) -> Option<LogId> {
        self.replica.applied_id()
    }

    async fn frames(&self, from: LogIndex, until: LogIndex) -> Result<Vec<Frame>, LogError> {
        let read = move |reader: &LogReader| match reader.frames(from, until, SUPPLY_BYTES) {
            Err(LogError::Purged { .. }) => Ok(Vec::new()),
            read => read,
        };
        self.replica.read_beside(read).await
    }

    async fn head(&self, index: LogIndex) -> Result<Option<Head>, LogError> {
        let read = move |reader: &LogReader| match index >= reader.first_index() {
            true => reader.head(index),
            false => Ok(None),
        };
        self.replica.read_beside(read).await
    }

    async fn is_confirmed(&self) -> bool {
        self.replica.read_barrier().await.is_ok()
    }

    async fn until_applied(&self, index: LogIndex) {
        let wait = self.replica.raft().wait(Some(APPLY_LIMIT));
        let applied = wait.metrics(
            |metrics| metrics.last_applied.is_some_and(|id| id.index >= index.0),
            "what is in the log",
        );
        drop(applied.await);
    }
}

fn encode_head(head: &Head) -> Bytes {
    Bytes::copy_from_slice(&head.encode())
}

fn encode(frame: Frame) -> Entry {
    Entry {
        head: encode_head(&frame.head),
        body: frame.body,
    }
}

/// Reads another broker's answer, and the state before its log if that is in it; `None` if it has no
/// replica of the group.
pub fn decode_supply(
    response: FetchEntriesResponse,
) -> Result<Option<(Supply, Option<FloorState>)>, WireError> {
    if response.replica == 0 {
        return Ok(None);
    }
    let before = match response.before.is_empty() {
        true => None,
        false => Some(LastFrame::from(&Head::decode(&response.before)?)),
    };
    let floor = match response.floor.is_empty() {
        true => None,
        false => FloorState::decode(&response.floor)?,
    };
    let frames = response.entries.into_iter().map(decode);
    let supply = Supply {
        before,
        floor: floor.as_ref().map(FloorState::end),
        frames: frames.collect::<Result<_, _>>()?,
        committed: response.committed.map(|id| LogIndex(id.index)),
        complete: response.complete,
    };
    Ok(Some((supply, floor)))
}

fn decode(entry: Entry) -> Result<Frame, WireError> {
    let (head, body) = (Head::decode(&entry.head)?, entry.body);
    if usize::try_from(head.body_len) != Ok(body.len()) {
        let (expected, actual) = (head.body_len, body.len());
        return Err(WireError::BodyLength { expected, actual });
    }
    Ok(Frame { head, body })
}
