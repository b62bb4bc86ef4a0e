//! Which parts of a file are in memory for certain. What is not is read on an I/O thread first:
//! whoever touches the map where it is not resident stands still until the disk has answered.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use arc_swap::ArcSwapOption;

use super::dir::Dir;
use super::error::{Damage, LogError};
use super::index::IndexEntry;
use super::segment::{Segment, WINDOW};
use super::segment_header::SEGMENT_HEADER;
use crate::clock::monotonic;

/// What is known is known of pieces of this size.
const PIECE: u32 = 1 << 20;
/// How far is read ahead of what is asked for: a reader that goes on waits once for so much.
const AHEAD: u32 = 3 * PIECE;
/// What the largest batch and its frame's head take.
const LARGEST: u32 = 3 * PIECE + WINDOW as u32;
/// For how many seconds what was read or written is taken to be in memory still.
const HOLDS: u32 = 30;

/// When each piece of a file was last read from the disk, and what of it was just written. Times are
/// seconds since this was made, counted from 1; 0 is never.
#[derive(Debug)]
pub(super) struct Warmth {
    born: Instant,
    /// When all was read that a piece had; what it has beyond that was written later.
    pieces: Box<[AtomicU32]>,
    /// The frames written first of those of the last seconds. What a note says is true for ever.
    written: ArcSwapOption<Written>,
    /// When the file of the index was last read or written.
    index: AtomicU32,
}

/// Two notes, of which the earlier one counts until the later one is old enough to count alone.
#[derive(Debug)]
struct Written {
    later: Note,
    earlier: Option<Note>,
}

/// A frame from which on everything was written at a time or later.
#[derive(Debug, Clone, Copy)]
struct Note {
    first: IndexEntry,
    at: u32,
}

impl Written {
    fn notes(&self) -> impl Iterator<Item = &Note> {
        self.earlier.iter().chain([&self.later])
    }
}

impl Warmth {
    /// Of a file of `len` bytes, of which nothing is known.
    pub(super) fn new(len: u64) -> Self {
        let count = u32::try_from(len).unwrap_or(u32::MAX).div_ceil(PIECE);
        Self {
            born: monotonic().into_std(),
            pieces: (0..count).map(|_| AtomicU32::new(0)).collect(),
            written: ArcSwapOption::empty(),
            index: AtomicU32::new(0),
        }
    }

    /// Whether a range has to be read from the disk before it may be touched.
    pub(super) fn may_be_cold(&self, range: &Range<u32>) -> bool {
        let now = self.now();
        let range = range.start..range.end.min(self.written_lately(now));
        let warm = |piece: &AtomicU32| is_recent(piece.load(Ordering::Relaxed), now);
        !range.is_empty() && !self.of(&range).iter().all(warm)
    }

    /// Notes that a range was read, whole pieces or to the end of what is there.
    pub(super) fn mark(&self, range: &Range<u32>) {
        let now = self.now();
        for piece in self.of(range) {
            piece.store(now, Ordering::Relaxed);
        }
    }

    /// Notes that the file was written from this frame on, behind all that it had. Only the one
    /// writer calls this, before readers are shown the frame.
    pub(super) fn wrote(&self, first: IndexEntry) {
        let at = self.now();
        let last = self.written.load();
        let earlier = last.as_ref().map(|last| last.later);
        if earlier.is_none_or(|note| at.saturating_sub(note.at) >= HOLDS / 2) {
            let later = Note { first, at };
            self.written
                .store(Some(Arc::new(Written { later, earlier })));
        }
    }

    /// The last frame that is noted as written and for which `before` holds. Who begins to look there
    /// does not come to what is older, as it does from the last frame that is indexed.
    pub(super) fn noted(&self, before: impl Fn(&IndexEntry) -> bool) -> Option<IndexEntry> {
        let written = self.written.load();
        let firsts = written.iter().flat_map(|written| written.notes());
        firsts.map(|note| note.first).filter(before).last()
    }

    /// Notes that the file of the index was read or written.
    pub(super) fn mark_index(&self) {
        self.index.store(self.now(), Ordering::Relaxed);
    }

    /// Whether the file of the index may be touched.
    pub(super) fn is_index_warm(&self) -> bool {
        is_recent(self.index.load(Ordering::Relaxed), self.now())
    }

    /// Makes all that was ever read or written so long ago that it may have left memory.
    #[cfg(test)]
    pub(super) fn grow_old(&self) {
        let pieces = self.pieces.iter();
        pieces.for_each(|piece| piece.store(0, Ordering::Relaxed));
        self.written.store(None);
        self.index.store(0, Ordering::Relaxed);
    }

