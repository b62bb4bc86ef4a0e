//! PURE. What clients of a topic did and saw, and whether a log can have answered like that.
//!
//! Every record carries a value that nobody else sends. Producers note each record when they send
//! it and what became of it; consumers note each record with its offset; the ends that were looked up are
//! noted, too. [`check`] holds all of it against what is in the log at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

mod check;
#[cfg(test)]
mod tests;

pub use check::check;

/// A moment, on one monotonic clock for the whole history.
pub type Moment = u64;

/// A named producer numbers the records of its n-th incarnation from n times this.
pub const INCARNATION: u64 = 1 << 32;

/// What a record carries: the producer's number and a count that rises with its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Value {
    /// The producer.
    pub producer: u32,
    /// The number of the record, rising in the order in which the producer sent.
    pub number: u64,
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.producer, self.number)
    }
}

impl Value {
    /// The value that is written as this text.
    pub fn parse(text: &str) -> Option<Self> {
        let (producer, number) = text.split_once('-')?;
        Some(Self {
            producer: producer.parse().ok()?,
            number: number.parse().ok()?,
        })
    }
}

/// What a producer was told of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is durable, at this offset if that is known.
    Acknowledged(Option<u64>),
    /// It was not written and never will be.
    NotWritten,
    /// It may have been written, or may be later.
    Unknown,
}

/// A record that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// What it carries.
    pub value: Value,
    /// The partition it was sent to.
    pub partition: u32,
    /// Before the producer took it.
    pub begun: Moment,
    /// After its fate was known.
    pub ended: Moment,
    /// What became of it.
    pub fate: Fate,
}

/// A record that a consumer got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// The consumer. One that begins anew at an offset of its choice is another one.
    pub consumer: u32,
    /// The partition.
    pub partition: u32,
    /// The record's offset.
    pub offset: u64,
    /// What it carries.
    pub value: Value,
    /// When the consumer had it.
    pub at: Moment,
}

/// The end of a partition, as a look-up or the beginning of a subscription gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// The partition.
    pub partition: u32,
    /// The offset after the last committed record.
    pub offset: u64,
    /// How much may be missing: what was acknowledged less than this before. 0 for a linearizable one.
    pub age: Moment,
    /// Before it was asked for.
    pub begun: Moment,
    /// After it was answered.
    pub ended: Moment,
}

/// Everything that happened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// The records sent; those of one producer in the order sent.
    pub sent: Vec<Sent>,
    /// The records seen; those of one consumer in the order seen.
    pub seen: Vec<Seen>,
    /// Where each consumer began in each partition.
    pub began: BTreeMap<(u32, u32), u64>,
    /// The ends that were looked up.
    pub ends: Vec<End>,
    /// Each partition at last, read once all was quiet: offsets and values.
    pub log: BTreeMap<u32, Vec<(u64, Value)>>,
    /// The same as each broker's own replica gave it: by broker and partition.
    pub replicas: BTreeMap<(u32, u32), Vec<(u64, Value)>>,
    /// The producers that have names, which one incarnation after another takes over.
    pub named: BTreeSet<u32>,
}

/// What a log must not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// An acknowledged record is not in the log.
    Lost,
    /// A value is in the log more than once.
    Duplicated,
    /// Records of a producer, or records one after the other in time, stand in another order.
    Reordered,
    /// A consumer was given an offset beyond the next one, or the log has a hole.
    Skipped,
    /// A consumer was given an offset again, or an earlier one.
    NotMonotonic,
    /// A record that nobody sent, or sent to another partition, or later.
    Phantom,
    /// A record whose producer was told that it was not written.
    Resurrected,
    /// Two readers, or two replicas, have different records at one offset.
    Divergent,
    /// A record of an earlier producer of a name stands behind one of a later.
    Unfenced,
    /// A record is not where its acknowledgement says.
    Misplaced,
    /// An end that lacks what was acknowledged before, or counts what was not sent yet.
    WrongEnd,
}

/// Something that a log must not do, and where it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anomaly {
    /// What it is.
    pub kind: Kind,
    /// Where, and what was expected.
    pub what: String,
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.what)
    }
}
