//! Which parts of a full file are in memory for certain. What is not is read on an I/O thread first:
//! whoever touches the map where it is not resident stands still until the disk has answered.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use super::error::{Damage, LogError};
use super::index::IndexEntry;
use super::segment::{Segment, WINDOW};
use super::segment_header::SEGMENT_HEADER;
use crate::clock::monotonic;

/// What is known is known of pieces of this size.
const PIECE: u32 = 1 << 20;
/// How far is read ahead of what is asked for: a reader that goes on waits once for so much.
const AHEAD: u32 = 3 * PIECE;
/// For how many seconds what was read or written is taken to be in memory still.
const HOLDS: u32 = 30;

/// When each piece of a file was last written or read from the disk.
#[derive(Debug)]
pub(super) struct Warmth {
    born: Instant,
    /// Whether the file is full. Until then it is what was just written, or was read at the start.
    full: AtomicBool,
    /// Seconds since it was born, counted from 1; 0 for never.
    pieces: Box<[AtomicU32]>,
}

impl Warmth {
    /// Of a file of `len` bytes, of which nothing is known.
    pub(super) fn new(len: u64) -> Self {
        let count = u32::try_from(len).unwrap_or(u32::MAX).div_ceil(PIECE);
        Self {
            born: monotonic().into_std(),
            full: AtomicBool::new(false),
            pieces: (0..count).map(|_| AtomicU32::new(0)).collect(),
        }
    }

    /// Notes that the file is full.
    pub(super) fn note_full(&self) {
        self.full.store(true, Ordering::Relaxed);
    }

    /// Whether a range has to be read from the disk before it may be touched.
    pub(super) fn may_be_cold(&self, range: &Range<u32>) -> bool {
        self.full.load(Ordering::Relaxed) && !self.is_warm(range)
    }

    /// Notes that a range is in memory.
    pub(super) fn mark(&self, range: &Range<u32>) {
        let now = self.now();
        for piece in self.of(range) {
            piece.store(now, Ordering::Relaxed);
        }
    }

    fn is_warm(&self, range: &Range<u32>) -> bool {
        let now = self.now();
        let warm = |piece: &AtomicU32| {
            let marked = piece.load(Ordering::Relaxed);
            marked > 0 && now.saturating_sub(marked) < HOLDS
        };
        self.of(range).iter().all(warm)
    }

    fn of(&self, range: &Range<u32>) -> &[AtomicU32] {
        let end = range.end.div_ceil(PIECE) as usize;
        let end = end.min(self.pieces.len());
        let start = (range.start / PIECE) as usize;
        self.pieces.get(start.min(end)..end).unwrap_or_default()
    }

    fn now(&self) -> u32 {
        let seconds = self.born.elapsed().as_secs() + 1;
        u32::try_from(seconds).unwrap_or(u32::MAX)
    }
}

/// A range of a full file that is to be read, from the last frame for which the condition holds.
pub(super) struct Wanted {
    pub(super) segment: Arc<Segment>,
    pub(super) end: u32,
    pub(super) bytes: u32,
    /// Where the read begins; everything is wanted from the first frame on without.
    pub(super) before: Option<Before>,
}

/// Whether a frame begins before what is wanted.
pub(super) type Before = Arc<dyn Fn(&IndexEntry) -> bool + Send + Sync>;

impl Wanted {
    /// The range, if the index is in memory and tells.
    fn range(&self) -> Option<Range<u32>> {
        let start = match &self.before {
            None => SEGMENT_HEADER,
            Some(before) => self.segment.position_of(self.end, &**before)?,
        };
        let end = start
            .saturating_add(self.bytes)
            .saturating_add(WINDOW as u32);
        Some(start..end.min(self.end))
    }

    pub(super) fn is_cold(&self) -> bool {
        let range = self.range();
        range.is_none_or(|range| !self.segment.warmth.is_warm(&range))
    }

    /// Reads it from the disk, and some more.
    fn warm(&self) -> Result<(), LogError> {
        let segment = &self.segment;
        if self.before.is_some() {
            segment.load_index(self.end);
        }
        let range = self.range().unwrap_or(SEGMENT_HEADER..self.end);
        let start = range.start - range.start % PIECE;
        let end = range.end.saturating_add(AHEAD).min(self.end);
        segment.read_from_disk(&(start..end), None)?;
        segment.warmth.mark(&(start..end));
        Ok(())
    }
}

/// What has to be read from the disk before a read can be served without waiting for it.
pub struct Cold {
    pub(super) wanted: Vec<Wanted>,
    /// Where damage is noted.
    pub(super) damage: Arc<OnceLock<Damage>>,
}

impl std::fmt::Debug for Cold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cold").finish_non_exhaustive()
    }
}

impl Cold {
    /// Reads it on an I/O thread and calls `done`. After an error the data must not be touched: the
    /// disk cannot give it.
    pub fn warm(self, done: Box<dyn FnOnce(Result<(), LogError>) + Send>) {
        let Some(first) = self.wanted.first() else {
            return done(Ok(()));
        };
        let home = Arc::clone(&first.segment.home);
        home.run_beside(Box::new(move || {
            let warmed = self.wanted.iter().try_for_each(Wanted::warm);
            if let Err(LogError::Damaged(damage)) = &warmed {
                let _ = self.damage.set(damage.clone());
            }
            done(warmed);
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_warm_when_each_of_its_pieces_is() {
        let warmth = Warmth::new(u64::from(4 * PIECE + 1));
        assert!(!warmth.is_warm(&(0..1)));
        warmth.mark(&(PIECE - 1..PIECE + 1));
        assert!(warmth.is_warm(&(0..2 * PIECE)));
        assert!(!warmth.is_warm(&(0..2 * PIECE + 1)));
        warmth.mark(&(0..u32::MAX));
        assert!(warmth.is_warm(&(0..4 * PIECE + 1)));
        assert!(warmth.is_warm(&(u32::MAX - 1..u32::MAX)), "beyond the end");
    }
}
