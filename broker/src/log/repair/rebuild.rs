//! Writing one file of a log anew, frame by frame: what is still whole comes from the file itself,
//! what is not from another replica.

use std::io::IoSlice;
use std::sync::Arc;

use bytes::Bytes;
use highwater_proto::{LogIndex, Term};

use super::past::Search;
use super::survey::{Goal, Lost, Start};
use super::{RepairError, RepairedFile, Supply};
use crate::log::dir::{Dir, File};
use crate::log::encode::Encoder;
use crate::log::error::OpenError;
use crate::log::frame::{Head, LastFrame, Position, Tail};
use crate::log::plan::{NewFrame, Planned, Source, plan};
use crate::log::scan;
use crate::log::segment::{file_name, times};
use crate::log::segment_header::{Origin, SEGMENT_HEADER, SegmentHeader};
use crate::log::view::Frame;

mod place;
mod seek;

/// How much of the damaged file is copied at once.
const COPY: usize = 1 << 20;
/// What a file that is being written is called besides its name.
const SUFFIX: &str = "repair";

/// A damaged file that is kept aside.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) name: String,
    pub(super) bytes: Bytes,
    /// Whether it goes: what replaces it has another name, and a log with it would be refused.
    pub(super) goes: bool,
}

/// How far the file goes by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reached {
    /// This frame and later ones are missing.
    Missing(LogIndex),
    /// Where it has to lead.
    End,
}

/// A file that is being written anew.
#[derive(Debug)]
pub(super) struct Rebuild {
    dir: Arc<dyn Dir>,
    name: String,
    header: SegmentHeader,
    generation: u32,
    start: Start,
    search: Option<Search>,
    goal: Goal,
    /// What is left of the damaged file; empty when it is missing, or of no use.
    old: Bytes,
    /// Damaged files that are kept aside.
    damaged: Vec<Kept>,
    new: Arc<dyn File>,
    position: u32,
    tail: Tail,
    max_timestamp: i64,
    /// True while the last frames written are neither committed nor proven by what follows.
    unproven: bool,
    /// The term of the stored vote: no frame of a later term was ever here.
    voted: Option<Term>,
    report: RepairedFile,
}

impl Rebuild {
    pub(super) fn begin(
        dir: Arc<dyn Dir>,
        lost: Lost,
        old: Bytes,
        damaged: Vec<Kept>,
        voted: Option<Term>,
    ) -> Result<Self, RepairError> {
        let header = SegmentHeader {
            reused: false,
            ..lost.header
        };
        let name = file_name(header.number);
        let beside = format!("{name}.{SUFFIX}");
        let left = dir.list().map_err(OpenError::io("list", "the directory"))?;
        // Of this file or of another one that was to begin the log anew.
        let half = format!(".seg.{SUFFIX}");
        for left in left.iter().filter(|left| left.contains(&half)) {
            dir.remove(left).map_err(OpenError::io("remove", left))?;
        }
        let new = dir
            .create(&beside, header.file_len)
            .map_err(OpenError::io("create", beside))?;
        Ok(Self {
            dir,
            generation: header.generation(),
            start: lost.start,
            search: lost.search,
            goal: lost.goal,
            old,
            damaged,
            new,
            position: SEGMENT_HEADER,
            tail: header.start(),
            max_timestamp: i64::MIN,
            unproven: false,
            voted,
            report: RepairedFile {
                file: name.clone(),
                quarantined: None,
                frames: 0,
                first: None,
                last: None,
            },
            header,
            name,
        })
    }

    pub(super) fn file(&self) -> &str {
        &self.name
    }

    /// Takes what is still whole, as far as it follows.
    pub(super) fn advance(&mut self) -> Result<Reached, RepairError> {
        if let Start::Behind(first) = self.start {
            return Ok(Reached::Missing(first));
        }
        if let Some(search) = &self.search {
            return Ok(Reached::Missing(search.at().next()));
        }
        loop {
            if let Goal::Joint(end, tail) = self.goal
                && self.position >= end
            {
                return match self.position == end && self.tail == tail {
                    true => Ok(Reached::End),
                    false => Err(self.mismatch("the next file goes on from something else")),
                };
            }
            if !self.take_own()? {
                break;
            }
        }
        match self.goal {
            Goal::Durable(durable) if self.position >= durable && !self.unproven => {
                Ok(Reached::End)
            }
            Goal::Durable(durable) if self.position >= durable => {
                Err(self.mismatch("it leads past the frames that are still whole here"))
            }
            _ => Ok(Reached::Missing(self.tail.next_index)),
        }
    }