    /// The byte from which on everything was just written.
    fn written_lately(&self, now: u32) -> u32 {
        let written = self.written.load();
        let mut notes = written.iter().flat_map(|written| written.notes());
        let recent = notes.find(|note| is_recent(note.at, now));
        recent.map_or(u32::MAX, |note| note.first.position)
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

fn is_recent(noted: u32, now: u32) -> bool {
    noted > 0 && now.saturating_sub(noted) < HOLDS
}

/// A range of a file that is to be read, from the last frame for which the condition holds.
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
    /// How much a read of so many bytes of batches looks at: the heads of their frames, too, which
    /// are small ones in a slow topic; less than a window of frames from the one that the index
    /// names to the first; and a window behind the last.
    pub(super) fn looked_at(max_bytes: usize) -> u32 {
        let bytes = u32::try_from(max_bytes).unwrap_or(u32::MAX);
        let beside = bytes / 2 + 2 * WINDOW as u32;
        bytes.saturating_add(beside)
    }

    /// The range, if the index is in memory and tells; not the wrong way round. It holds all of each
    /// frame that begins in it: a read looks at whole frames, and takes one that is larger than asked for.
    pub(super) fn range(&self) -> Option<Range<u32>> {
        let start = match &self.before {
            None => SEGMENT_HEADER,
            Some(before) => self.segment.position_of(self.end, &**before)?,
        };
        let until = start.saturating_add(self.bytes);
        let end = match self.segment.index_at_hand() {
            Some(index) => index
                .first_from(until)
                .map_or(self.end, |next| next.position),
            None => until.saturating_add(LARGEST),
        };
        Some(start..end.min(self.end).max(start))
    }

    pub(super) fn is_cold(&self) -> bool {
        let range = self.range();
        range.is_none_or(|range| self.segment.warmth.may_be_cold(&range))
    }

    /// Reads it from the disk, and some more.
    fn warm(&self) -> Result<(), LogError> {
        let segment = &self.segment;
        if self.before.is_some() {
            segment.load_index(self.end)?;
        }
        let range = self.range().unwrap_or(SEGMENT_HEADER..self.end);
        let start = range.start - range.start % PIECE;
        // Of the last piece all that is there, since that is what is noted.
        let end = range.end.saturating_add(AHEAD).div_ceil(PIECE);
        let end = end.saturating_mul(PIECE).min(self.end);
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
    /// The directory of the log, which has threads for this.
    pub fn home(&self) -> Option<Arc<dyn Dir>> {
        let first = self.wanted.first()?;
        Some(Arc::clone(&first.segment.home))
    }

    /// Reads it, but for what others have read meanwhile, and waits for the disk. After an error the data
    /// must not be touched: the disk cannot give it.
    pub fn read(&self) -> Result<(), LogError> {
        let mut cold = self.wanted.iter().filter(|wanted| wanted.is_cold());
        let read = cold.try_for_each(Wanted::warm);
        if let Err(LogError::Damaged(damage)) = &read {
            let _ = self.damage.set(damage.clone());
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LEN: u32 = 4 * PIECE + 1;

    /// A frame of one record that begins there.
    fn frame(position: u32) -> IndexEntry {
        let number = u64::from(position);
        IndexEntry {
            offset: number,
            index: number,
            max_before: i64::MIN,
            position,
        }
    }

    fn seconds_pass(warmth: &mut Warmth, seconds: u32) {
        warmth.born -= Duration::from_secs(u64::from(seconds));
    }

    #[test]
    fn a_range_is_warm_when_each_of_its_pieces_is() {
        let warmth = Warmth::new(u64::from(LEN));
        assert!(warmth.may_be_cold(&(0..1)));
        warmth.mark(&(PIECE - 1..PIECE + 1));
        assert!(!warmth.may_be_cold(&(0..2 * PIECE)));
        assert!(warmth.may_be_cold(&(0..2 * PIECE + 1)));
        warmth.mark(&(0..u32::MAX));
        assert!(!warmth.may_be_cold(&(0..LEN)));
        let beyond = u32::MAX - 1..u32::MAX;
        assert!(!warmth.may_be_cold(&beyond), "beyond the end");
    }

    #[test]
    fn what_was_written_within_the_last_seconds_is_warm_and_what_is_before_it_is_not() {
        let mut warmth = Warmth::new(u64::from(LEN));
        // 1,000 bytes a second, for longer than two notes count.
        for second in 0..4 * HOLDS {
            let end = 1_000 * (second + 1);
            warmth.wrote(frame(1_000 * second));
            assert!(!warmth.may_be_cold(&(end.saturating_sub(15_000)..end)));
            if second >= HOLDS {
                assert!(warmth.may_be_cold(&(end - 31_000..end)), "{second}");
            }
            seconds_pass(&mut warmth, 1);
        }
        seconds_pass(&mut warmth, HOLDS);
        let end = 4_000 * HOLDS;
        assert!(warmth.may_be_cold(&(end - 1..end)), "it went on to nothing");
    }

    #[test]
    fn what_is_appended_to_a_piece_does_not_make_the_rest_of_it_warm() {
        let mut warmth = Warmth::new(u64::from(LEN));
        warmth.wrote(frame(0));
        seconds_pass(&mut warmth, HOLDS - 1);
        assert!(!warmth.may_be_cold(&(0..100)));
        seconds_pass(&mut warmth, 1);
        warmth.wrote(frame(100));
        assert!(warmth.may_be_cold(&(99..200)));
        assert!(!warmth.may_be_cold(&(100..200)));
        warmth.mark(&(0..200));
        assert!(!warmth.may_be_cold(&(0..300)), "read, and written since");
        seconds_pass(&mut warmth, HOLDS);
        assert!(warmth.may_be_cold(&(0..1)) && warmth.may_be_cold(&(199..200)));
    }

    #[test]
    fn a_look_begins_at_the_last_noted_frame_that_is_not_behind_what_is_looked_for() {
        let mut warmth = Warmth::new(u64::from(LEN));
        let noted = |warmth: &Warmth, index: u64| {
            let first = warmth.noted(|entry| entry.index <= index);
            first.map(|first| first.position)
        };
        assert_eq!(noted(&warmth, u64::MAX), None);
        for position in [100, 200, 300] {
            warmth.wrote(frame(position));
            warmth.wrote(frame(position + 1));
            seconds_pass(&mut warmth, HOLDS);
        }
        assert_eq!(noted(&warmth, 199), None);
        assert_eq!(noted(&warmth, 299), Some(200));
        assert_eq!(noted(&warmth, 300), Some(300));
    }
}
