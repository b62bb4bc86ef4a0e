//! Room in a replica's log, asked for before openraft sees anything: a full disk refuses a proposal
//! at the leader and a request at a follower, and never ends a group.

use tokio::sync::oneshot;

use super::types::{Entry, LogId};
use crate::log::{FrameKind, Held, LogReader, NoRoom, Purpose, Room, Seen, Shortage};

/// Resolves when a shortage may be over.
pub async fn room_changed(room: &Room, seen: Seen) {
    let (wake, woken) = oneshot::channel();
    room.when_changed(seen, Box::new(move || _ = wake.send(())));
    // The log never goes away while somebody holds its room.
    drop(woken.await);
}

/// Waits until the entries with bodies of these lengths have room, or until that is hopeless.
pub async fn make_room(room: &Room, bodies: &[usize], purpose: Purpose) -> Result<Held, NoRoom> {
    let mut seen = None;
    loop {
        match room.reserve(bodies.iter().copied(), purpose, seen) {
            Ok(held) => return Ok(held),
            Err(Shortage::Full(no_room)) => return Err(no_room),
            Err(Shortage::Wait(now)) => {
                room_changed(room, now).await;
                seen = Some(now);
            }
        }
    }
}

/// Makes room for entries that a leader sent, or for as many of the first as have room; the others
/// are dropped. What is given back is to be dropped when the entries are in the log.
pub(super) async fn admit(
    room: &Room,
    reader: &LogReader,
    entries: &mut Vec<Entry>,
) -> Result<Held, NoRoom> {
    loop {
        let bodies: Vec<usize> = entries.iter().map(body_len).collect();
        let held = make_room(room, &bodies, purpose(reader, entries)).await;
        if held.is_ok() || entries.len() <= 1 {
            return held;
        }
        entries.truncate(entries.len() / 2);
    }
}

fn body_len(entry: &Entry) -> usize {
    entry.frame.as_ref().map_or(0, |(_, body)| body.len())
}

fn purpose(reader: &LogReader, entries: &[Entry]) -> Purpose {
    let is_batch = |entry: &Entry| {
        let kind = entry.frame.as_ref().map(|(head, _)| head.kind);
        kind == Some(FrameKind::Batch)
    };
    if entries.iter().any(|entry| differs(reader, entry.log_id)) {
        Purpose::Cut
    } else if entries.iter().any(is_batch) {
        Purpose::Replicated
    } else {
        Purpose::Raft
    }
}

/// Whether the log holds another entry at this index, which has to be cut off first.
fn differs(reader: &LogReader, id: LogId) -> bool {
    let index = highwater_proto::LogIndex(id.index);
    if reader.last().is_none_or(|last| last.index < index) {
        return false;
    }
    // What is purged or damaged is not for this check to find.
    let head = reader.head(index).ok().flatten();
    head.is_some_and(|head| head.term.0 != id.leader_id.term)
}
