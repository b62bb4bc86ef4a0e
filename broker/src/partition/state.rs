//! The partition as a state machine: what applying the entries of its log, in order, makes of it.
//!
//! Offsets are a pure function of the log: the base offset of a batch is the number of records
//! before it. The high watermark is the next offset after the last *applied* batch, and applied
//! means committed: whoever reads below a [`HighWatermark`] reads what is never lost.

use highwater_proto::batch::BatchHeader;
use highwater_proto::{EntryId, LogIndex, Offset, ProducerEpoch, ProducerId, Term, Timestamp};

use super::producers::Producers;
use super::sequence::{SequenceError, Sequenced};

mod snapshot;

pub use snapshot::SnapshotError;

/// How many terms a partition remembers the beginning of; the oldest are forgotten first.
pub const MAX_TERM_STARTS: usize = 4096;

/// The offset of the first record that is not committed. Only applying entries makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HighWatermark(Offset);

impl HighWatermark {
    /// The end of what may be read: every record below this offset is committed.
    pub fn offset(self) -> Offset {
        self.0
    }
}

/// What the state needs to know of one batch of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchFacts {
    /// A batch without a producer, of so many records; at least one.
    Plain(u32),
    /// A batch that its producer numbered.
    Sequenced(Sequenced),
}

impl BatchFacts {
    /// The facts of a batch, from its header.
    pub fn of(header: &BatchHeader) -> Result<Self, SequenceError> {
        let plain = Self::Plain(u32::try_from(header.record_count).unwrap_or(0));
        Ok(Sequenced::of(header)?.map_or(plain, Self::Sequenced))
    }

    /// How many records the batch has.
    pub fn record_count(&self) -> u32 {
        match self {
            Self::Plain(count) => *count,
            Self::Sequenced(sequenced) => sequenced.count(),
        }
    }
}

/// What an entry of a partition's log holds. A command that is not known must stop the group
/// before it comes here.
#[derive(Debug, Clone, Copy)]
pub enum Body<'a> {
    /// Record batches.
    Batches {
        /// The offset of the first record, as the frame says it.
        base_offset: Offset,
        /// When the leader appended them; never before the previous frame's.
        append_time: Timestamp,
        /// The largest time of their records.
        max_timestamp: Timestamp,
        /// The batches, in order; at least one.
        batches: &'a [BatchFacts],
    },
    /// Epochs of a producer end.
    Fence {
        /// The producer.
        producer: ProducerId,
        /// The first epoch that may append.
        epoch: ProducerEpoch,
        /// When the leader appended the entry.
        append_time: Timestamp,
    },
    /// The entry that opens a term.
    Blank,
    /// A change of the group's members.
    Membership,
    /// Moves the log start offset forward; never back, and never beyond the high watermark.
    SetLogStart(Offset),
}

/// What applying one entry did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// The offset of the entry's first record; the next offset if it has none.
    pub base_offset: Offset,
    /// How many records it has.
    pub record_count: u32,
    /// The high watermark from now on.
    pub high_watermark: HighWatermark,
}

/// The entry does not follow from the state: log and state have diverged, or the log is damaged.
/// Nothing was changed; the group must stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// An index was left out or came twice.
    #[error("entry {actual} follows entry {last}: an index is missing or came twice")]
    Index {
        /// The last entry that was applied.
        last: EntryId,
        /// The entry that came.
        actual: EntryId,
    },
    /// The term went back.
    #[error("entry {actual} follows entry {last}: the term went back")]
    Term {
        /// The last entry that was applied.
        last: EntryId,
        /// The entry that came.
        actual: EntryId,
    },
    /// The frame's base offset is not the number of records before it.
    #[error("entry {entry} begins at offset {actual}, but the next offset is {expected}")]
    BaseOffset {
        /// The entry.
        entry: EntryId,
        /// The next offset.
        expected: Offset,
        /// The offset that the frame says.
        actual: Offset,
    },
    /// The append time is before the previous one.
    #[error("entry {entry} was appended at {actual} ms, before its predecessor at {last} ms")]
    AppendTime {
        /// The entry.
        entry: EntryId,
        /// The previous append time.
        last: Timestamp,
        /// The append time that the frame says.
        actual: Timestamp,
    },
    /// An entry without batches, a batch without records, or more records than there are offsets.
    #[error("entry {entry} has no batches, an empty batch, or too many records")]
    RecordCount {
        /// The entry.
        entry: EntryId,
    },
}

/// Where a term that has records begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TermStart {
    /// The term: the leader epoch.
    pub term: Term,
    /// The offset of its first record.
    pub start: Offset,
}

/// A partition as of the last entry that was applied.
#[derive(Debug, Clone)]
pub struct PartitionState {
    applied: Option<EntryId>,
    next_offset: Offset,
    append_time: Option<Timestamp>,
    max_timestamp: Option<Timestamp>,
    term_starts: Vec<TermStart>,
    producers: Producers,
    log_start: Offset,
}

