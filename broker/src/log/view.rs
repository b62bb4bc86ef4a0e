//! What readers see: an immutable picture of the log, replaced as a whole by the writer. A read
//! takes no lock and copies no payload; its slices keep the maps alive that they lie in.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use bytes::Bytes;
use highwater_proto::{LogIndex, Offset, Timestamp};

use super::body;
use super::error::{Damage, LogError};
use super::flusher::Flusher;
use super::frame::{FrameKind, Head, LastFrame, Tail};
use super::segment::{Found, Segment, times};
use super::segment_header::FOOTER;
use super::warm::{Before, Cold, Wanted};

mod files;

pub use files::SegmentInfo;

/// A part of the log: the frames of one file up to a byte.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) segment: Arc<Segment>,
    pub(super) end: u32,
    /// The log's state at `end`.
    pub(super) tail: Tail,
}

/// The log at one moment.
#[derive(Debug, Clone)]
pub(super) struct View {
    /// Files that are full, oldest first; none is empty.
    pub(super) sealed: Arc<Vec<Part>>,
    /// The file that is written to.
    pub(super) active: Option<Part>,
    /// The first index that can be read.
    pub(super) first_index: LogIndex,
    /// The first offset that can be read.
    pub(super) log_start_offset: Offset,
    /// The last frame, also if it was purged.
    pub(super) last: Option<LastFrame>,
    /// When the first batch of the file that is written to was appended.
    pub(super) began: Option<Timestamp>,
}

impl Part {
    /// What its file takes on the disk once it is full. A rest that is more than an eighth of it is
    /// given back; a file with a smaller one stays whole, and can become the next one.
    pub(super) fn sealed_bytes(&self) -> u64 {
        let len = self.segment.header.file_len;
        let used = (u64::from(self.end) + u64::from(FOOTER)).next_multiple_of(4096);
        if len.saturating_sub(used) > len / 8 {
            used
        } else {
            len
        }
    }
}

impl View {
    fn parts_where(&self, before: impl Fn(&Part) -> bool) -> impl Iterator<Item = &Part> {
        let skipped = self.sealed.partition_point(&before);
        let active = self.active.iter().filter(move |part| !before(part));
        self.sealed[skipped..].iter().chain(active)
    }

    /// What is not in memory of what a read of so many bytes looks at, from where `before` ends in the
    /// first of these parts.
    fn cold<'a>(
        parts: impl Iterator<Item = &'a Part>,
        before: Before,
        max_bytes: usize,
    ) -> Vec<Wanted> {
        let mut left = Wanted::looked_at(max_bytes);
        let mut before = Some(before);
        let mut cold = Vec::new();
        for part in parts {
            let wanted = Wanted {
                segment: Arc::clone(&part.segment),
                end: part.end,
                bytes: left,
                before: before.take(),
            };
            let range = wanted.range();
            left = left.saturating_sub(range.as_ref().map_or(0, |range| range.len() as u32));
            if range.is_none_or(|range| wanted.segment.warmth.may_be_cold(&range)) {
                cold.push(wanted);
            }
            if left == 0 {
                break;
            }
        }
        cold
    }

    /// The parts that may hold this index or later ones.
    pub(super) fn parts_from(&self, index: LogIndex) -> impl Iterator<Item = &Part> {
        self.parts_where(move |part| part.tail.next_index <= index)
    }
}

/// A frame as read: slices of the file's map, no copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The replicated part of its header.
    pub head: Head,
    /// The body; of a batch frame, stamped batches.
    pub body: Bytes,
}

/// One batch below the high watermark, as stored.
#[derive(Debug, Clone)]
pub struct CommittedBatch {
    /// The offset of its first record.
    pub base_offset: Offset,
    /// The first offset after its records.
    pub next_offset: Offset,
    /// When the leader appended it.
    pub append_time: Timestamp,
    /// The batch: header and records, base offset and leader epoch stamped.
    pub bytes: Bytes,
}

/// Reads a log while its one writer goes on. Cheap to clone; every call sees one moment of the log.
///
/// Every frame and batch returned has its CRCs checked, each time: about 3 ns for a record of 100 bytes.
#[derive(Debug, Clone)]
pub struct LogReader {
    pub(super) view: Arc<ArcSwap<View>>,
    /// The first damage that anyone met here.
    pub(super) damage: Arc<OnceLock<Damage>>,
    pub(super) flusher: Flusher,
}