    /// Takes the next frame of the damaged file, if it is whole and follows.
    fn take_own(&mut self) -> Result<bool, RepairError> {
        let end = match self.goal {
            Goal::Joint(end, _) => (end as usize).min(self.old.len()),
            Goal::Durable(_) | Goal::Unknown => self.old.len(),
        };
        if self.position as usize >= end {
            return Ok(false);
        }
        let rest = self.old.slice(self.position as usize..end);
        let Ok(raw) = scan::next_frame(&rest, self.generation, &self.tail) else {
            return Ok(false);
        };
        let len = raw.head.frame_len();
        self.write(&[IoSlice::new(&rest[..len as usize])])?;
        self.follow(&raw.head);
        self.unproven = false;
        Ok(true)
    }

    /// Takes frames of another replica.
    pub(super) fn take(&mut self, supply: Supply) -> Result<Reached, RepairError> {
        if let Start::Behind(first) = self.start {
            self.begin_behind(first, &supply)?;
        }
        if let Some(missing) = self.seek(&supply)? {
            return Ok(Reached::Missing(missing));
        }
        let mut reached = self.advance()?;
        if let Some(before) = supply.before
            && self.superseded(&before, supply.committed)?
        {
            return Ok(Reached::End);
        }
        let mut took = false;
        for frame in supply.frames {
            let Reached::Missing(wanted) = reached else {
                break;
            };
            if frame.head.index != wanted {
                // What is behind this one in the answer says nothing, if this one is not the same.
                if self.superseded(&LastFrame::from(&frame.head), supply.committed)? {
                    return Ok(Reached::End);
                }
                continue;
            }
            reached = match self.take_frame(frame, supply.committed)? {
                Reached::End => Reached::End,
                Reached::Missing(_) => self.advance()?,
            };
            took = true;
        }
        match reached {
            Reached::Missing(_) if supply.complete && self.is_newest() && !self.unproven => {
                Ok(Reached::End)
            }
            Reached::Missing(wanted) if !took => Err(self.not_there(wanted, supply.floor)),
            reached => Ok(reached),
        }
    }

    /// The other replica has no such entry, or had it and has purged it.
    fn not_there(&self, wanted: LogIndex, floor: Option<LastFrame>) -> RepairError {
        let file = self.name.clone();
        match floor.filter(|floor| floor.index >= wanted) {
            Some(floor) => RepairError::Purged {
                file,
                wanted,
                floor: floor.index,
            },
            None => RepairError::NotThere { file, wanted },
        }
    }

    fn is_newest(&self) -> bool {
        !matches!(self.goal, Goal::Joint(..))
    }

    /// The file begins the log, and only another replica knows how the log stood there.
    fn begin_behind(&mut self, first: LogIndex, supply: &Supply) -> Result<(), RepairError> {
        let before = supply.before.or(supply.floor);
        let Some(before) = before.filter(|before| before.index.next() == first) else {
            let wanted = LogIndex(first.0.saturating_sub(1));
            return Err(self.not_there(wanted, supply.floor));
        };
        self.header.origin = Origin::Reset;
        self.header.first_index = first;
        self.header.first_offset = before.next_offset;
        self.header.previous = Some(before);
        self.tail = Tail::from(before);
        self.start = Start::Known;
        Ok(())
    }

    /// Whether the end of this log was never committed, because something else is: then what was
    /// behind it was not either, and nobody needs it back. Not so if the header is made up: what is
    /// before the file may not have been before it. Nor if the end is nothing that was here: the
    /// other replica gave it, and has lost it itself by now.
    fn superseded(
        &self,
        theirs: &LastFrame,
        committed: Option<LogIndex>,
    ) -> Result<bool, RepairError> {
        let Some(ours) = self.tail.last() else {
            return Ok(false);
        };
        if ours.index != theirs.index || ours.chain == theirs.chain {
            return Ok(false);
        }
        if self.unproven {
            return Err(self.mismatch("what it gave before is not in its log any more"));
        }
        if ours.term == theirs.term {
            return Err(RepairError::Disagrees {
                index: ours.index,
                term: ours.term,
                ours: ours.chain,
                theirs: theirs.chain,
            });
        }
        let committed = committed.is_some_and(|committed| committed >= theirs.index);
        match committed && self.is_newest() && self.start == Start::Known {
            true => Ok(true),
            false => Err(self.mismatch("the logs differ before the damaged place")),
        }
    }

