//! The state as bytes and back: what is saved where a segment begins, and what a follower far
//! behind receives. It holds no records.

use bytes::Bytes;
use highwater_proto::pb::peer::{self as pb, PartitionSnapshot};
use highwater_proto::{EntryId, LogIndex, Offset, Term, Timestamp};
use prost::Message;

use super::{MAX_TERM_STARTS, PartitionState, TermStart};
use crate::partition::producers::{Producers, ProducersError};

/// The version of the message that is written. The one before, which lacks what is left of forgotten
/// producers, is read as if none had been forgotten.
const VERSION: u32 = 2;
const OLDEST: u32 = 1;

/// The bytes are not a state that this version can take up. The replica must not go on with it.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Not protobuf.
    #[error("the saved partition state cannot be read: {0}")]
    Malformed(#[from] prost::DecodeError),
    /// Written by another version.
    #[error("the saved partition state has version {0}, this broker reads {OLDEST} to {VERSION}")]
    Version(u32),
    /// The producers are damaged.
    #[error(transparent)]
    Producers(#[from] ProducersError),
    /// The terms do not rise, begin beyond the end, or are too many.
    #[error("the saved partition state is damaged: its terms make no sense")]
    Terms,
    /// The log would begin behind its end.
    #[error("the saved partition state is damaged: its log begins at {0} and ends at {1}")]
    LogStart(Offset, Offset),
}

impl PartitionState {
    /// The state as of the last applied entry, encoded. Replicas that applied the same entries
    /// have the same bytes.
    pub fn snapshot(&self) -> Bytes {
        let term_start = |term: &TermStart| pb::TermStart {
            term: term.term.0,
            start_offset: term.start.0,
        };
        let message = PartitionSnapshot {
            version: VERSION,
            applied: self.applied.map(|entry| pb::LogId {
                term: entry.term.0,
                index: entry.index.0,
            }),
            next_offset: self.next_offset.0,
            append_time: self.append_time.map(|time| time.0),
            max_timestamp: self.max_timestamp.map(|time| time.0),
            term_starts: self.term_starts.iter().map(term_start).collect(),
            producers: self.producers.snapshot(),
            log_start_offset: self.log_start.0,
            forgotten_producers: Some(self.producers.forgotten()),
        };
        message.encode_to_vec().into()
    }

    /// The state in encoded bytes, with nothing in flight.
    pub fn restore(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let message = PartitionSnapshot::decode(bytes)?;
        if !(OLDEST..=VERSION).contains(&message.version) {
            return Err(SnapshotError::Version(message.version));
        }
        let applied = message.applied.map(|entry| EntryId {
            term: Term(entry.term),
            index: LogIndex(entry.index),
        });
        let next_offset = Offset(message.next_offset);
        let log_start = Offset(message.log_start_offset);
        if log_start > next_offset {
            return Err(SnapshotError::LogStart(log_start, next_offset));
        }
        let term_starts = read_terms(&message.term_starts);
        let rising = term_starts.is_sorted_by(|a, b| a.term < b.term && a.start < b.start);
        let within = term_starts.last().is_none_or(|last| {
            last.start < next_offset && applied.is_some_and(|entry| last.term <= entry.term)
        });
        if !rising || !within || term_starts.len() > MAX_TERM_STARTS {
            return Err(SnapshotError::Terms);
        }
        Ok(Self {
            applied,
            next_offset,
            append_time: message.append_time.map(Timestamp),
            max_timestamp: message.max_timestamp.map(Timestamp),
            term_starts,
            producers: Producers::restore(
                &message.producers,
                &message.forgotten_producers.unwrap_or_default(),
            )?,
            log_start,
        })
    }
}

fn read_terms(messages: &[pb::TermStart]) -> Vec<TermStart> {
    let read = |message: &pb::TermStart| TermStart {
        term: Term(message.term),
        start: Offset(message.start_offset),
    };
    messages.iter().map(read).collect()
}
