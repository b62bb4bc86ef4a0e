//! The first entry of a partition's log: who its voters are. Every replica writes it on its own when
//! it is made, from what the metadata says, so that no replica has to wait for another to begin the
//! group: whoever is alive elects a leader.
//!
//! Safe because the entry is the same everywhere, byte for byte: term 0, index 0, no time.

use highwater_proto::{BrokerId, LogIndex, ReplicaId, Term, Timestamp};

use super::types::{Membership, members};
use super::wire::encode_membership;
use crate::log::{FrameKind, NewFrame, Source};

/// The founding entry of a group with these voters.
pub fn founding_entry(
    voters: impl IntoIterator<Item = (ReplicaId, BrokerId)>,
) -> Result<NewFrame, String> {
    let nodes = members(voters);
    let voters = vec![nodes.keys().copied().collect()];
    let membership = Membership::new(voters, nodes).map_err(|error| error.to_string())?;
    Ok(NewFrame {
        term: Term(0),
        index: LogIndex(0),
        kind: FrameKind::Membership,
        body: encode_membership(&membership),
        source: Source::Local {
            append_time: Timestamp(0),
        },
    })
}
