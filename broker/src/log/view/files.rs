//! Which files a log has: for retention, and for where states are saved.

use highwater_proto::{LogIndex, Offset, Timestamp};

use super::super::error::LogError;
use super::super::index::IndexEntry;
use super::{LogReader, Part};

/// One file of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentInfo {
    /// The index of its first entry.
    pub first_index: LogIndex,
    /// The index after its last entry: purging through the one before frees the file.
    pub next_index: LogIndex,
    /// The offset of its first record.
    pub first_offset: Offset,
    /// The offset after its last record.
    pub next_offset: Offset,
    /// When its last entry was appended; of the entry before it if it has none.
    pub last_append_time: Timestamp,
    /// The bytes it takes on the disk, once it has given back what it is about to.
    pub bytes: u64,
    /// The bytes it takes on the disk now.
    pub disk_bytes: u64,
    /// The byte after its last frame.
    pub end: u64,
    /// Whether it is full; the last one is written to.
    pub sealed: bool,
}

impl LogReader {
    /// The files of the log, oldest first, for retention and for whoever asks how large it is.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        let view = self.view.load();
        let sealed = view.sealed.len();
        let parts = view.sealed.iter().chain(&view.active).enumerate();
        let info = |(nth, part): (usize, &Part)| {
            let start = part.segment.header.start();
            SegmentInfo {
                first_index: start.next_index,
                next_index: part.tail.next_index,
                first_offset: start.next_offset,
                next_offset: part.tail.next_offset,
                last_append_time: part.tail.append_time,
                bytes: part.segment.settled_bytes(),
                disk_bytes: part.segment.disk_bytes(),
                end: u64::from(part.end),
                sealed: nth < sealed,
            }
        };
        parts.map(info).collect()
    }

    /// The first offset of the first frame that begins at `byte` or later, or of the last frame, in
    /// the file whose first entry is `first`; `None` when that file is gone. It may read the disk.
    pub fn offset_at(&self, first: LogIndex, byte: u64) -> Result<Option<Offset>, LogError> {
        self.noted(self.find_byte(first, byte))
    }

    fn find_byte(&self, first: LogIndex, byte: u64) -> Result<Option<Offset>, LogError> {
        let view = self.view.load();
        let is_it = |part: &&Part| part.segment.header.first_index == first;
        let Some(part) = view.sealed.iter().chain(&view.active).find(is_it) else {
            return Ok(None);
        };
        let before = |entry: &IndexEntry| u64::from(entry.position) <= byte;
        let mut walk = part.segment.seek(part.end, before)?;
        let mut offset = None;
        while let Some(found) = walk.next_header()? {
            offset = Some(found.raw.head.base_offset);
            if u64::from(found.position) >= byte {
                break;
            }
        }
        Ok(offset)
    }

    /// The first index of the first file that begins above `after`: where the state machine saves
    /// its state, because a later purge can end there.
    pub fn next_boundary(&self, after: LogIndex) -> Option<LogIndex> {
        let view = self.view.load();
        let mut firsts = view
            .parts_from(after)
            .map(|part| part.segment.header.first_index);
        firsts.find(|first| *first > after)
    }
}
