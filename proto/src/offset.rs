//! Positions and times. There is no arithmetic between the types: an offset counts records, a log
//! index counts Raft entries, and neither can be taken for the other.

use std::fmt;

/// The place of a record in a partition: dense, from 0, never reused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub u64);

impl Offset {
    /// The first offset of every partition.
    pub const ZERO: Self = Self(0);

    /// The offset `records` places further on; `None` past the end of the number space.
    pub fn checked_add(self, records: u32) -> Option<Self> {
        self.0.checked_add(u64::from(records)).map(Self)
    }

    /// The offset `records` places further on, held at the end of the number space.
    #[must_use]
    pub fn plus(self, records: u64) -> Self {
        Self(self.0.saturating_add(records))
    }

    /// How many records lie from `earlier` up to this offset; 0 when `earlier` is not earlier.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The offset as the wire and the batch header spell it.
    pub fn to_i64(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }

    /// The offset a wire number names; `None` for a negative one.
    pub fn from_i64(value: i64) -> Option<Self> {
        u64::try_from(value).ok().map(Self)
    }
}

/// The place of an entry in a group's Raft log. Raft's own entries have an index and no offset.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogIndex(pub u64);

impl LogIndex {
    /// The next index.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// A Raft term; Kafka calls it the leader epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(pub u64);

impl Term {
    /// The term as a leader epoch of a batch header, held at the largest one the field can name.
    pub fn to_epoch(self) -> i32 {
        i32::try_from(self.0).unwrap_or(i32::MAX)
    }
}

/// Which entry of a group's log: the term that wrote it and its index. Of two logs the one whose
/// last entry is greater has every committed entry that the other has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId {
    /// The term that wrote it.
    pub term: Term,
    /// Its place in the log.
    pub index: LogIndex,
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.term, self.index)
    }
}

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

macro_rules! display_number {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    )*};
}

display_number!(Offset, LogIndex, Term, Timestamp);
