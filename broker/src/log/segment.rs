//! One segment file as readers and the writer share it: where frames are and whether they are whole.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use bytes::Bytes;
use highwater_proto::{LogIndex, Timestamp};

use super::body;
use super::dir::{Dir, File};
use super::error::{Damage, LogError};
use super::frame::{FrameFault, FrameKind, HEADER_LEN, Head, RawFrame, Tail};
use super::index::{GrowingIndex, IndexEntry, SegmentIndex};
use super::readable;
use super::scan::{self, Stop};
use super::seal;
use super::segment_header::{SEGMENT_HEADER, SegmentHeader};
use super::warm::Warmth;

/// How much is looked at at once where the end of what is wanted is not known.
pub(super) const WINDOW: u64 = 64 << 10;

/// The name of file `number`.
pub(super) fn file_name(number: u32) -> String {
    format!("{number:08}.seg")
}

/// What file `number` is called when it is dead and about to become another one.
pub(super) fn dead_name(number: u32) -> String {
    format!("{number:08}.old")
}

/// Whether a file of this name is a segment.
pub(super) fn is_segment(name: &str) -> bool {
    name.ends_with(".seg")
}

/// Whether a file of this name is dead and about to become another one.
pub(super) fn is_dead(name: &str) -> bool {
    name.ends_with(".old")
}

/// The name of the index file beside file `number`.
pub(super) fn index_name(number: u32) -> String {
    format!("{number:08}.idx")
}

/// A segment file with its header and its index.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) header: SegmentHeader,
    pub(super) generation: u32,
    pub(super) home: Arc<dyn Dir>,
    pub(super) file: Arc<dyn File>,
    pub(super) index: ArcSwap<SegmentIndex>,
    /// What of it is in memory.
    pub(super) warmth: Warmth,
    /// Up to which byte its hint says that it is durable.
    pub(super) marked: AtomicU32,
    /// What its file takes on the disk.
    disk_bytes: AtomicU64,
    /// What it takes once it has given back what it is about to.
    settled_bytes: AtomicU64,
    /// Set before its file goes.
    purged: AtomicBool,
}

/// A frame found in a segment.
pub(super) struct Found {
    pub(super) raw: RawFrame,
    pub(super) body: Bytes,
    pub(super) position: u32,
    pub(super) end: u32,
}

impl Segment {
    /// The segment of a file in `home`.
    pub(super) fn new(
        header: SegmentHeader,
        home: &Arc<dyn Dir>,
        file: Arc<dyn File>,
        index: SegmentIndex,
    ) -> Self {
        Self {
            generation: header.generation(),
            warmth: Warmth::new(header.file_len),
            header,
            home: Arc::clone(home),
            file,
            index: ArcSwap::from_pointee(index),
            marked: AtomicU32::new(0),
            disk_bytes: AtomicU64::new(header.file_len),
            settled_bytes: AtomicU64::new(header.file_len),
            purged: AtomicBool::new(false),
        }
    }

    /// A segment to be written.
    pub(super) fn begin(header: SegmentHeader, home: &Arc<dyn Dir>, file: Arc<dyn File>) -> Self {
        let index = SegmentIndex::Growing(GrowingIndex::for_file(header.file_len));
        Self::new(header, home, file, index)
    }

    /// What the file takes on the disk, as far as this process knows.
    pub(super) fn disk_bytes(&self) -> u64 {
        self.disk_bytes.load(Ordering::Acquire)
    }

    /// What the file takes once it has given back what it is about to.
    pub(super) fn settled_bytes(&self) -> u64 {
        self.settled_bytes.load(Ordering::Acquire)
    }

    /// Notes that the file is about to give back all but so much.
    pub(super) fn will_keep(&self, bytes: u64) {
        self.settled_bytes.store(bytes, Ordering::Release);
    }

    /// Notes that the file takes only so much, and is not about to give anything back.
    pub(super) fn note_disk_bytes(&self, bytes: u64) {
        self.disk_bytes.store(bytes, Ordering::Release);
        self.settled_bytes.store(bytes, Ordering::Release);
    }

    /// Asks the file system what the file takes. For a file that is written to no more: of one that
    /// is, all its length counts. What cannot be asked counts whole, too, and no file more than that.
    pub(super) fn measure(&self) -> u64 {
        let len = self.header.file_len;
        let bytes = self.file.disk_bytes().map_or(len, |bytes| bytes.min(len));
        self.note_disk_bytes(bytes);
        bytes
    }

    /// Notes that the file is about to go, so that nothing is made beside it any more.
    pub(super) fn note_purged(&self) {
        self.purged.store(true, Ordering::Release);
    }