impl LogReader {
    /// The frames `from..until`, fewer when their bodies exceed `max_bytes` or the log ends before,
    /// but at least one if there is one. An error below the first index.
    pub fn frames(
        &self,
        from: LogIndex,
        until: LogIndex,
        max_bytes: usize,
    ) -> Result<Vec<Frame>, LogError> {
        self.noted(self.read_frames(from, until, max_bytes))
    }

    fn read_frames(
        &self,
        from: LogIndex,
        until: LogIndex,
        max_bytes: usize,
    ) -> Result<Vec<Frame>, LogError> {
        let view = self.view.load();
        if from >= until {
            return Ok(Vec::new());
        }
        if from < view.first_index {
            return Err(LogError::Purged {
                index: from,
                first: view.first_index,
            });
        }
        let mut frames = Vec::new();
        let mut bytes = 0;
        for (nth, part) in view.parts_from(from).enumerate() {
            // All of a later part is wanted, and its index maybe not in memory.
            let mut walk = match nth {
                0 => part.segment.frames_near(from, part.end)?,
                _ => part.segment.frames(part.end),
            };
            while let Some(found) = walk.next_header()? {
                let head = found.raw.head;
                if head.index < from {
                    continue;
                }
                bytes += found.body.len() + Head::LEN;
                if head.index >= until || (bytes > max_bytes && !frames.is_empty()) {
                    return Ok(frames);
                }
                part.segment.verify(&found)?;
                frames.push(Frame {
                    head,
                    body: found.body,
                });
                // Nobody looks at a frame that cannot be taken: it may not be in memory.
                if bytes >= max_bytes {
                    return Ok(frames);
                }
            }
        }
        Ok(frames)
    }

    /// The head of an entry; `None` above the end, an error below the first index.
    pub fn head(&self, index: LogIndex) -> Result<Option<Head>, LogError> {
        self.noted(self.read_head(index))
    }

    fn read_head(&self, index: LogIndex) -> Result<Option<Head>, LogError> {
        let view = self.view.load();
        if index < view.first_index {
            return Err(LogError::Purged {
                index,
                first: view.first_index,
            });
        }
        let Some(part) = view.parts_from(index).next() else {
            return Ok(None);
        };
        let mut walk = part.segment.frames_near(index, part.end)?;
        while let Some(found) = walk.next_header()? {
            if found.raw.head.index == index {
                return Ok(Some(found.raw.head));
            }
        }
        Ok(None)
    }

    /// The last frame; `None` while there never was one.
    pub fn last(&self) -> Option<LastFrame> {
        self.view.load().last
    }

    /// When the first batch of the file that is written to was appended; `None` if it has none.
    pub fn began(&self) -> Option<Timestamp> {
        self.view.load().began
    }

    /// The first index that can be read, or would be if it were there.
    pub fn first_index(&self) -> LogIndex {
        self.view.load().first_index
    }

    /// The first offset that can be read, or would be if it were there.
    pub fn log_start_offset(&self) -> Offset {
        self.view.load().log_start_offset
    }

    /// The batches from the one that holds `from` on, up to `end` (the high watermark, exclusive):
    /// as many as `max_bytes` allows, at least one if `from < end`. The first may begin below
    /// `from`. An error below the log start offset.
    pub fn read_committed(
        &self,
        from: Offset,
        end: Offset,
        max_bytes: usize,
    ) -> Result<Vec<CommittedBatch>, LogError> {
        self.noted(self.read_batches(from, end, max_bytes))
    }

