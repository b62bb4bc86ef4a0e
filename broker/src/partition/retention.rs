//! PURE. What a partition may keep, and what follows from it: where its log should begin, and when to
//! look again. Whole segments go, oldest first, and only closed ones. Late rather than early: a
//! segment is as old as its last record.

use std::time::Duration;

use highwater_proto::{Offset, Timestamp};

use crate::log::SegmentInfo;

/// What a topic says of the storage of its partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// How long records are kept, in milliseconds; `None` for ever.
    pub ms: Option<i64>,
    /// The bytes on the disk that a replica may take; `None` for any number.
    pub bytes: Option<u64>,
    /// The largest size of a segment file, in bytes.
    pub file_bytes: u64,
    /// The age at which a segment is closed, in milliseconds.
    pub file_ms: i64,
}

/// What a replica has on the disk.
#[derive(Debug, Clone)]
pub(super) struct Storage {
    /// Its segments, oldest first.
    pub(super) segments: Vec<SegmentInfo>,
    /// When the first batch of the segment that is written to was appended.
    pub(super) began: Option<Timestamp>,
    /// The bytes that all its files take; only asked for where bytes are limited.
    pub(super) disk_bytes: u64,
}

impl Storage {
    fn closed(&self) -> impl Iterator<Item = &SegmentInfo> {
        self.segments.iter().filter(|segment| segment.sealed)
    }

    /// The bytes of files that are no segments; one more segment is always about to be made.
    fn beside(&self, file_bytes: u64) -> u64 {
        let segments: u64 = self.segments.iter().map(|segment| segment.bytes).sum();
        let others = self.disk_bytes.saturating_sub(segments);
        if others >= file_bytes {
            others
        } else {
            others + file_bytes
        }
    }
}

impl Retention {
    /// Where the log should begin at `now`: at the end of the last closed segment that is to go, and
    /// never beyond `committed`. `None` when nothing is to go.
    pub(super) fn start(
        &self,
        storage: &Storage,
        now: Timestamp,
        committed: Offset,
    ) -> Option<Offset> {
        let old = self.too_old(storage, now);
        let large = self.too_large(storage);
        old.max(large).filter(|start| *start <= committed)
    }

    fn too_old(&self, storage: &Storage, now: Timestamp) -> Option<Offset> {
        let ms = self.ms?;
        let is_old =
            |segment: &&SegmentInfo| segment.last_append_time.0.saturating_add(ms) <= now.0;
        let old = storage.closed().take_while(is_old);
        old.last().map(|segment| segment.next_offset)
    }

    fn too_large(&self, storage: &Storage) -> Option<Offset> {
        let limit = self.bytes?;
        let segments: u64 = storage.segments.iter().map(|s| s.bytes).sum();
        let mut bytes = segments + storage.beside(self.file_bytes);
        let is_needless = |segment: &&SegmentInfo| {
            let needless = bytes > limit;
            bytes = bytes.saturating_sub(segment.bytes);
            needless
        };
        let gone = storage.closed().take_while(is_needless);
        gone.last().map(|segment| segment.next_offset)
    }

    /// Whether the segment that is written to is to be closed although nobody writes.
    pub(super) fn is_to_close(&self, storage: &Storage, now: Timestamp) -> bool {
        let Some(began) = storage.began else {
            return false;
        };
        let open = storage.segments.last().filter(|segment| !segment.sealed);
        let oversized = open.is_some_and(|open| open.bytes > self.file_bytes.saturating_mul(2));
        oversized || now.0.saturating_sub(began.0) >= self.file_ms
    }

    /// When there may be something to do because time has passed.
    pub(super) fn look_again(&self, storage: &Storage, now: Timestamp) -> Option<Duration> {
        let oldest = storage.closed().next();
        let expires = self
            .ms
            .zip(oldest)
            .map(|(ms, oldest)| oldest.last_append_time.0.saturating_add(ms));
        let closes = storage
            .began
            .map(|began| began.0.saturating_add(self.file_ms));
        let next = expires.into_iter().chain(closes).min()?;
        let left = u64::try_from(next.saturating_sub(now.0)).unwrap_or(0);
        Some(Duration::from_millis(left))
    }
}

#[cfg(test)]
mod tests;
