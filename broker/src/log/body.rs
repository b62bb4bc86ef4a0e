//! PURE. The batches of a frame's body, walked by their length fields: what the log must know of a
//! record batch to stamp it, to count its records and to cover it with the frame's own CRCs.

use highwater_proto::{Offset, Term};

/// Bytes of a batch header.
const BATCH_HEADER: usize = 61;
/// The bytes of a batch that the frame's header CRC covers; they hold the batch's own CRC.
pub(super) const COVERED: usize = 21;
/// The bytes of a batch that the broker stamps, and those between them.
pub(super) const STAMPED: usize = 16;

/// One batch within a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BatchSpan {
    /// Where the batch begins in the body.
    pub(super) start: usize,
    /// Its bytes in all.
    pub(super) len: usize,
    /// Its CRC-32C field, as stored.
    pub(super) crc: [u8; 4],
    /// How many records it holds.
    pub(super) records: u32,
    /// The largest of its records' times.
    pub(super) max_timestamp: i64,
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
    /// The magic byte is not 2.
    #[error("the batch at byte {0} has a magic other than 2")]
    Magic(usize),
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
            Ok(span) => self.at += span.len,
            Err(_) => self.failed = true,
        }
        Some(span)
    }
}

fn span_at(body: &[u8], start: usize) -> Result<BatchSpan, BodyError> {
    let rest = body.get(start..).unwrap_or_default();
    let head: &[u8; BATCH_HEADER] = rest.first_chunk().ok_or(BodyError::Cut(start))?;
    let after = i32::from_be_bytes(field(head, 8));
    let len = usize::try_from(after)
        .ok()
        .and_then(|after| after.checked_add(12));
    let len = len.filter(|len| (BATCH_HEADER..=rest.len()).contains(len));
    let len = len.ok_or(BodyError::Cut(start))?;
    if head[16] != 2 {
        return Err(BodyError::Magic(start));
    }
    let records = u32::try_from(i32::from_be_bytes(field(head, 57))).unwrap_or(0);
    let last_delta = i32::from_be_bytes(field(head, 23));
    if records == 0 || u32::try_from(last_delta) != Ok(records - 1) {
        return Err(BodyError::Count(start));
    }
    let max_timestamp = i64::from_be_bytes(field(head, 35));
    Ok(BatchSpan {
        start,
        len,
        crc: field(head, 17),
        records,
        max_timestamp,
    })
}

fn field<const N: usize>(head: &[u8; BATCH_HEADER], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&head[at..at + N]);
    bytes
}

/// Whether every batch of a body has the CRC-32C it says it has.
pub(super) fn crcs_match(body: &[u8]) -> bool {
    batches(body).all(|batch| {
        batch.is_ok_and(|batch| {
            let covered = body.get(batch.start + COVERED..batch.start + batch.len);
            let crc = covered.map(crc_fast::crc32_iscsi);
            crc == Some(u32::from_be_bytes(batch.crc))
        })
    })
}

/// The first bytes of a batch as stored: base offset and leader epoch stamped, the length kept.
pub(super) fn stamped(batch: &[u8], base_offset: Offset, term: Term) -> [u8; STAMPED] {
    let mut prefix = [0; STAMPED];
    prefix[..8].copy_from_slice(&base_offset.to_i64().to_be_bytes());
    prefix[8..12].copy_from_slice(batch.get(8..12).unwrap_or(&[0; 4]));
    prefix[12..].copy_from_slice(&term.to_epoch().to_be_bytes());
    prefix
}
