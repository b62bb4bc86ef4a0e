//! Taking entries away: from the end (a truncation is a new file whose header names the cut), from
//! the front (whole files are unlinked or become the next one), or all of them for a snapshot.

use std::io::{self, IoSlice};
use std::sync::Arc;

use highwater_proto::LogIndex;

use super::super::dir::File;
use super::super::error::LogError;
use super::super::frame::{LastFrame, Position, Tail};
use super::super::segment::{Segment, dead_name, file_name, index_name};
use super::super::segment_header::{Origin, SEGMENT_HEADER};
use super::super::view::Part;
use super::{Active, Dead, Log};

/// The least a file that is begun for a cut must have.
const CUT_FILE: u64 = 128 << 10;

impl Log {
    /// Removes every entry after `last` (all of them for `None`). Durable when it returns; what was
    /// appended before is on the disk then, too. An entry that is not in the log is an error.
    pub fn truncate_after(&mut self, last: Option<LogIndex>) -> Result<(), LogError> {
        self.refuse_if_poisoned()?;
        let next = last.map_or(LogIndex(0), LogIndex::next);
        if next == self.tail.next_index || (last.is_none() && !self.has_past) {
            return Ok(());
        }
        let start = self.physical_start();
        let inside = next >= start && next <= self.tail.next_index;
        if let (Some(index), false) = (last, inside) {
            let (first, last) = (self.first_index, self.last().map(|last| last.index));
            return Err(LogError::TruncateOutside { index, first, last });
        }
        self.flusher.sync_now().map_err(LogError::Poisoned)?;
        let (kept, cut) = self.keep_below(next.max(start))?;
        let (origin, continues) = match kept.last() {
            Some(part) => {
                let file = part.segment.header.number;
                (
                    Origin::Cut,
                    Some(Position {
                        file,
                        byte: part.end,
                    }),
                )
            }
            None => cut.joint,
        };
        self.replace(kept, cut.tail, cut.has_past, (origin, continues))
    }

    /// Forgets the entries up to `through`: they can no longer be read, and the files that hold
    /// nothing else are unlinked. Beyond the end it empties the log, whose next entry may then have
    /// any index.
    ///
    /// After an error the log begins where the first file begins that is still there, or where it
    /// began, and the same can be asked for again.
    pub fn purge(&mut self, through: LogIndex) -> Result<(), LogError> {
        self.refuse_if_poisoned()?;
        if through.next() > self.tail.next_index {
            return self.empty(through.next());
        }
        if through < self.first_index {
            return Ok(());
        }
        let head = self.reader().head(through.next())?;
        let first_index = through.next();
        let start = head.map_or(self.tail.next_offset, |head| head.base_offset);
        let is_gone = |part: &Part| part.tail.next_index <= first_index;
        let gone = self.sealed.partition_point(is_gone);
        if gone > 0 {
            // The files that take over what these began must be durable before they are gone, and a
            // dead file before them must not stay: a log with a hole behind it looks damaged.
            self.flusher.sync_now().map_err(LogError::Poisoned)?;
            self.clear_dead()?;
        }
        let spare = self.sealed[..gone].last();
        let spare = spare.filter(|part| self.can_reuse(part));
        let spare = spare.map(|part| part.segment.header.number);
        let (removed, failed) = self.unlink_first(gone, spare);
        match (&failed, self.sealed[..removed].last()) {
            (None, _) => (self.first_index, self.log_start_offset) = (first_index, start),
            (Some(_), None) => {}
            (Some(_), Some(last)) => {
                let tail = last.tail;
                self.first_index = self.first_index.max(tail.next_index);
                self.log_start_offset = self.log_start_offset.max(tail.next_offset);
            }
        }
        // Whoever holds a file has it open.
        Arc::make_mut(&mut self.sealed).drain(..removed);
        self.publish();
        self.tell_files();
        match (failed, spare) {
            (Some(error), _) => Err(error),
            (None, Some(spare)) => {
                self.room.recycle(spare);
                Ok(())
            }
            (None, None) => Ok(()),
        }
    }

    /// Unlinks the first `count` files, oldest first, and of file `spare` only the name. Gives how
    /// many are gone, and what kept the next one.
    fn unlink_first(&self, count: usize, spare: Option<u32>) -> (usize, Option<LogError>) {
        for (removed, part) in self.sealed[..count].iter().enumerate() {
            let number = part.segment.header.number;
            part.segment.note_purged();
            if let Err(error) = self.unlink(number, spare == Some(number)) {
                return (removed, Some(error));
            }
        }
        (count, None)
    }

    /// Removes the files that no longer count, durably, or says which one stays.
    fn clear_dead(&mut self) -> Result<(), LogError> {
        if let Some((number, error)) = self.remove_dead() {
            return Err(LogError::io("remove", file_name(number))(error));
        }
        if self.dead_unsynced {
            let synced = self.dir.sync_dir();
            synced.map_err(LogError::io("sync", "the log's directory"))?;
            self.dead_unsynced = false;
        }
        Ok(())
    }

    /// Whether a file that is no longer needed may become the next one: in a log that is being
    /// written, and fills files of the largest size.
    fn can_reuse(&self, part: &Part) -> bool {
        let full = self.limited(u64::MAX);
        let is_full_size = |segment: &Segment| segment.header.file_len == full;
        let is_whole = part.sealed_bytes() == part.segment.header.file_len;
        let is_written = self
            .active
            .as_ref()
            .is_some_and(|active| active.began.is_some() && is_full_size(&active.segment));
        let before = self.sealed.last().unwrap_or(part);
        let fills = u64::from(before.end) >= before.segment.header.file_len / 2;
        let fits = is_whole && is_full_size(&part.segment);
        is_written && fills && fits && self.room.wants_dead(full)
    }