    /// Whether the file is gone or about to go.
    pub(super) fn is_purged(&self) -> bool {
        self.purged.load(Ordering::Acquire)
    }

    /// Offers a frame to the index, if the index still grows. Only the writer and recovery do.
    pub(super) fn offer(&self, entry: IndexEntry) {
        if let SegmentIndex::Growing(index) = &**self.index.load() {
            index.offer(entry);
        }
    }

    /// The frames up to `end`.
    pub(super) fn frames(&self, end: u32) -> Frames<'_> {
        self.frames_from(SEGMENT_HEADER, self.header.first_index, end)
    }

    fn frames_from(&self, position: u32, next_index: LogIndex, end: u32) -> Frames<'_> {
        Frames {
            segment: self,
            window: Bytes::new(),
            window_start: position,
            position,
            next_index,
            end,
        }
    }

    /// Where [`Self::seek`] begins; `None` while the index has to be read from the disk.
    pub(super) fn position_of(
        &self,
        end: u32,
        before: &dyn Fn(&IndexEntry) -> bool,
    ) -> Option<u32> {
        let index = self.index_at_hand()?;
        let first = self.first_frame(&index, end, before);
        Some(first.map_or(SEGMENT_HEADER, |entry| entry.position))
    }

    /// The last frame below `end` that is indexed, or noted as written, and for which `before` holds.
    fn first_frame(
        &self,
        index: &SegmentIndex,
        end: u32,
        before: impl Fn(&IndexEntry) -> bool,
    ) -> Option<IndexEntry> {
        let before = |entry: &IndexEntry| entry.position < end && before(entry);
        let (indexed, noted) = (index.seek(before), self.warmth.noted(before));
        let known = indexed.into_iter().chain(noted);
        known.max_by_key(|entry| entry.position)
    }

    /// The index, unless it has to be read from the disk: nobody has yet, or not for long.
    pub(super) fn index_at_hand(&self) -> Option<Arc<SegmentIndex>> {
        let index = self.index.load_full();
        let is_there = match &*index {
            SegmentIndex::Unread => false,
            SegmentIndex::Stored(_) => self.warmth.is_index_warm(),
            SegmentIndex::Growing(_) => true,
        };
        is_there.then_some(index)
    }

    /// The index, from the disk if it has to be.
    pub(super) fn load_index(&self, end: u32) -> Result<Arc<SegmentIndex>, LogError> {
        let at_hand = self.index_at_hand();
        at_hand.map_or_else(|| seal::read_index(self, end), Ok)
    }

    /// The frames up to `end` from the last one that is known without a look and for which `before` holds.
    pub(super) fn seek(
        &self,
        end: u32,
        before: impl Fn(&IndexEntry) -> bool,
    ) -> Result<Frames<'_>, LogError> {
        let index = self.load_index(end)?;
        Ok(match self.first_frame(&index, end, before) {
            Some(entry) => self.frames_from(entry.position, LogIndex(entry.index), end),
            None => self.frames(end),
        })
    }

    /// The frames up to `end` of which the first has an index of at most `index`.
    pub(super) fn frames_near(&self, index: LogIndex, end: u32) -> Result<Frames<'_>, LogError> {
        self.seek(end, |entry| entry.index <= index.0)
    }

    /// Where the frame with index `next` begins, and the tail of the log before it.
    pub(super) fn tail_before(&self, next: LogIndex, end: u32) -> Result<(u32, Tail), LogError> {
        let before = LogIndex(next.0.saturating_sub(1));
        let mut frames = self.frames_near(before, end)?;
        let mut found = (SEGMENT_HEADER, self.header.start());
        while let Some(frame) = frames.next_header()? {
            if frame.raw.head.index >= next {
                break;
            }
            found = (frame.end, Tail::from(&frame.raw.head));
            // The next frame may not be in memory, and is not looked at.
            if frame.raw.head.index.next() == next {
                break;
            }
        }
        Ok(found)
    }

    /// Checks the body of a frame against its CRCs. Whoever hands bytes on does so each time, also
    /// with those that were whole before: pages leave memory and come back from the disk.
    pub(super) fn verify(&self, frame: &Found) -> Result<(), LogError> {
        verify_body(&frame.raw.head, &frame.body)
            .map_err(|fault| self.damage(frame.position, Some(frame.raw.head.index), fault))
    }

    /// Walks everything up to `end`, where the log has to stand at `tail`.
    pub(super) fn check(&self, end: u32, tail: &Tail) -> Result<(), LogError> {
        self.read_from_disk(&(0..end), None)?;
        let bytes = self.file.slice(0..self.file.len());
        let scan = scan::scan(&bytes, &self.header, end, &mut |_| {});
        if scan.end == end && scan.tail == *tail {
            return Ok(());
        }
        let fault = match scan.stop {
            Stop::Fault(fault) => fault,
            Stop::Limit | Stop::Footer => FrameFault::Order,
        };
        Err(self.damage(scan.end, Some(scan.tail.next_index), fault))
    }

    /// Reads a range from the disk into memory. What the disk cannot give is damage, of which `index`
    /// is the first entry, if that is known.
    pub(super) fn read_from_disk(
        &self,
        range: &Range<u32>,
        index: Option<LogIndex>,
    ) -> Result<(), LogError> {
        let number = self.header.number;
        let range = u64::from(range.start)..u64::from(range.end);
        let unreadable = readable::first_unreadable(&*self.file, range);
        match unreadable.map_err(LogError::io("read", file_name(number)))? {
            Some(at) => Err(LogError::Damaged(Damage {
                first_bad_index: index,
                ..readable::damage(number, at)
            })),
            None => Ok(()),
        }
    }

    fn damage(&self, position: u32, index: Option<LogIndex>, fault: FrameFault) -> LogError {
        LogError::Damaged(Damage {
            file: file_name(self.header.number),
            position,
            first_bad_index: index,
            reason: fault.to_string(),
        })
    }
}

