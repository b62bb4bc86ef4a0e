//! PURE. What a partition may keep, and what follows from it: where its log should begin, and when to
//! look again. Whole segments go, oldest first, and only closed ones. Late rather than early: a
//! segment is as old as its last record. Only a segment from before a limit, larger than the limit
//! allows, is cut inside: it must not take much more with it than what is too much.

use std::time::Duration;

use highwater_proto::{LogIndex, Offset, Timestamp};

use crate::clock::Ages;
use crate::log::{SegmentInfo, is_oversized};

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

/// Where a log should begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// At this offset, where a segment ends.
    At(Offset),
    /// At the first frame from `byte` on, in the segment whose first entry is `segment`. Nothing
    /// from `before` on goes.
    Inside {
        segment: LogIndex,
        byte: u64,
        before: Offset,
    },
}

impl Start {
    /// No record from here on goes.
    fn end(&self) -> Offset {
        match *self {
            Self::At(offset) => offset,
            Self::Inside { before, .. } => before,
        }
    }
}

impl Storage {
    /// The same with the times from which on ages count: what a clock skipped makes nothing older.
    pub(super) fn counted(mut self, ages: &Ages) -> Self {
        for segment in &mut self.segments {
            segment.last_append_time = ages.counted_from(segment.last_append_time);
        }
        self.began = self.began.map(|began| ages.counted_from(began));
        self
    }

    fn closed(&self) -> impl Iterator<Item = &SegmentInfo> {
        self.segments.iter().filter(|segment| segment.sealed)
    }

    /// The closed segments that hold nothing from `committed` on.
    fn below(&self, committed: Offset) -> impl Iterator<Item = &SegmentInfo> {
        self.closed()
            .take_while(move |segment| segment.next_offset <= committed)
    }

    /// The bytes of files that are no segments; one more segment is always about to be made. No
    /// record goes for a file made ready before the limit, nor half of all for whatever it is.
    fn beside(&self, file_bytes: u64, limit: u64) -> u64 {
        let segments: u64 = self.segments.iter().map(|segment| segment.bytes).sum();
        let others = self.disk_bytes.saturating_sub(segments);
        let others = if others >= file_bytes {
            others
        } else {
            others + file_bytes
        };
        let from_before = |segment: &SegmentInfo| is_oversized(segment.bytes, file_bytes);
        if self.segments.iter().any(from_before) {
            others.min(file_bytes.saturating_mul(2))
        } else {
            others.min(limit / 2)
        }
    }
}

impl Retention {
    /// Where the log should begin at `now`: at the end of the last closed segment that is to go, or
    /// inside one, and never beyond `committed`. `None` when nothing is to go.
    pub(super) fn start(
        &self,
        storage: &Storage,
        now: Timestamp,
        committed: Offset,
    ) -> Option<Start> {
        let old = self.too_old(storage, now, committed).map(Start::At);
        let large = self.too_large(storage, committed);
        large.into_iter().chain(old).max_by_key(Start::end)
    }

    fn too_old(&self, storage: &Storage, now: Timestamp, committed: Offset) -> Option<Offset> {
        let ms = self.ms?;
        let is_old =
            |segment: &&SegmentInfo| segment.last_append_time.0.saturating_add(ms) <= now.0;
        let old = storage.below(committed).take_while(is_old);
        old.last().map(|segment| segment.next_offset)
    }

    /// What the segment files may take together before more waits for old ones to go: the limit, and
    /// the file that is written while the oldest is being deleted.
    pub(super) fn most_file_bytes(&self) -> Option<u64> {
        self.bytes
            .map(|bytes| bytes.saturating_add(self.file_bytes))
    }

    /// What a segment counts: the bytes of its frames, if it is larger than segments are made now.
    fn weight(&self, segment: &SegmentInfo) -> u64 {
        if is_oversized(segment.bytes, self.file_bytes) {
            segment.end
        } else {
            segment.bytes
        }
    }

    fn too_large(&self, storage: &Storage, committed: Offset) -> Option<Start> {
        let limit = self.bytes?;
        let weights = storage.segments.iter().map(|s| self.weight(s));
        let bytes = weights.sum::<u64>() + storage.beside(self.file_bytes, limit);
        let mut excess = bytes.saturating_sub(limit);
        let mut start = None;
        for segment in storage.below(committed) {
            if excess == 0 {
                break;
            }
            let weight = self.weight(segment);
            let from_before = is_oversized(segment.bytes, self.file_bytes);
            if from_before && excess < weight {
                return Some(Start::Inside {
                    segment: segment.first_index,
                    byte: excess,
                    before: segment.next_offset,
                });
            }
            start = Some(Start::At(segment.next_offset));
            excess = excess.saturating_sub(weight);
        }
        start
    }

    /// Whether the segment that is written to is to be closed although nobody writes.
    pub(super) fn is_to_close(&self, storage: &Storage, now: Timestamp) -> bool {
        let Some(began) = storage.began else {
            return false;
        };
        let open = storage.segments.last().filter(|segment| !segment.sealed);
        let oversized = open.is_some_and(|open| is_oversized(open.bytes, self.file_bytes));
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