    /// Takes the next frame; the end is before one that was never here.
    ///
    /// An entry is written only after the vote of its term is durable, and so everything that this
    /// replica ever acknowledged is of a term up to the stored vote's. Who led a later term had in
    /// its log all of that that was committed, before its first own entry. So whatever comes before
    /// that entry is enough, whether the entry itself is committed or not, and whatever else was
    /// here behind that place was not committed.
    fn take_frame(
        &mut self,
        frame: Frame,
        committed: Option<LogIndex>,
    ) -> Result<Reached, RepairError> {
        let index = frame.head.index;
        let later = self.is_newest() && self.voted.is_some_and(|voted| frame.head.term > voted);
        let proven = !self.is_newest() || committed.is_some_and(|committed| committed >= index);
        if !later && !proven && !self.goes_on_behind(index) {
            return Err(self.mismatch("it is not known to be committed there yet"));
        }
        let frame = NewFrame {
            term: frame.head.term,
            index,
            kind: frame.head.kind,
            body: frame.body,
            source: Source::Replicated(frame.head),
        };
        let planned = plan(self.tail, false, [frame]);
        let planned = planned.map_err(|error| RepairError::mismatch(&self.name, &error))?;
        if later {
            return Ok(Reached::End);
        }
        for frame in &planned {
            self.write_planned(frame)?;
            self.follow(&frame.head);
            self.unproven = !proven;
            self.report.frames += 1;
            self.report.first.get_or_insert(index);
            self.report.last = Some(index);
        }
        Ok(Reached::Missing(self.tail.next_index))
    }

    /// Whether a later frame is still whole behind here, so that its chain will prove this one.
    fn goes_on_behind(&self, index: LogIndex) -> bool {
        let number = self.header.number;
        let behind = scan::first_behind(&self.old, number, self.generation, self.position);
        behind.is_some_and(|(_, frame)| frame.head.index > index)
    }

    fn write_planned(&mut self, frame: &Planned) -> Result<(), RepairError> {
        // The whole file is synced before it counts.
        let durable = Position {
            file: self.header.number,
            byte: self.position,
        };
        let mut encoder = Encoder::new(self.generation, durable, 1);
        encoder.push(frame);
        self.write(&encoder.slices())
    }

    fn write(&mut self, parts: &[IoSlice<'_>]) -> Result<(), RepairError> {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let end = u64::from(self.position) + len as u64;
        if end > self.header.file_len {
            self.grow(end)?;
        }
        let written = self.new.write_at(parts, u64::from(self.position));
        Ok(written.map_err(OpenError::io("write to", &self.name))?)
    }

    fn follow(&mut self, head: &Head) {
        self.position += head.frame_len() as u32;
        self.tail = Tail::from(head);
        self.max_timestamp = self.max_timestamp.max(times(head));
    }

    /// Goes on in a larger file: what was committed since the damage may be more than was here.
    fn grow(&mut self, needed: u64) -> Result<(), RepairError> {
        let page = u64::from(SEGMENT_HEADER);
        let most = u64::from(u32::MAX) / page * page;
        let doubled = (self.header.file_len * 2).max(needed.next_multiple_of(page));
        let len = doubled.min(most);
        if needed > len || !self.is_newest() {
            return Err(self.mismatch("it is more than the file holds"));
        }
        let beside = format!("{}.{SUFFIX}", self.name);
        let larger = format!("{beside}.larger");
        let failed = || OpenError::io("write", larger.clone());
        let new = self.dir.create(&larger, len).map_err(failed())?;
        let mut at = page;
        while at < u64::from(self.position) {
            let end = u64::from(self.position).min(at + COPY as u64);
            let chunk = Vec::from(self.new.slice(at..end));
            new.write_at(&[IoSlice::new(&chunk)], at)
                .map_err(failed())?;
            at = end;
        }
        self.dir.rename(&larger, &beside).map_err(failed())?;
        (self.new, self.header.file_len) = (new, len);
        Ok(())
    }

    fn mismatch(&self, why: &str) -> RepairError {
        RepairError::Mismatch {
            file: self.name.clone(),
            why: why.to_owned(),
        }
    }
}
