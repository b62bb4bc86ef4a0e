//! PURE. The batches of a frame's body, walked by their length fields: what the log must know of a
//! record batch to stamp it, to count its records and to cover it with the frame's own CRCs.

use std::ops::Range;

use bytes::Bytes;
use highwater_proto::batch::{BatchError, BatchHeader, CRC_END, StoredBatch, stamped_prefix};
use highwater_proto::{Offset, Term};

/// The bytes of a batch that the frame's header CRC covers; they hold the batch's own CRC.
pub(super) const COVERED: usize = CRC_END;
/// The bytes of a batch that the broker stamps, and those between them.
pub(super) const STAMPED: usize = 16;

/// One batch within a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BatchSpan {
    /// Where the batch begins in the body.
    pub(super) start: usize,
    /// How many records it holds.
    pub(super) records: u32,
    pub(super) header: BatchHeader,
}

impl BatchSpan {
    /// Its bytes in all.
    pub(super) fn len(&self) -> usize {
        self.header.total_len()
    }

    /// Its place in the body.
    pub(super) fn range(&self) -> Range<usize> {
        self.start..self.start + self.len()
    }
}

/// Why a body is not a row of whole batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// There is no batch at all.
    #[error("it holds no batch")]
    Empty,
    /// The body ends within a batch.
    #[error("the batch at byte {0} is not whole")]
    Cut(usize),
    /// The magic or the length is none that a batch can have.
    #[error("the batch at byte {0} has another magic than 2, or an impossible length")]
    Header(usize),
    /// The record count is not positive, or is not the last offset delta plus one.
    #[error("the batch at byte {0} does not count its records as one plus its last offset delta")]
    Count(usize),
}

/// Walks the batches of a body; ends after the first error.
pub(super) fn batches(body: &[u8]) -> Batches<'_> {
    Batches {
        body,
        at: 0,
        failed: false,
    }
}

pub(super) struct Batches<'a> {
    body: &'a [u8],
    at: usize,
    failed: bool,
}

impl Iterator for Batches<'_> {
    type Item = Result<BatchSpan, BodyError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.at >= self.body.len() {
            return None;
        }
        let span = span_at(self.body, self.at);
        match span {
            Ok(span) => self.at += span.len(),
            Err(_) => self.failed = true,
        }
        Some(span)
    }
}

fn span_at(body: &[u8], start: usize) -> Result<BatchSpan, BodyError> {
    let rest = body.get(start..).unwrap_or_default();
    let header = BatchHeader::decode(rest).map_err(|error| match error {
        BatchError::Short { .. } => BodyError::Cut(start),
        _ => BodyError::Header(start),
    })?;
    if header.total_len() > rest.len() {
        return Err(BodyError::Cut(start));
    }
    let records = u32::try_from(header.record_count).unwrap_or(0);
    if records == 0 || header.last_offset_delta != header.record_count - 1 {
        return Err(BodyError::Count(start));
    }
    Ok(BatchSpan {
        start,
        header,
        records,
    })
}

/// Whether every batch of a stored body is what its CRC-32C says.
pub(super) fn crcs_match(body: &Bytes) -> bool {
    batches(body).all(|batch| {
        batch.is_ok_and(|batch| StoredBatch::decode(body.slice(batch.range())).is_ok())
    })
}

/// The first bytes of a batch as stored: base offset and leader epoch stamped, the length kept.
pub(super) fn stamped(batch: &BatchSpan, base_offset: Offset, term: Term) -> [u8; STAMPED] {
    stamped_prefix(&batch.header, base_offset, term.to_epoch())
}
