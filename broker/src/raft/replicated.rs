//! What a replicated machine is: Raft moves bytes, each machine owns their meaning.

use bytes::Bytes;
use highwater_proto::LogIndex;

use super::types::Reply;
use crate::log::Head;

/// A deterministic machine that a group replicates. Time is the entry's append time; there is no
/// I/O and no clock. Replicas that applied the same entries are equal.
pub trait Replicated: Send + Sync + 'static {
    /// Takes one committed entry, in the order of the log. An error stops the group: it means that
    /// this replica does not understand the entry, and skipping it would make replicas differ.
    fn apply(&mut self, entry: &Committed<'_>) -> Result<Reply, NotUnderstood>;

    /// Makes visible what has been applied since the last call, before any proposer is answered.
    fn publish(&mut self);

    /// The state after the last applied entry.
    fn save(&self) -> Vec<u8>;

    /// Replaces the state by one that was saved after the entry `index`.
    fn restore(&mut self, saved: &[u8], index: LogIndex) -> Result<(), NotUnderstood>;
}

/// A committed entry. Raft's own kinds are passed too, with an empty meaning.
#[derive(Debug)]
pub struct Committed<'a> {
    /// The replicated head of its frame.
    pub head: &'a Head,
    /// Its body.
    pub body: &'a Bytes,
}

/// An entry or a saved state that this version does not understand.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotUnderstood(pub String);
