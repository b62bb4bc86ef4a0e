//! The index file of a sealed segment: written in the background, read when it is first needed,
//! built anew when it is missing or does not fit.

use std::io::{self, IoSlice};
use std::sync::Arc;

use super::index::{self, GrowingIndex, IndexHeader, SegmentIndex, StoredIndex};
use super::segment::{Segment, index_name};
use super::view::Part;

/// Writes and syncs the index of a sealed part in the background, and has readers use the file.
pub(super) fn write_index(part: &Part) {
    let (segment, end) = (Arc::clone(&part.segment), part.end);
    let home = Arc::clone(&segment.home);
    home.offload(Box::new(move || {
        // Without the file the index stays in memory, and the next start builds it anew.
        if let Ok(stored) = write(&segment, end) {
            segment.index.store(Arc::new(SegmentIndex::Stored(stored)));
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

/// The index of a sealed segment that nobody has searched since the log was opened.
pub(super) fn read_index(segment: &Segment, end: u32) -> Arc<SegmentIndex> {
    let header = header(segment, end);
    let file = segment.home.open(&index_name(header.number));
    let stored = file
        .ok()
        .and_then(|file| StoredIndex::read(file.slice(0..file.len()), &header));
    let index = match stored {
        Some(stored) => SegmentIndex::Stored(stored),
        None => SegmentIndex::Growing(rebuild(segment, end)),
    };
    let index = Arc::new(index);
    segment.index.store(Arc::clone(&index));
    index
}

/// Walks the frames; stops at a damaged one, which whoever reads there will meet and report.
fn rebuild(segment: &Segment, end: u32) -> GrowingIndex {
    let index = GrowingIndex::for_file(segment.header.file_len);
    let mut max_before = i64::MIN;
    let mut frames = segment.frames(end);
    while let Ok(Some(frame)) = frames.next_header() {
        index.offer(frame.entry(max_before));
        max_before = max_before.max(super::segment::times(&frame.raw.head));
    }
    index
}
