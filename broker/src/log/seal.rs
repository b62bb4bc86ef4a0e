//! What is done in the background to a segment that is sealed: the rest of its file is given back if
//! it is large, and its index gets a file, which is read when it is first needed and built anew when
//! it is missing or does not fit.

use std::io::{self, IoSlice};
use std::sync::Arc;

use super::error::LogError;
use super::index::{self, GrowingIndex, IndexHeader, SegmentIndex, StoredIndex};
use super::readable;
use super::room::Room;
use super::segment::{Segment, index_name, times};
use super::view::Part;

/// Gives back the rest of a full file, and has its index written; both in the background.
pub(super) fn finish(part: &Part, room: &Room) {
    let (segment, kept) = (Arc::clone(&part.segment), part.sealed_bytes());
    let rest = segment.disk_bytes().saturating_sub(kept);
    if rest > 0 {
        let room = room.clone();
        room.gives_back();
        segment.will_keep(kept);
        part.segment.home.offload(Box::new(move || {
            // Where the file system cannot, the file stays as large as it is. The footer is on the disk
            // first: a file without one is written to again after a power loss.
            let file = &segment.file;
            let is_closed = || file.sync_now().is_ok();
            let given = !segment.is_purged() && is_closed() && file.give_back(kept).is_ok();
            let bytes = match given {
                true => kept,
                false => segment.measure(),
            };
            segment.note_disk_bytes(bytes);
            room.gave_back(segment.header.number, bytes);
        }));
    }
    write_index(part);
}

/// Writes and syncs the index of a sealed part in the background, and has readers use the file.
pub(super) fn write_index(part: &Part) {
    let (segment, end) = (Arc::clone(&part.segment), part.end);
    let home = Arc::clone(&segment.home);
    home.offload(Box::new(move || {
        if segment.is_purged() {
            return;
        }
        // Without the file the index stays in memory, and the next start builds it anew.
        if let Ok(stored) = write(&segment, end) {
            segment.warmth.mark_index();
            segment.index.store(Arc::new(SegmentIndex::Stored(stored)));
        }
        if segment.is_purged() {
            let _ = segment.home.remove(&index_name(segment.header.number));
        }
    }));
}

fn header(segment: &Segment, end: u32) -> IndexHeader {
    IndexHeader {
        number: segment.header.number,
        generation: segment.generation,
        end,
    }
}

fn write(segment: &Segment, end: u32) -> io::Result<StoredIndex> {
    let header = header(segment, end);
    let entries = segment.index.load().entries_below(header.end);
    let bytes = index::encode(&header, &entries);
    let (dir, name) = (&*segment.home, index_name(header.number));
    match dir.remove(&name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = dir.create(&name, bytes.len() as u64)?;
    file.write_at(&[IoSlice::new(&bytes)], 0)?;
    file.sync_now()?;
    let stored = StoredIndex::read(file.slice(0..file.len()), &header);
    stored.ok_or_else(|| io::Error::other("the index file does not read back as written"))
}

/// The index of a sealed segment that nobody has searched for long, or since the log was opened. Where
/// the system cannot read just now, nothing changes, and the next one may.
pub(super) fn read_index(segment: &Segment, end: u32) -> Result<Arc<SegmentIndex>, LogError> {
    let header = header(segment, end);
    let index = match stored(segment, &header) {
        Ok(Some(stored)) => SegmentIndex::Stored(stored),
        Err(error) if readable::is_passing(&error) => {
            return Err(LogError::io("read", index_name(header.number))(error));
        }
        Ok(None) | Err(_) => SegmentIndex::Growing(rebuild(segment, end)?),
    };
    segment.warmth.mark_index();
    let index = Arc::new(index);
    segment.index.store(Arc::clone(&index));
    Ok(index)
}

/// What the index file has, if it fits.
fn stored(segment: &Segment, header: &IndexHeader) -> io::Result<Option<StoredIndex>> {
    let file = segment.home.open(&index_name(header.number))?;
    file.make_resident(0..file.len())?;
    Ok(StoredIndex::read(file.slice(0..file.len()), header))
}

/// Walks the frames; stops at a damaged one, which whoever reads there will meet and report.
fn rebuild(segment: &Segment, end: u32) -> Result<GrowingIndex, LogError> {
    let index = GrowingIndex::for_file(segment.header.file_len);
    let mut max_before = i64::MIN;
    let mut frames = segment.frames(end);
    loop {
        match frames.next_header() {
            Ok(Some(frame)) => {
                index.offer(frame.entry(max_before));
                max_before = max_before.max(times(&frame.raw.head));
            }
            Err(error @ LogError::Io { .. }) => return Err(error),
            Ok(None) | Err(_) => return Ok(index),
        }
    }
}
