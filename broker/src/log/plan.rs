//! PURE. From what is to be appended to the exact frames: indexes, offsets, times and chains are
//! decided here, and what does not fit is refused before anything is written.

use bytes::Bytes;
use highwater_proto::{LogIndex, Term, Timestamp};

use super::body;
use super::error::LogError;
use super::frame::{FrameKind, Head, MAX_BODY, Tail};
use super::segment::{NO_TIME, verify_body};

/// What is to be appended.
#[derive(Debug, Clone)]
pub struct NewFrame {
    /// The Raft term of the entry.
    pub term: Term,
    /// The Raft index: one more than the last frame's; anything for the first frame of a log.
    pub index: LogIndex,
    /// What it carries.
    pub kind: FrameKind,
    /// The body; for a batch frame one or more whole batches, stamped or not. It is not changed.
    pub body: Bytes,
    /// Who decides its offsets, chain and time.
    pub source: Source,
}

/// Who decides a frame's offsets, chain and time.
#[derive(Debug, Clone, Copy)]
pub enum Source {
    /// This replica leads: the log assigns the base offset, the chain and the append time.
    Local {
        /// The time of the append; raised to the previous frame's if it is before that.
        append_time: Timestamp,
    },
    /// The leader's head: what the log computes must equal it, or nothing is written.
    Replicated(Head),
}

/// A frame as it will stand in the log.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) head: Head,
    pub(super) body: Bytes,
}

/// Decides the frames after `tail`. With `any_index` the first may have any index.
pub(super) fn plan(
    tail: Tail,
    mut any_index: bool,
    frames: impl IntoIterator<Item = NewFrame>,
) -> Result<Vec<Planned>, LogError> {
    let mut tail = tail;
    let mut planned = Vec::new();
    for frame in frames {
        if any_index {
            tail.next_index = frame.index;
            any_index = false;
        }
        let next = plan_one(&tail, frame)?;
        tail = Tail::from(&next.head);
        planned.push(next);
    }
    Ok(planned)
}

fn plan_one(tail: &Tail, frame: NewFrame) -> Result<Planned, LogError> {
    let NewFrame {
        term,
        index,
        kind,
        body,
        source,
    } = frame;
    if index != tail.next_index || term < tail.term || index.0 == u64::MAX {
        let last = tail.last();
        return Err(LogError::OutOfOrder {
            found: index,
            term,
            last: last.map(|last| last.index),
            last_term: last.map(|last| last.term),
        });
    }
    let counts = count(kind, &body).map_err(|reason| LogError::Malformed { index, reason })?;
    let too_large = || LogError::TooLarge {
        index,
        bytes: body.len(),
    };
    let offsets = tail.next_offset.0.checked_add(u64::from(counts.records));
    if body.len() > MAX_BODY || offsets.is_none_or(|end| i64::try_from(end).is_err()) {
        return Err(too_large());
    }
    let given = match source {
        Source::Local { append_time } => append_time,
        Source::Replicated(head) => head.append_time,
    };
    let mut head = Head {
        kind,
        extension_len: 0,
        body_len: u32::try_from(body.len()).map_err(|_| too_large())?,
        term,
        index,
        base_offset: tail.next_offset,
        append_time: given.max(tail.append_time),
        max_timestamp: counts.max_timestamp,
        record_count: counts.records,
        body_crc: if kind == FrameKind::Batch {
            0
        } else {
            crc32fast::hash(&body)
        },
        chain: 0,
    };
    let chain = head.chain_after(tail.chain, &body);
    head.chain = chain.map_err(|reason| LogError::Malformed { index, reason })?;
    if let Source::Replicated(theirs) = source {
        compare(&head, &theirs)?;
        verify_body(&head, &body).map_err(|_| LogError::Corrupt { index })?;
    }
    Ok(Planned { head, body })
}

struct Counts {
    records: u32,
    max_timestamp: Timestamp,
}

fn count(kind: FrameKind, bytes: &[u8]) -> Result<Counts, body::BodyError> {
    let mut counts = Counts {
        records: 0,
        max_timestamp: NO_TIME,
    };
    if kind != FrameKind::Batch {
        return Ok(counts);
    }
    for batch in body::batches(bytes) {
        let batch = batch?;
        counts.records = counts
            .records
            .checked_add(batch.records)
            .ok_or(body::BodyError::Count(batch.start))?;
        counts.max_timestamp = counts
            .max_timestamp
            .max(Timestamp(batch.header.max_timestamp));
    }
    if counts.records == 0 {
        return Err(body::BodyError::Empty);
    }
    Ok(counts)
}

fn compare(ours: &Head, theirs: &Head) -> Result<(), LogError> {
    let checks = [
        (ours.kind == theirs.kind, "the kind"),
        (
            ours.term == theirs.term && ours.index == theirs.index,
            "the term or the index",
        ),
        (
            ours.extension_len == theirs.extension_len,
            "the length of the extension",
        ),
        (ours.body_len == theirs.body_len, "the length of the body"),
        (ours.body_crc == theirs.body_crc, "the CRC of the body"),
        (ours.base_offset == theirs.base_offset, "the base offset"),
        (
            ours.record_count == theirs.record_count,
            "the number of records",
        ),
        (ours.append_time == theirs.append_time, "the append time"),
        (
            ours.max_timestamp == theirs.max_timestamp,
            "the largest time of a record",
        ),
        (ours.chain == theirs.chain, "the chain"),
    ];
    match checks.into_iter().find(|(equal, _)| !equal) {
        None => Ok(()),
        Some((_, difference)) => Err(LogError::Diverged {
            index: ours.index,
            theirs: theirs.chain,
            ours: ours.chain,
            difference,
        }),
    }
}
