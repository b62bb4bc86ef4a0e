//! PURE. Which file of a log is the oldest damaged one, where the log stands before it, and where
//! it has to stand after it.

use highwater_proto::{LogIndex, Offset};

use super::RepairError;
use super::past::{Joint, Past, Search};
use crate::log::found::FoundFile;
use crate::log::frame::{LastFrame, Position, RawFrame, Tail};
use crate::log::options::LogOptions;
use crate::log::recovery::{Proof, salt_of};
use crate::log::scan::{self, Scan, Stop};
use crate::log::segment::file_name;
use crate::log::segment_header::{Origin, SEGMENT_HEADER, SegmentHeader, generation};

/// A file that is damaged or missing.
#[derive(Debug)]
pub(super) struct Lost {
    /// Its place among the files found; none when it is missing.
    pub(super) at: Option<usize>,
    /// Its header, made anew if that is lost.
    pub(super) header: SegmentHeader,
    /// What another replica has to say before the header is complete: where the log stood.
    pub(super) start: Start,
    /// For the newest file, if its header is made up: finds what it went on from.
    pub(super) search: Option<Search>,
    /// Where it has to lead.
    pub(super) goal: Goal,
}

/// Where the log stands before a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// As the header says.
    Known,
    /// As the header says, which is made up: nothing tells what the file went on from.
    MadeUp,
    /// The file begins the log here; the frame with this index is its first.
    Behind(LogIndex),
}

/// Where the frames of a file have to lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goal {
    /// The next file goes on at this byte, where the log stands like this.
    Joint(u32, Tail),
    /// The newest file: everything before this byte was durable.
    Durable(u32),
    /// The newest file, and nothing says how far it went: it is gone, or its end may be. Or one of
    /// which nothing says that either, because the file that goes on from it is gone.
    Unknown,
}

/// A file that must be there, newest first while they are looked for.
struct Node {
    number: u32,
    at: Option<usize>,
    header: Option<SegmentHeader>,
    joint: Option<(u32, Tail)>,
}

/// The oldest file that is not whole.
pub(super) fn survey(
    files: &[FoundFile],
    options: &LogOptions,
) -> Result<Option<Lost>, RepairError> {
    let reach = |file: &FoundFile| file.reach(options.max_unsynced_bytes);
    // All of it has been read, or stands as something else.
    let proof = Proof::gather(files, &options.owner, reach, &mut |_, _| Ok(()))?;
    let nodes = needed(files, &proof, options);
    let mut past = Past::default();
    for (nth, node) in nodes.iter().enumerate() {
        let newest = nth + 1 == nodes.len();
        let place = Place {
            node,
            newest,
            files,
            proof: &proof,
            options,
        };
        match node.header.zip(node.at) {
            Some((header, at)) => match place.damage(&header, at) {
                Ok(scan) => past.push(header, files[at].bytes.clone(), scan),
                Err(goal) => {
                    return Ok(Some(Lost {
                        at: node.at,
                        header,
                        start: Start::Known,
                        search: None,
                        goal,
                    }));
                }
            },
            None => return place.without_header(past).map(Some),
        }
    }
    Ok(None)
}

/// The files that must be there, oldest first.
fn needed(files: &[FoundFile], proof: &Proof, options: &LogOptions) -> Vec<Node> {
    let good = files.iter().filter(|file| file.known().is_some());
    // One that cannot be read is not opened beside the others, whatever it was.
    let unreadable = files.iter().filter(|file| file.unreadable.is_some());
    let newest = good.chain(unreadable).map(|file| file.number).max();
    let newest = newest.unwrap_or(0);
    let mut next =
        Some(newest.max(proof.durable.file).max(options.durable_file)).filter(|n| *n > 0);
    let mut joint = None;
    let mut nodes = Vec::new();
    while let Some(number) = next {
        let at = files.iter().position(|file| file.number == number);
        let header = at.and_then(|at| files[at].known().copied());
        nodes.push(Node {
            number,
            at,
            header,
            joint,
        });
        let older = |file: &&FoundFile| file.number < number && file.known().is_some();
        (next, joint) = match &header {
            Some(header) => match header.continues {
                Some(at) if files.iter().any(|file| file.number == at.file) => {
                    (Some(at.file), Some((at.byte, header.start())))
                }
                // Without any older file it was purged, unless that is known not to be so.
                Some(at)
                    if files.iter().any(|file| older(&file))
                        || header.lost_before(options.unpurged).is_some() =>
                {
                    (Some(at.file), Some((at.byte, header.start())))
                }
                Some(_) | None => (None, None),
            },
            None => (files.iter().rev().find(older).map(|f| f.number), None),
        };
    }
    nodes.reverse();
    nodes
}

/// A file that begins the log anew behind `floor`, and of which nothing says where it ends.
pub(super) fn behind(
    files: &[FoundFile],
    options: &LogOptions,
    number: u32,
    floor: LastFrame,
) -> Lost {
    let first = Tail::from(floor);
    let file_len = options.max_segment_bytes.max(options.first_segment_bytes);
    let header = SegmentHeader {
        owner: options.owner,
        salt: salt_of(files).unwrap_or(options.salt),
        origin: Origin::Reset,
        number,
        file_len: file_len.next_multiple_of(u64::from(SEGMENT_HEADER)),
        max_unsynced: options.max_unsynced_bytes,
        first_index: first.next_index,
        first_offset: first.next_offset,
        previous: Some(floor),
        continues: None,
        durable: Position::default(),
        reused: false,
    };
    Lost {
        at: None,
        header,
        start: Start::Known,
        search: None,
        goal: Goal::Unknown,
    }
}

