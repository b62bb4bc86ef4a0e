//! What a replica notes durably beside its log, in the broker's hard state: its vote, how far its log
//! is purged, and the newest file that was durable.

use std::io;

use bytes::Bytes;
use highwater_proto::pb::peer;
use highwater_proto::{LogIndex, ReplicaId, Term};
use prost::Message;
use tokio::sync::oneshot;

use super::types::{LogId, Vote};
use super::wire::{self, WireError};
use crate::log::{HardKey, HardState, Log, SyncError};

const VOTE: u8 = 0;
const PURGED: u8 = 1;
/// The newest segment file that was durable: without it nobody could tell that it is missing.
const NEWEST_FILE: u8 = 3;

/// The newest file of the replica's log that is known to have been durable; 0 when none is.
pub fn durable_file(hard_state: &HardState, replica: ReplicaId) -> u32 {
    let noted = hard_state.get(key(replica, NEWEST_FILE));
    let noted = noted.and_then(|bytes| <[u8; 4]>::try_from(bytes.as_ref()).ok());
    noted.map_or(0, u32::from_le_bytes)
}

/// Notes that the replica's log has been durable up to this file. Nobody waits for it.
pub(super) fn note_durable_file(hard_state: &HardState, replica: ReplicaId, number: u32) {
    let number = Bytes::copy_from_slice(&number.to_le_bytes());
    hard_state.put(key(replica, NEWEST_FILE), number, Box::new(|_| {}));
}

/// Notes durably that the log has this file from now on; errors as in [`note_purged`].
pub(super) async fn note_file(
    hard_state: &HardState,
    replica: ReplicaId,
    number: u32,
) -> io::Result<Result<(), SyncError>> {
    let number = number.to_le_bytes().to_vec();
    note(hard_state, key(replica, NEWEST_FILE), number).await
}

/// The first entry that was not purged from the replica's log, as far as that is noted.
pub fn unpurged(hard_state: &HardState, replica: ReplicaId) -> Option<LogIndex> {
    let purged = purged(hard_state, replica).ok()?;
    Some(purged.map_or(LogIndex(0), |id| LogIndex(id.index).next()))
}

/// Whether the replica's log has, or ever had, an entry.
pub fn has_begun(log: &Log, hard_state: &HardState, replica: ReplicaId) -> bool {
    log.last().is_some() || hard_state.get(key(replica, PURGED)).is_some()
}

/// The last entry that the replica's log was purged up to, as noted before it was.
pub(super) fn purged(
    hard_state: &HardState,
    replica: ReplicaId,
) -> Result<Option<LogId>, WireError> {
    let noted = hard_state.get(key(replica, PURGED));
    let id = noted.map(peer::LogId::decode).transpose()?;
    Ok(id.map(wire::decode_log_id))
}

/// Notes durably that the replica's log is purged up to `upto`. The outer error: nobody will say
/// what became of the note; the inner one: it is not durable.
pub(super) async fn note_purged(
    hard_state: &HardState,
    replica: ReplicaId,
    upto: &LogId,
) -> io::Result<Result<(), SyncError>> {
    let value = wire::encode_log_id(upto).encode_to_vec();
    note(hard_state, key(replica, PURGED), value).await
}

/// The vote that the replica gave last.
pub(super) fn vote(hard_state: &HardState, replica: ReplicaId) -> Result<Option<Vote>, WireError> {
    let Some(bytes) = hard_state.get(key(replica, VOTE)) else {
        return Ok(None);
    };
    wire::decode_vote(Some(peer::Vote::decode(bytes)?)).map(Some)
}

/// The term of the vote that the replica gave last: its log holds no entry of a later one.
pub fn voted(hard_state: &HardState, replica: ReplicaId) -> Option<Term> {
    let vote = vote(hard_state, replica).ok()??;
    Some(Term(vote.leader_id.term))
}

/// Notes the replica's vote durably; errors as in [`note_purged`].
pub(super) async fn note_vote(
    hard_state: &HardState,
    replica: ReplicaId,
    vote: &Vote,
) -> io::Result<Result<(), SyncError>> {
    let value = wire::encode_vote(vote).encode_to_vec();
    note(hard_state, key(replica, VOTE), value).await
}

async fn note(
    hard_state: &HardState,
    key: HardKey,
    value: Vec<u8>,
) -> io::Result<Result<(), SyncError>> {
    let (tx, rx) = oneshot::channel();
    let done = Box::new(move |result| drop(tx.send(result)));
    hard_state.put(key, Bytes::from(value), done);
    rx.await.map_err(io::Error::other)
}

fn key(replica: ReplicaId, slot: u8) -> HardKey {
    HardKey { replica, slot }
}