    fn read_batches(
        &self,
        from: Offset,
        end: Offset,
        max_bytes: usize,
    ) -> Result<Vec<CommittedBatch>, LogError> {
        let view = self.view.load();
        if from < view.log_start_offset {
            let log_start_offset = view.log_start_offset;
            return Err(LogError::BelowLogStart {
                offset: from,
                log_start_offset,
            });
        }
        let mut taken = Taken {
            from,
            end,
            room: max_bytes,
            batches: Vec::new(),
        };
        if from >= end {
            return Ok(taken.batches);
        }
        let parts = view.parts_where(|part| part.tail.next_offset <= from);
        for (nth, part) in parts.enumerate() {
            let mut walk = match nth {
                0 => part
                    .segment
                    .seek(part.end, |entry| entry.offset <= from.0)?,
                _ => part.segment.frames(part.end),
            };
            while let Some(found) = walk.next_header()? {
                if !taken.take(&part.segment, &found)? {
                    return Ok(taken.batches);
                }
            }
        }
        Ok(taken.batches)
    }

    /// What has to be read from the disk before [`Self::read_committed`] can be called without waiting
    /// for it; `None` when that is in memory.
    pub fn cold(&self, from: Offset, max_bytes: usize) -> Option<Cold> {
        let view = self.view.load();
        let before: Before = Arc::new(move |entry| entry.offset <= from.0);
        let parts = view.parts_where(|part| part.tail.next_offset <= from);
        self.if_any(View::cold(parts, before, max_bytes))
    }

    /// The same for [`Self::frames`].
    pub fn cold_frames(&self, from: LogIndex, max_bytes: usize) -> Option<Cold> {
        let view = self.view.load();
        let before: Before = Arc::new(move |entry| entry.index <= from.0);
        self.if_any(View::cold(view.parts_from(from), before, max_bytes))
    }

    fn if_any(&self, wanted: Vec<Wanted>) -> Option<Cold> {
        let damage = Arc::clone(&self.damage);
        (!wanted.is_empty()).then_some(Cold { wanted, damage })
    }

    /// The base offset of the first batch from the one that holds `from` on, and below `end`, that
    /// holds a record of time `time` or later: the first at which the running maximum of the times
    /// reaches it.
    pub fn offset_for_time(
        &self,
        time: Timestamp,
        from: Offset,
        end: Offset,
    ) -> Result<Option<Offset>, LogError> {
        self.noted(self.find_time(time, from, end))
    }

    fn find_time(
        &self,
        time: Timestamp,
        from: Offset,
        end: Offset,
    ) -> Result<Option<Offset>, LogError> {
        let view = self.view.load();
        let start = view.log_start_offset.max(from);
        for part in view.parts_where(|part| part.tail.next_offset <= start) {
            let mut walk = part
                .segment
                .seek(part.end, |entry| entry.max_before < time.0)?;
            while let Some(found) = walk.next_header()? {
                let head = &found.raw.head;
                if head.base_offset >= end {
                    return Ok(None);
                }
                if times(head) < time.0 || head.next_offset() <= start {
                    continue;
                }
                let mut base = head.base_offset;
                for batch in body::batches(&found.body).flatten() {
                    if batch.header.max_timestamp >= time.0 {
                        return Ok((base < end).then_some(base));
                    }
                    base = base.plus(u64::from(batch.records));
                }
            }
        }
        Ok(None)
    }
}

/// What a read of batches has taken so far.
struct Taken {
    from: Offset,
    end: Offset,
    room: usize,
    batches: Vec<CommittedBatch>,
}

impl Taken {
    /// Takes the batches of a frame; false when nothing more is wanted.
    fn take(&mut self, segment: &Segment, found: &Found) -> Result<bool, LogError> {
        let head = &found.raw.head;
        if head.kind != FrameKind::Batch || head.next_offset() <= self.from {
            return Ok(head.base_offset < self.end);
        }
        if head.next_offset() > self.end {
            return Ok(false);
        }
        segment.verify(found)?;
        let mut base_offset = head.base_offset;
        for batch in body::batches(&found.body).flatten() {
            let next_offset = base_offset.plus(u64::from(batch.records));
            if next_offset > self.from {
                if batch.len() > self.room && !self.batches.is_empty() {
                    return Ok(false);
                }
                self.room = self.room.saturating_sub(batch.len());
                let bytes = found.body.slice(batch.range());
                let append_time = head.append_time;
                self.batches.push(CommittedBatch {
                    base_offset,
                    next_offset,
                    append_time,
                    bytes,
                });
            }
            base_offset = next_offset;
        }
        Ok(self.room > 0)
    }
}