/// A file in its place.
struct Place<'a> {
    node: &'a Node,
    newest: bool,
    files: &'a [FoundFile],
    proof: &'a Proof,
    options: &'a LogOptions,
}

impl Place<'_> {
    /// What a scan finds if the file is whole, and otherwise where it has to lead.
    fn damage(&self, header: &SegmentHeader, at: usize) -> Result<Scan, Goal> {
        let file = &self.files[at];
        let limit = self.node.joint.map_or(u32::MAX, |(end, _)| end);
        let scan = scan::scan(&file.bytes, header, limit, &mut |_| {});
        let is_short = file.short.is_some();
        if let Some((end, tail)) = self.node.joint {
            let whole = scan.end == end && scan.tail == tail && !is_short;
            return match whole {
                true => Ok(scan),
                false => Err(Goal::Joint(end, tail)),
            };
        }
        if scan.stop == Stop::Footer {
            return match is_short {
                true => Err(Goal::Joint(scan.end, scan.tail)),
                false => Ok(scan),
            };
        }
        // What is lost may have been at its end, and may have been durable.
        if is_short || file.unreadable.is_some() {
            return Err(Goal::Unknown);
        }
        if !self.newest {
            // What goes on from it is lost, and with that how far it went. Where the log ends is said
            // by the repair of that one.
            return match scan::nothing_after(&file.bytes, header, scan.end, u64::MAX) {
                true => Ok(scan),
                false => Err(Goal::Unknown),
            };
        }
        let mut durable = match self.proof.durable.file == file.number {
            true => self.proof.durable.byte,
            false => SEGMENT_HEADER,
        };
        let written = self.proof.written_end(file.number).unwrap_or(scan.end);
        let torn = u64::from(written.saturating_sub(scan.end));
        if torn > file.reach(self.options.max_unsynced_bytes) {
            durable = durable.max(written);
        }
        match scan.end >= durable {
            true => Ok(scan),
            false => Err(Goal::Durable(durable)),
        }
    }

    /// The file without its header, behind what is whole.
    fn without_header(&self, past: Past) -> Result<Lost, RepairError> {
        let (number, options) = (self.node.number, self.options);
        let salt = salt_of(self.files).unwrap_or(options.salt);
        let (start, joint) = self.start(&past, salt)?;
        let tail = joint.map_or(Tail::start(LogIndex(0), Offset::ZERO), |(_, tail)| tail);
        let continues = joint.map(|(at, _)| at);
        let goal = match self.node.joint {
            Some((end, tail)) => Goal::Joint(end, tail),
            None if !self.newest => {
                return Err(self.unclear("it and the file that goes on from it are damaged"));
            }
            // With the header the size of the file is lost: its end may be, too.
            None => Goal::Unknown,
        };
        let header = SegmentHeader {
            owner: options.owner,
            salt,
            origin: match continues {
                Some(_) => Origin::Cut,
                None => Origin::First,
            },
            number,
            file_len: self.file_len(&goal),
            max_unsynced: options.max_unsynced_bytes,
            first_index: tail.next_index,
            first_offset: tail.next_offset,
            previous: joint.and_then(|_| tail.last()),
            continues,
            durable: continues.unwrap_or_default(),
            reused: false,
        };
        let is_sought = start == Start::MadeUp && goal == Goal::Unknown;
        Ok(Lost {
            at: self.node.at,
            header,
            start,
            search: is_sought.then(|| Search::begin(past)).flatten(),
            goal,
        })
    }

    /// What the file without its header went on from. Its first frame says so, if that is whole;
    /// otherwise it may have been begun to cut off what the file before it ends with.
    fn start(&self, past: &Past, salt: u32) -> Result<(Start, Option<Joint>), RepairError> {
        let generation = generation(&self.options.owner, salt, self.node.number);
        let bytes = self.node.at.map(|at| &self.files[at].bytes[..]);
        let frames = bytes.and_then(|bytes| bytes.get(SEGMENT_HEADER as usize..));
        let first = frames.and_then(|frames| {
            let frame = RawFrame::parse(frames, generation).ok()?;
            let body = frames.get(frame.body_start..)?;
            Some((frame, body.get(..frame.head.body_len as usize)?))
        });
        let Some((frame, body)) = first else {
            return Ok((Start::MadeUp, past.end()));
        };
        let index = frame.head.index;
        if past.is_empty() {
            return Ok(match index > LogIndex(0) {
                true => (Start::Behind(index), None),
                false => (Start::Known, None),
            });
        }
        let before = index.0.checked_sub(1).map(LogIndex);
        let joint = before.and_then(|before| past.behind(before));
        match joint.filter(|(_, tail)| frame.follows(tail, body).is_ok()) {
            Some(joint) => Ok((Start::Known, Some(joint))),
            None => Err(self.unclear("it went on from a place that is not known any more")),
        }
    }

    /// The size of a file whose header is lost.
    fn file_len(&self, goal: &Goal) -> u64 {
        let found = self.node.at.map_or(0, |at| self.files[at].bytes.len()) as u64;
        let needed = match goal {
            Goal::Joint(end, _) | Goal::Durable(end) => u64::from(*end) + u64::from(SEGMENT_HEADER),
            // What is missing makes it grow.
            Goal::Unknown if found > 0 => found,
            Goal::Unknown => self.options.max_segment_bytes,
        };
        let len = found.max(needed).max(self.options.first_segment_bytes);
        len.next_multiple_of(u64::from(SEGMENT_HEADER))
    }

    fn unclear(&self, why: &str) -> RepairError {
        RepairError::Unclear {
            file: file_name(self.node.number),
            why: why.to_owned(),
        }
    }
}
