//! Which files a log has: for retention, and for where states are saved.

use highwater_proto::{LogIndex, Offset, Timestamp};

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
    /// The bytes it takes on the disk.
    pub bytes: u64,
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
                bytes: part.segment.header.file_len,
                sealed: nth < sealed,
            }
        };
        parts.map(info).collect()
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
