//! The sparse index of a segment: about one entry per 16 KiB, from offset, index and time to a
//! position. It only says where to begin to look, so a missing entry costs time and nothing else.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use crc32fast::Hasher;

use super::segment_header::{SEGMENT_HEADER, u32_at, u64_at};

/// Bytes of frames between two entries, at least.
pub(super) const STRIDE: u32 = if cfg!(test) { 256 } else { 16 << 10 };
/// The first bytes of an index file.
pub(super) const INDEX_MAGIC: [u8; 8] = *b"HWINDEX\0";
/// The version of the index file's layout.
pub(super) const INDEX_VERSION: u32 = 1;
/// Bytes before the entries of an index file.
const INDEX_HEADER: usize = 64;
/// Bytes of an entry.
const ENTRY: usize = 32;

/// One frame's place and what came before it in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct IndexEntry {
    /// The frame's base offset.
    pub(super) offset: u64,
    /// The frame's Raft index.
    pub(super) index: u64,
    /// The largest record time in the file before this frame; `i64::MIN` without records.
    pub(super) max_before: i64,
    /// The frame's first byte.
    pub(super) position: u32,
}

/// The index of one segment.
#[derive(Debug)]
pub(super) enum SegmentIndex {
    /// Of a sealed file nobody has searched yet.
    Unread,
    /// Of a file this process writes or has scanned.
    Growing(GrowingIndex),
    /// Of a sealed file, as its index file has it.
    Stored(StoredIndex),
}

impl SegmentIndex {
    /// The last indexed frame for which `before` holds; `None` when it holds for none. `before`
    /// must hold for a first part of the frames only.
    pub(super) fn seek(&self, before: impl Fn(&IndexEntry) -> bool) -> Option<IndexEntry> {
        self.entry(self.count_where(before).checked_sub(1)?)
    }

    /// The first indexed frame that begins at this byte or later. Every frame that begins before it
    /// ends there or earlier.
    pub(super) fn first_from(&self, position: u32) -> Option<IndexEntry> {
        self.entry(self.count_where(|entry| entry.position < position))
    }

    /// How many of the first entries a condition holds for.
    fn count_where(&self, before: impl Fn(&IndexEntry) -> bool) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.entry(middle) {
                Some(entry) if before(&entry) => low = middle + 1,
                _ => high = middle,
            }
        }
        low
    }

    fn len(&self) -> usize {
        match self {
            Self::Unread => 0,
            Self::Growing(index) => index.len.load(Ordering::Acquire),
            Self::Stored(index) => index.count,
        }
    }

    fn entry(&self, at: usize) -> Option<IndexEntry> {
        match self {
            Self::Unread => None,
            Self::Growing(index) => index.entries.get(at)?.get().copied(),
            Self::Stored(index) => index.entry(at),
        }
    }

    /// The entries below `end`, for the index file.
    pub(super) fn entries_below(&self, end: u32) -> Vec<IndexEntry> {
        let all = (0..self.len()).map_while(|at| self.entry(at));
        all.take_while(|entry| entry.position < end).collect()
    }
}

/// An index that one writer extends while readers search it without a lock.
#[derive(Debug)]
pub(super) struct GrowingIndex {
    entries: Box<[OnceLock<IndexEntry>]>,
    len: AtomicUsize,
}

impl GrowingIndex {
    /// An empty index for a file of this size.
    pub(super) fn for_file(file_len: u64) -> Self {
        let room = usize::try_from(file_len / u64::from(STRIDE)).unwrap_or(0) + 1;
        Self {
            entries: (0..room).map(|_| OnceLock::new()).collect(),
            len: AtomicUsize::new(0),
        }
    }

    /// Adds the entry if it is far enough behind the last one. Only the writer calls this.
    pub(super) fn offer(&self, entry: IndexEntry) {
        let len = self.len.load(Ordering::Relaxed);
        let last = len
            .checked_sub(1)
            .and_then(|at| self.entries.get(at)?.get());
        let from = last.map_or(SEGMENT_HEADER, |last| last.position);
        if entry.position.saturating_sub(from) >= STRIDE
            && let Some(cell) = self.entries.get(len)
            && cell.set(entry).is_ok()
        {
            self.len.store(len + 1, Ordering::Release);
        }
    }
}

/// What an index file says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct IndexHeader {
    /// The number of the segment file.
    pub(super) number: u32,
    /// The generation of the segment file.
    pub(super) generation: u32,
    /// Where the frames it indexes end.
    pub(super) end: u32,
}

/// The entries of an index file, read where they lie.
#[derive(Debug)]
pub(super) struct StoredIndex {
    bytes: Bytes,
    count: usize,
}

impl StoredIndex {
    /// Reads an index file; `None` when it is damaged or of another version, file or end.
    pub(super) fn read(bytes: Bytes, expected: &IndexHeader) -> Option<Self> {
        let header = bytes.get(..INDEX_HEADER)?;
        let count = u32_at(header, 24) as usize;
        let entries = bytes.get(INDEX_HEADER..INDEX_HEADER + count.checked_mul(ENTRY)?)?;
        let found = IndexHeader {
            generation: u32_at(header, 12),
            number: u32_at(header, 16),
            end: u32_at(header, 20),
        };
        let whole = header[..8] == INDEX_MAGIC
            && u32_at(header, 8) == INDEX_VERSION
            && crc(header, entries) == u32_at(header, 60)
            && found == *expected;
        whole.then_some(Self { bytes, count })
    }

    fn entry(&self, at: usize) -> Option<IndexEntry> {
        let start = INDEX_HEADER + at * ENTRY;
        let entry = (at < self.count).then(|| self.bytes.get(start..start + ENTRY))??;
        Some(IndexEntry {
            offset: u64_at(entry, 0),
            index: u64_at(entry, 8),
            max_before: u64_at(entry, 16) as i64,
            position: u32_at(entry, 24),
        })
    }
}

/// The bytes of an index file.
pub(super) fn encode(header: &IndexHeader, entries: &[IndexEntry]) -> Vec<u8> {
    let mut out = vec![0; INDEX_HEADER];
    out[..8].copy_from_slice(&INDEX_MAGIC);
    out[8..12].copy_from_slice(&INDEX_VERSION.to_le_bytes());
    out[12..16].copy_from_slice(&header.generation.to_le_bytes());
    out[16..20].copy_from_slice(&header.number.to_le_bytes());
    out[20..24].copy_from_slice(&header.end.to_le_bytes());
    out[24..28].copy_from_slice(&(entries.len() as u32).to_le_bytes());
    for entry in entries {
        out.extend_from_slice(&entry.offset.to_le_bytes());
        out.extend_from_slice(&entry.index.to_le_bytes());
        out.extend_from_slice(&entry.max_before.to_le_bytes());
        out.extend_from_slice(&entry.position.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
    }
    let crc = crc(&out[..INDEX_HEADER], &out[INDEX_HEADER..]);
    out[60..64].copy_from_slice(&crc.to_le_bytes());
    out
}

fn crc(header: &[u8], entries: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&header[..60]);
    hasher.update(entries);
    hasher.finalize()
}
