//! A machine's state with the entry it stands after: as bytes, and in the files of its replica. One
//! is saved wherever a segment begins, so that a restart applies only what came after, and so that
//! the log can be purged up to there.

use std::io;

use bytes::Bytes;
use highwater_proto::pb::peer;
use highwater_proto::{LogIndex, Offset, Term, Timestamp};
use prost::Message;

use super::types::{LogId, StoredMembership};
use super::wire::{self, WireError};
use crate::log::small_file::{SmallFileError, read_file, write_file};
use crate::log::{Dir, LastFrame};

const PREFIX: &str = "state-";
/// States kept at the end of the log: the newest may stand after entries that a power loss took.
const NEWEST: usize = 2;
/// When there are more states than this they are thinned out evenly: a log of that many segments can
/// as well be purged a few of them at a time.
const MOST: usize = 256;

/// A machine's state with the entry it stands after.
#[derive(Clone)]
pub(crate) struct Saved {
    pub(crate) last_applied: Option<LogId>,
    pub(crate) membership: StoredMembership,
    pub(crate) machine: Bytes,
    /// The end of a log behind that entry; `None` before the first.
    pub(crate) log_end: Option<LastFrame>,
}

impl Saved {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let log_end = |end: LastFrame| peer::LogEnd {
            chain: end.chain,
            next_offset: end.next_offset.0,
            append_time: end.append_time.0,
        };
        let state = peer::SavedState {
            last_applied: self.last_applied.as_ref().map(wire::encode_log_id),
            membership_at: self.membership.log_id().as_ref().map(wire::encode_log_id),
            membership: Some(wire::membership_to_pb(self.membership.membership())),
            machine: self.machine.clone(),
            log_end: self.log_end.map(log_end),
        };
        state.encode_to_vec()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let state = peer::SavedState::decode(bytes)?;
        let membership = wire::membership_from_pb(state.membership.unwrap_or_default())?;
        let membership_at = state.membership_at.map(wire::decode_log_id);
        let log_end = |(id, end): (peer::LogId, peer::LogEnd)| LastFrame {
            term: Term(id.term),
            index: LogIndex(id.index),
            chain: end.chain,
            next_offset: Offset(end.next_offset),
            append_time: Timestamp(end.append_time),
        };
        Ok(Self {
            last_applied: state.last_applied.map(wire::decode_log_id),
            membership: StoredMembership::new(membership_at, membership),
            machine: state.machine,
            log_end: state.last_applied.zip(state.log_end).map(log_end),
        })
    }

    /// The index of the entry it stands after.
    pub(crate) fn index(&self) -> Option<u64> {
        self.last_applied.map(|id| id.index)
    }
}

/// The indexes that states are saved after, the newest first.
pub(crate) fn indexes(dir: &dyn Dir) -> io::Result<Vec<u64>> {
    let index = |name: &String| {
        let index = name.strip_prefix(PREFIX)?.parse().ok()?;
        (file_name(index) == *name).then_some(index)
    };
    let mut found: Vec<u64> = dir.list()?.iter().filter_map(index).collect();
    found.sort_unstable_by(|a, b| b.cmp(a));
    Ok(found)
}

/// Saves a state, durably.
pub(crate) fn save(dir: &dyn Dir, index: u64, saved: &[u8]) -> io::Result<()> {
    write(dir, &file_name(index), saved)?;
    let there = indexes(dir)?;
    match dispensable(&there) {
        Some(old) if there.len() > MOST => remove(dir, old),
        _ => Ok(()),
    }
}

/// The state, not of the newest, whose neighbours are nearest to each other.
fn dispensable(there: &[u64]) -> Option<u64> {
    let span = |around: &&[u64]| around[0] - around[2];
    let candidates = there.windows(3).skip(NEWEST - 1);
    candidates.min_by_key(span).map(|around| around[1])
}

/// Removes the states that nothing needs once the floor is at `floor`.
pub(crate) fn forget_below(dir: &dyn Dir, floor: u64) -> io::Result<()> {
    let there = indexes(dir)?.into_iter().skip(NEWEST);
    let mut old = there.filter(|index| *index <= floor);
    old.try_for_each(|index| remove(dir, index))
}

/// Removes a state, which may be gone already: two may want to remove it at the same time.
fn remove(dir: &dyn Dir, index: u64) -> io::Result<()> {
    match dir.remove(&file_name(index)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Writes a state to a file, durably.
pub(crate) fn write(dir: &dyn Dir, name: &str, saved: &[u8]) -> io::Result<()> {
    write_file(dir, name, saved).map_err(io::Error::other)
}

/// Gives the state saved after `index` another name, durably.
pub(crate) fn rename(dir: &dyn Dir, index: u64, name: &str) -> io::Result<()> {
    dir.rename(&file_name(index), name)?;
    dir.sync_dir()
}

/// The state saved after `index`, if there is one.
pub(crate) fn load_at(dir: &dyn Dir, index: u64) -> io::Result<Option<Saved>> {
    load(dir, &file_name(index))
}

/// The state in a file, if there is one. `ErrorKind::InvalidData`: the file is not what was written.
pub(crate) fn load(dir: &dyn Dir, name: &str) -> io::Result<Option<Saved>> {
    let read = read_file(dir, name).map_err(|error| match error {
        SmallFileError::Damaged { .. } => io::Error::new(io::ErrorKind::InvalidData, error),
        SmallFileError::Io { .. } | SmallFileError::Version { .. } => io::Error::other(error),
    });
    let Some(bytes) = read? else {
        return Ok(None);
    };
    Saved::decode(&bytes).map(Some).map_err(io::Error::other)
}

fn file_name(index: u64) -> String {
    format!("{PREFIX}{index:020}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::MemDir;

    #[test]
    fn old_states_are_thinned_out_and_the_newest_stay() {
        let dir = MemDir::new();
        for index in 0..600 {
            save(&dir, index, b"").unwrap();
        }
        let there = indexes(&dir).unwrap();
        assert!(there.len() <= MOST, "{}", there.len());
        assert_eq!(there[..NEWEST], [599, 598]);
        let gaps = there.windows(2).map(|pair| pair[0] - pair[1]);
        assert!(gaps.max().unwrap() <= 8, "{there:?}");
        assert_eq!(there.last(), Some(&0));
    }

    #[test]
    fn below_the_floor_only_the_newest_two_states_stay() {
        let dir = MemDir::new();
        for index in [3, 7, 9, 12, 15] {
            save(&dir, index, b"").unwrap();
        }
        forget_below(&dir, 9).unwrap();
        assert_eq!(indexes(&dir).unwrap(), [15, 12]);
        forget_below(&dir, 100).unwrap();
        assert_eq!(indexes(&dir).unwrap(), [15, 12]);
    }
}
