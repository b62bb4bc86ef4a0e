//! Entries for a replica that lost some: what this one has, and how far it is known to be committed.

use std::cmp::Ordering;

use bytes::Bytes;
use highwater_proto::pb::peer::{Entry, FetchEntriesResponse};
use highwater_proto::{LogIndex, Term};

use super::begin_again::FloorState;
use super::replica::Replica;
use super::wire::{WireError, encode_log_id};
use crate::log::repair::Supply;
use crate::log::{Frame, Head, LastFrame, LogError, LogReader};
use crate::peer::MAX_MESSAGE_BYTES;

/// The most bytes of entries in one answer.
const SUPPLY_BYTES: usize = 1 << 20;
/// The largest state that fits into an answer without entries.
const STATE_BYTES: usize = MAX_MESSAGE_BYTES - (1 << 20);

impl Replica {
    /// The entries from `from` on, as many as fit into one answer. Above what is committed they may
    /// be replaced one day: who asked has to prove them by their chain.
    pub async fn supply(&self, from: LogIndex) -> Result<FetchEntriesResponse, LogError> {
        let until = LogIndex(u64::MAX);
        let read = move |reader: &LogReader| match reader.frames(from, until, SUPPLY_BYTES) {
            Err(LogError::Purged { .. }) => Ok(Vec::new()),
            read => read,
        };
        let mut frames = self.read_beside(read).await?;
        let mut complete = false;
        if self.ends_with(from, &frames) && self.read_barrier().await.is_ok() {
            frames = self.read_beside(read).await?;
            complete = self.ends_with(from, &frames) && self.applied() == self.last_index();
        }
        let before = move |reader: &LogReader| match from.0.checked_sub(1).map(LogIndex) {
            Some(before) if before >= reader.first_index() => reader.head(before),
            Some(_) | None => Ok(None),
        };
        let before = self.read_beside(before).await?;
        let floor = self.floor_for(from);
        Ok(FetchEntriesResponse {
            replica: self.id().0,
            before: before.map_or_else(Default::default, |head| encode_head(&head)),
            entries: frames.into_iter().map(encode).collect(),
            committed: self.committed().as_ref().map(encode_log_id),
            complete,
            floor,
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

    /// Whether nothing follows these frames, which begin at `from`.
    fn ends_with(&self, from: LogIndex, frames: &[Frame]) -> bool {
        match (frames.last(), self.last_index()) {
            (Some(given), Some(last)) => given.head.index == last,
            (None, last) => last.is_none_or(|last| last < from),
            (Some(_), None) => false,
        }
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
