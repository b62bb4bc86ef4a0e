//! What a reader of a log does about damage: it looks for it, remembers it, and has the newest file
//! say how far it is durable.

use highwater_proto::LogIndex;

use super::error::{Damage, LogError};
use super::mark;
use super::view::LogReader;

impl LogReader {
    /// The first damage that a reader of this log has met since it was opened.
    pub fn damage(&self) -> Option<&Damage> {
        self.damage.get()
    }

    /// Notes in the newest file how far the log is durable; for a log that is idle.
    pub fn mark_durable(&self) {
        let view = self.view.load();
        if let Some(active) = &view.active {
            mark::mark_durable(&active.segment, &self.flusher);
        }
    }

    /// The first full file that begins at `from` or later: its first index, the index after its
    /// last, and how many bytes it has.
    pub fn full_file_from(&self, from: LogIndex) -> Option<(LogIndex, LogIndex, u64)> {
        let view = self.view.load();
        let mut files = view.sealed.iter();
        let part = files.find(|part| part.segment.header.first_index >= from)?;
        let header = &part.segment.header;
        Some((header.first_index, part.tail.next_index, header.file_len))
    }

    /// Remembers damage, whoever met it.
    pub(super) fn noted<T>(&self, result: Result<T, LogError>) -> Result<T, LogError> {
        if let Err(LogError::Damaged(damage)) = &result {
            let _ = self.damage.set(damage.clone());
        }
        result
    }

    /// Checks everything in the full file that begins with this index, frame by frame; nothing to do
    /// when there is none.
    pub fn check_file(&self, first_index: LogIndex) -> Result<(), LogError> {
        let view = self.view.load_full();
        let mut sealed = view.sealed.iter();
        let Some(part) = sealed.find(|part| part.segment.header.first_index == first_index) else {
            return Ok(());
        };
        self.noted(part.segment.check(part.end, &part.tail))
    }
}