    /// Makes the log begin after `last`, the last entry of an installed snapshot. Everything in it
    /// is removed; durable when it returns.
    pub fn reset(&mut self, last: LastFrame) -> Result<(), LogError> {
        self.refuse_if_poisoned()?;
        self.flusher.sync_now().map_err(LogError::Poisoned)?;
        self.replace(Vec::new(), Tail::from(last), true, (Origin::Reset, None))
    }

    /// The first index that the files could give, purged or not.
    fn physical_start(&self) -> LogIndex {
        let active = self.active.as_ref().map(|active| &active.segment);
        let first = self.sealed.first().map(|part| &part.segment).or(active);
        first.map_or(self.tail.next_index, |segment| segment.header.first_index)
    }

    /// The parts that stay when the entries from `next` on are cut off.
    fn keep_below(&self, next: LogIndex) -> Result<(Vec<Part>, Cut), LogError> {
        let mut kept: Vec<Part> = self.sealed.to_vec();
        if let Some(active) = &self.active {
            let segment = Arc::clone(&active.segment);
            kept.push(Part {
                segment,
                end: active.end,
                tail: self.tail,
            });
        }
        let joint = kept.first().map_or((Origin::First, None), |part| {
            (part.segment.header.origin, part.segment.header.continues)
        });
        let start = kept.first().map(|part| part.segment.header);
        kept.retain(|part| part.segment.header.first_index < next);
        let Some(part) = kept.last_mut() else {
            let tail = start.map_or(self.tail, |header| header.start());
            let has_past = start.is_some_and(|header| header.previous.is_some());
            return Ok((
                kept,
                Cut {
                    tail,
                    has_past,
                    joint,
                },
            ));
        };
        if part.tail.next_index > next {
            let (end, tail) = part.segment.tail_before(next, part.end)?;
            part.end = end;
            part.tail = tail;
        }
        let tail = part.tail;
        Ok((
            kept,
            Cut {
                tail,
                has_past: true,
                joint,
            },
        ))
    }

    /// Goes on behind `kept` in a new file, synced with its name before anything else happens. With
    /// nothing kept the log begins at `tail`. Without room for the file nothing has changed; after
    /// another error the log takes nothing more.
    fn replace(
        &mut self,
        kept: Vec<Part>,
        tail: Tail,
        has_past: bool,
        (origin, continues): (Origin, Option<Position>),
    ) -> Result<(), LogError> {
        let last_len = self
            .active
            .as_ref()
            .map(|active| active.segment.header.file_len);
        let len = last_len.unwrap_or(self.options.first_segment_bytes);
        let blank = self.next_file(len.min(CUT_FILE), len)?;
        let number = blank.number;
        (self.tail, self.has_past) = (tail, has_past);
        let header = self.header(&blank, origin, continues, 0);
        let written = write_header(&*blank.file, &header.encode())
            .and_then(|()| blank.file.sync_now())
            .and_then(|()| self.dir.sync_dir());
        if let Err(error) = written {
            return Err(self.poison("begin", number, error));
        }
        let keep = kept.last().map(|part| part.segment.header.number);
        let active = self.active.take().map(|active| active.segment);
        for segment in self.sealed.iter().map(|part| &part.segment).chain(&active) {
            let before = segment.header.number;
            if keep.is_none_or(|keep| before > keep) {
                segment.note_purged();
                self.dead.push(Dead {
                    number: before,
                    successor: number,
                });
            }
        }
        // What was written to is as large as it is from now on.
        for segment in active.iter().filter(|segment| !segment.is_purged()) {
            segment.measure();
        }
        self.sealed = Arc::new(kept);
        self.active = Some(Active {
            segment: Arc::new(Segment::begin(header, &self.dir, blank.file)),
            end: SEGMENT_HEADER,
            max_timestamp: i64::MIN,
            began: None,
            named: true,
            sealed: false,
        });
        if self.sealed.is_empty() {
            (self.first_index, self.log_start_offset) = (tail.next_index, tail.next_offset);
        }
        self.first_index = self.first_index.min(tail.next_index);
        self.log_start_offset = self.log_start_offset.min(tail.next_offset);
        self.flusher.set_durable(Position {
            file: number,
            byte: SEGMENT_HEADER,
        });
        self.publish();
        self.tell_files();
        self.tell_room(0);
        self.remove_dead();
        Ok(())
    }

    /// Removes all files and everything known, for a log that must go on above its end.
    fn empty(&mut self, next: LogIndex) -> Result<(), LogError> {
        self.flusher.sync_now().map_err(LogError::Poisoned)?;
        let offset = self.tail.next_offset;
        self.replace(
            Vec::new(),
            Tail::start(next, offset),
            false,
            (Origin::First, None),
        )
    }

    /// Unlinks a file from the front of the log, or only its name to keep the file. One at a time and
    /// durably, so that a crash never leaves a hole that looks like a lost file: if it is not known
    /// to be durable, the log takes nothing more.
    fn unlink(&self, number: u32, keep: bool) -> Result<(), LogError> {
        let name = file_name(number);
        let _ = self.dir.remove(&index_name(number));
        let removed = match keep {
            true => self.dir.rename(&name, &dead_name(number)),
            false => self.dir.remove(&name),
        };
        removed.map_err(LogError::io("remove", name))?;
        let synced = self.dir.sync_dir();
        synced.map_err(|error| self.poison("remove", number, error))
    }
}

/// Where a log stands after a cut.
struct Cut {
    tail: Tail,
    has_past: bool,
    /// What the first file continued: what a new file continues when nothing is kept.
    joint: (Origin, Option<Position>),
}

fn write_header(file: &dyn File, header: &[u8]) -> io::Result<()> {
    file.write_at(&[IoSlice::new(header)], 0)
}
