//! PURE. What is whole before a lost file, and the search for the last entry of it that another
//! replica has, too. A lost file may have cut off what is behind that.

use bytes::Bytes;
use highwater_proto::LogIndex;

use super::{RepairError, Supply};
use crate::log::frame::{LastFrame, Position, RawFrame, Tail};
use crate::log::scan::Scan;
use crate::log::segment_header::{SEGMENT_HEADER, SegmentHeader};

/// Where a log stands, and the byte behind that.
pub(super) type Joint = (Position, Tail);

/// Whole files that go on from each other, oldest first.
#[derive(Debug, Default)]
pub(super) struct Past {
    files: Vec<Older>,
}

#[derive(Debug)]
struct Older {
    header: SegmentHeader,
    bytes: Bytes,
    scan: Scan,
}

impl Past {
    pub(super) fn push(&mut self, header: SegmentHeader, bytes: Bytes, scan: Scan) {
        self.files.push(Older {
            header,
            bytes,
            scan,
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Where the last file ends.
    pub(super) fn end(&self) -> Option<Joint> {
        self.files.last().map(Older::end)
    }

    /// Where the log stands behind this entry.
    pub(super) fn behind(&self, index: LogIndex) -> Option<Joint> {
        let mut newest_first = self.files.iter().rev();
        let file = newest_first.find(|file| file.header.first_index <= index)?;
        file.behind(index)
    }

    fn first_index(&self) -> LogIndex {
        let first = self.files.first();
        first.map_or(LogIndex(0), |file| file.header.first_index)
    }
}

impl Older {
    fn end(&self) -> Joint {
        (self.at(self.scan.end), self.scan.tail)
    }

    fn at(&self, byte: u32) -> Position {
        let file = self.header.number;
        Position { file, byte }
    }

    fn behind(&self, index: LogIndex) -> Option<Joint> {
        if index.next() == self.scan.tail.next_index {
            return Some(self.end());
        }
        let generation = self.header.generation();
        let mut at = SEGMENT_HEADER;
        while at < self.scan.end {
            let rest = self.bytes.get(at as usize..)?;
            let frame = RawFrame::parse(rest, generation).ok()?;
            at += frame.head.frame_len() as u32;
            if frame.head.index == index {
                return Some((self.at(at), Tail::from(&frame.head)));
            }
        }
        None
    }
}

/// The search for the last entry that both logs have. Equal chains prove equal logs up to there, so
/// what is known of one entry is known of all before it, or of all behind it.
#[derive(Debug)]
pub(super) struct Search {
    past: Past,
    /// The entry that is asked about.
    at: LogIndex,
    same: Option<LogIndex>,
    differs: Option<LogIndex>,
    /// How far the next step goes back while nothing is known to be the same.
    width: u64,
}

/// What an answer leads to.
#[derive(Debug)]
pub(super) enum Next {
    /// The entry behind this one has to be asked for.
    Ask(LogIndex),
    /// This is the last entry that both have; `true`: the answer begins behind it.
    Found(Joint, bool),
}

impl Search {
    /// `None` if there is nothing to search in.
    pub(super) fn begin(past: Past) -> Option<Self> {
        let (_, tail) = past.end()?;
        let at = tail.last()?.index;
        Some(Self {
            past,
            at,
            same: None,
            differs: None,
            width: 1,
        })
    }

    /// The entry whose successors have to be asked for.
    pub(super) fn at(&self) -> LogIndex {
        self.at
    }

    /// Takes what the other replica gave for the entry behind [`Search::at`].
    pub(super) fn take(&mut self, file: &str, supply: &Supply) -> Result<Next, RepairError> {
        let asked = self.at;
        let not_there = || RepairError::NotThere {
            file: file.to_owned(),
            wanted: asked.next(),
        };
        let ours = self.past.behind(asked).and_then(|(_, tail)| tail.last());
        let ours = ours.ok_or_else(not_there)?;
        match is_same(&ours, supply)? {
            Some(true) => self.same = Some(asked),
            Some(false) => self.differs = Some(asked),
            None => match supply.floor.filter(|floor| floor.index > asked) {
                Some(floor) => {
                    return Err(RepairError::Purged {
                        file: file.to_owned(),
                        wanted: asked.next(),
                        floor: floor.index,
                    });
                }
                // It ends before.
                None => self.differs = Some(asked),
            },
        }
        self.at = match (self.same, self.differs) {
            (Some(same), Some(differs)) if same.next() < differs => {
                LogIndex(same.0 + (differs.0 - same.0) / 2)
            }
            (Some(same), _) => {
                let joint = self.past.behind(same).ok_or_else(not_there)?;
                return Ok(Next::Found(joint, same == asked));
            }
            (None, _) if asked <= self.past.first_index() => return Err(not_there()),
            (None, _) => {
                let back = LogIndex(asked.0.saturating_sub(self.width));
                self.width = self.width.saturating_mul(2);
                back.max(self.past.first_index())
            }
        };
        Ok(Next::Ask(self.at))
    }
}

/// Whether the other replica has this entry with this chain; `None` if it says nothing of it.
fn is_same(ours: &LastFrame, supply: &Supply) -> Result<Option<bool>, RepairError> {
    let theirs = supply.before.or(supply.floor);
    let Some(theirs) = theirs.filter(|theirs| theirs.index == ours.index) else {
        return Ok(None);
    };
    if ours.chain != theirs.chain && ours.term == theirs.term {
        return Err(RepairError::Disagrees {
            index: ours.index,
            term: ours.term,
            ours: ours.chain,
            theirs: theirs.chain,
        });
    }
    Ok(Some(ours.chain == theirs.chain))
}