impl Default for PartitionState {
    fn default() -> Self {
        Self::new()
    }
}

impl PartitionState {
    /// A partition to which nothing was applied.
    pub fn new() -> Self {
        Self {
            applied: None,
            next_offset: Offset::ZERO,
            append_time: None,
            max_timestamp: None,
            term_starts: Vec::new(),
            producers: Producers::new(),
            log_start: Offset::ZERO,
        }
    }

    /// Applies one committed entry, the next one of the log. The log may begin at any index.
    pub fn apply(&mut self, entry: EntryId, body: Body<'_>) -> Result<Applied, ApplyError> {
        self.check_order(entry)?;
        let base_offset = self.next_offset;
        let record_count = match body {
            Body::Blank | Body::Membership => 0,
            Body::SetLogStart(offset) => {
                if offset <= self.next_offset {
                    self.log_start = self.log_start.max(offset);
                }
                0
            }
            Body::Fence {
                producer,
                epoch,
                append_time,
            } => {
                self.producers.fenced(producer, epoch, append_time);
                0
            }
            Body::Batches {
                base_offset: actual,
                append_time,
                max_timestamp,
                batches,
            } => {
                let record_count = self.check_batches(entry, actual, append_time, batches)?;
                self.begin_term(entry.term);
                self.append(append_time, batches);
                self.max_timestamp = self.max_timestamp.max(Some(max_timestamp));
                record_count
            }
        };
        self.applied = Some(entry);
        Ok(Applied {
            base_offset,
            record_count,
            high_watermark: self.high_watermark(),
        })
    }

    /// The end of what may be read.
    pub fn high_watermark(&self) -> HighWatermark {
        HighWatermark(self.next_offset)
    }

    /// The first offset that can be read; never beyond the high watermark, and never moved back.
    pub fn log_start(&self) -> Offset {
        self.log_start
    }

    /// The last entry that was applied; `None` before the first.
    pub fn applied(&self) -> Option<EntryId> {
        self.applied
    }

    /// The index that comes next; `None` before the first entry, which may have any.
    pub fn next_index(&self) -> Option<LogIndex> {
        self.applied.map(|last| last.index.next())
    }

    /// When the last batch was appended; `None` before the first batch.
    pub fn last_append_time(&self) -> Option<Timestamp> {
        self.append_time
    }

    /// The largest time of any record so far; `None` before the first record.
    pub fn max_timestamp(&self) -> Option<Timestamp> {
        self.max_timestamp
    }

    /// Where the last [`MAX_TERM_STARTS`] terms that have records begin, by term.
    pub fn term_starts(&self) -> &[TermStart] {
        &self.term_starts
    }

    /// The idempotence table.
    pub fn producers(&self) -> &Producers {
        &self.producers
    }

    /// The idempotence table, for the leader's append loop: to propose and to reset.
    pub fn producers_mut(&mut self) -> &mut Producers {
        &mut self.producers
    }

    fn check_order(&self, actual: EntryId) -> Result<(), ApplyError> {
        match self.applied {
            Some(last) if actual.index != last.index.next() => {
                Err(ApplyError::Index { last, actual })
            }
            Some(last) if actual.term < last.term => Err(ApplyError::Term { last, actual }),
            _ => Ok(()),
        }
    }

    /// How many records the entry has, once everything about it was found right.
    fn check_batches(
        &self,
        entry: EntryId,
        actual: Offset,
        append_time: Timestamp,
        batches: &[BatchFacts],
    ) -> Result<u32, ApplyError> {
        if actual != self.next_offset {
            return Err(ApplyError::BaseOffset {
                entry,
                expected: self.next_offset,
                actual,
            });
        }
        if let Some(last) = self.append_time.filter(|last| append_time < *last) {
            return Err(ApplyError::AppendTime {
                entry,
                last,
                actual: append_time,
            });
        }
        let empty = batches.is_empty() || batches.iter().any(|batch| batch.record_count() == 0);
        let count = batches
            .iter()
            .try_fold(0_u32, |sum, batch| sum.checked_add(batch.record_count()));
        count
            .filter(|count| !empty && self.next_offset.checked_add(*count).is_some())
            .ok_or(ApplyError::RecordCount { entry })
    }

    fn begin_term(&mut self, term: Term) {
        if self
            .term_starts
            .last()
            .is_some_and(|last| last.term == term)
        {
            return;
        }
        if self.term_starts.len() == MAX_TERM_STARTS {
            self.term_starts.remove(0);
        }
        self.term_starts.push(TermStart {
            term,
            start: self.next_offset,
        });
    }

    fn append(&mut self, append_time: Timestamp, batches: &[BatchFacts]) {
        self.append_time = Some(append_time);
        for batch in batches {
            if let BatchFacts::Sequenced(sequenced) = batch {
                self.producers
                    .applied(sequenced, self.next_offset, append_time);
            }
            self.next_offset = self.next_offset.plus(batch.record_count().into());
        }
    }
}

#[cfg(test)]
mod tests;