impl Found {
    /// The frame's index entry, after frames with times up to `max_before`.
    pub(super) fn entry(&self, max_before: i64) -> IndexEntry {
        let head = &self.raw.head;
        let (offset, index) = (head.base_offset.0, head.index.0);
        IndexEntry {
            offset,
            index,
            max_before,
            position: self.position,
        }
    }
}

/// The largest record time of a frame; `i64::MIN` without records.
pub(super) fn times(head: &Head) -> i64 {
    if head.kind == FrameKind::Batch {
        head.max_timestamp.0
    } else {
        i64::MIN
    }
}

/// The time a frame without records carries in its head.
pub(super) const NO_TIME: Timestamp = Timestamp(-1);

/// Checks a body against the CRCs in the head or in the batches.
pub(super) fn verify_body(head: &Head, bytes: &Bytes) -> Result<(), FrameFault> {
    let whole = if head.kind == FrameKind::Batch {
        body::crcs_match(bytes)
    } else {
        crc32fast::hash(bytes) == head.body_crc
    };
    if whole {
        Ok(())
    } else {
        Err(FrameFault::BodyCrc)
    }
}

/// A walk over frames that looks at the file through windows, so that it costs what it reads.
pub(super) struct Frames<'a> {
    segment: &'a Segment,
    window: Bytes,
    window_start: u32,
    position: u32,
    next_index: LogIndex,
    end: u32,
}

impl Frames<'_> {
    /// The next frame with its header checked, or `None` at the end. A whole frame in the wrong
    /// place is damage, too.
    pub(super) fn next_header(&mut self) -> Result<Option<Found>, LogError> {
        if self.position >= self.end {
            return Ok(None);
        }
        let (segment, position, index) = (self.segment, self.position, self.next_index);
        let bad = |fault| segment.damage(position, Some(index), fault);
        let head =
            Head::decode(self.view(HEADER_LEN as u64)?).map_err(|fault| bad(fault.into()))?;
        let frame_end = u64::from(position) + head.frame_len();
        if frame_end > u64::from(self.end) {
            return Err(bad(FrameFault::Cut));
        }
        let bytes = self.view(head.frame_len())?;
        let raw = RawFrame::parse(bytes, segment.generation).map_err(bad)?;
        if raw.head.index != index {
            return Err(bad(FrameFault::Order));
        }
        let body_start = (position - self.window_start) as usize + raw.body_start;
        let body = self
            .window
            .slice(body_start..body_start + head.body_len as usize);
        let end = frame_end as u32;
        (self.position, self.next_index) = (end, index.next());
        Ok(Some(Found {
            raw,
            body,
            position,
            end,
        }))
    }

    /// The next `len` bytes at the position, cut at the end.
    fn view(&mut self, len: u64) -> Result<&[u8], LogError> {
        let len = len.min(u64::from(self.end - self.position));
        let mut from = (self.position - self.window_start) as usize;
        if from + len as usize > self.window.len() {
            let start = u64::from(self.position);
            let until = (start + len.max(WINDOW)).min(u64::from(self.end));
            let range = self.position..until as u32;
            if self.segment.warmth.may_be_cold(&range) {
                self.segment.read_from_disk(&range, Some(self.next_index))?;
            }
            self.window = self.segment.file.slice(start..until);
            (self.window_start, from) = (self.position, 0);
        }
        let until = (from + len as usize).min(self.window.len());
        Ok(self.window.get(from..until).unwrap_or_default())
    }
}
