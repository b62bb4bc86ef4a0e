//! The last batches of one producer: few, of fixed size, oldest first.

use highwater_proto::{Offset, Sequence, Timestamp};

/// How many batches of a producer are recognised exactly when they are repeated. A client has at
/// most as many in flight.
pub const REMEMBERED: usize = 5;

/// A batch that is in the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Appended {
    pub(super) base: Sequence,
    pub(super) count: u32,
    pub(super) base_offset: Offset,
    pub(super) append_time: Timestamp,
}

/// At most [`REMEMBERED`] batches; unused places hold the default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Window {
    batches: [Appended; REMEMBERED],
    len: usize,
}

impl Window {
    /// Appends a batch and forgets the oldest when there is no room.
    pub(super) fn push(&mut self, batch: Appended) {
        if self.len == REMEMBERED {
            self.batches.rotate_left(1);
        } else {
            self.len += 1;
        }
        self.batches[self.len - 1] = batch;
    }

    pub(super) fn last(&self) -> Option<&Appended> {
        self.batches[..self.len].last()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Appended> {
        self.batches[..self.len].iter()
    }

    pub(super) fn find(&self, base: Sequence, count: u32) -> Option<&Appended> {
        self.iter()
            .find(|batch| (batch.base, batch.count) == (base, count))
    }
}
