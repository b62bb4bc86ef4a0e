//! The walk over the records of a stored batch.

use std::iter::FusedIterator;

use bytes::Bytes;

use super::error::{BatchError, Expected, RecordFault, RecordField};
use super::header::BatchHeader;
use super::placed::PlacedRecord;
use super::reader::Reader;
use super::record::{Encoded, Record, RecordView};
use crate::{Offset, Timestamp};

/// Iterator of [`StoredBatch::records`](super::StoredBatch::records). Ends after the first error.
#[derive(Debug, Clone)]
pub struct Records {
    data: Bytes,
    walk: Walk,
}

/// Iterator of [`Records::views`]. Ends after the first error.
#[derive(Debug, Clone)]
pub struct RecordViews<'a> {
    data: &'a [u8],
    walk: Walk,
}

/// Where a walk over encoded records is.
#[derive(Debug, Clone)]
struct Walk {
    header: BatchHeader,
    base_offset: Offset,
    /// Where the next record begins.
    at: usize,
    /// How many records are to come.
    left: i32,
    /// The least offset delta the next one may have: offsets only grow.
    least_delta: i32,
}

impl Records {
    /// The records of the batch with this header, which are encoded in `data`.
    pub(super) fn new(data: Bytes, header: BatchHeader, base_offset: Offset) -> Self {
        let left = header.record_count;
        Self {
            data,
            walk: Walk {
                header,
                base_offset,
                at: 0,
                left,
                least_delta: 0,
            },
        }
    }

    /// The records from here on, borrowed. Much cheaper where they are not to be kept.
    pub fn views(&self) -> RecordViews<'_> {
        RecordViews {
            data: &self.data,
            walk: self.walk.clone(),
        }
    }

    /// The bytes in which the records are encoded, decompressed if need be: what a [`PlacedRecord`]
    /// is asked with.
    #[inline]
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// The next record, as the iterator gives it, but by the places of its parts: no reference is
    /// counted.
    #[inline]
    pub fn next_placed(&mut self) -> Option<Result<PlacedRecord, BatchError>> {
        let view = self.walk.next(&self.data)?;
        Some(view.map(|view| PlacedRecord::of(&view, &self.data)))
    }

    /// The next record, borrowed, if it `fits`; else it stays the next one.
    pub fn next_view_if(
        &mut self,
        fits: impl FnOnce(&RecordView<'_>) -> bool,
    ) -> Option<Result<RecordView<'_>, BatchError>> {
        let mut walk = self.walk.clone();
        let next = walk.next(&self.data)?;
        if next.as_ref().is_ok_and(|view| !fits(view)) {
            return None;
        }
        self.walk = walk;
        Some(next)
    }
}

impl Iterator for Records {
    type Item = Result<Record, BatchError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let view = self.walk.next(&self.data)?;
        Some(view.map(|view| view.to_record(&self.data)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.walk.size_hint()
    }
}

impl<'a> Iterator for RecordViews<'a> {
    type Item = Result<RecordView<'a>, BatchError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.walk.next(self.data)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.walk.size_hint()
    }
}

impl FusedIterator for Records {}

impl FusedIterator for RecordViews<'_> {}

impl Walk {
    #[inline]
    fn next<'a>(&mut self, data: &'a [u8]) -> Option<Result<RecordView<'a>, BatchError>> {
        if self.left == 0 {
            return self.end(data.len()).map(Err);
        }
        match self.record(data) {
            Ok(record) => Some(Ok(record)),
            Err(fault) => Some(Err(self.stop(data.len(), fault))),
        }
    }

    #[inline]
    fn record<'a>(&mut self, data: &'a [u8]) -> Result<RecordView<'a>, RecordFault> {
        let mut reader = Reader::new(data.get(self.at..).unwrap_or_default());
        let record = Encoded::read(&mut reader)?;
        let delta = record.offset_delta;
        let Some(distance) = u64::try_from(delta).ok().filter(|_| self.allows(delta)) else {
            return Err(self.wrong_delta(delta));
        };
        let timestamp = match self.header.attributes.log_append_time() {
            true => self.header.max_timestamp,
            false => record.timestamp(self.header.base_timestamp)?,
        };
        self.at = data.len() - reader.left();
        self.left -= 1;
        self.least_delta = delta.saturating_add(1);
        Ok(RecordView {
            offset: self.base_offset.plus(distance),
            timestamp: Timestamp(timestamp),
            key: record.key,
            value: record.value,
            headers: record.headers,
        })
    }

    #[inline]
    fn allows(&self, delta: i32) -> bool {
        self.least_delta <= delta && delta <= self.header.last_offset_delta
    }

    #[cold]
    fn wrong_delta(&self, found: i32) -> RecordFault {
        let expected = match found < self.least_delta {
            true => Expected::AtLeast(i64::from(self.least_delta)),
            false => Expected::AtMost(i64::from(self.header.last_offset_delta)),
        };
        RecordFault::value(RecordField::OffsetDelta, i64::from(found), expected)
    }

    /// Ends the walk at the record that is at fault.
    #[cold]
    fn stop(&mut self, len: usize, fault: RecordFault) -> BatchError {
        let index = self.header.record_count - self.left;
        self.left = 0;
        self.at = len;
        fault.at(index)
    }

    /// After the last record: an error, once, if bytes are left over.
    #[cold]
    fn end(&mut self, len: usize) -> Option<BatchError> {
        let found = len.saturating_sub(self.at);
        self.at = len;
        (found > 0).then_some(BatchError::LeftOver { found })
    }

    /// One more than the records: bytes left over end the walk with an error.
    fn size_hint(&self) -> (usize, Option<usize>) {
        (
            0,
            usize::try_from(self.left)
                .ok()
                .map(|left| left.saturating_add(1)),
        )
    }
}
