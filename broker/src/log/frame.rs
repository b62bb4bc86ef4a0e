//! PURE. The frame: one entry of the Raft log on the disk and between peers.
//!
//! ```text
//! 0                        72                88            88+extension         8-aligned
//! | replicated part (Head) | local part      | extension   | body               | zeroes |
//! ```
//! The replicated part is equal on every replica; the local part says which file wrote the frame,
//! what was durable then, and covers both parts, the extension and the head of each batch.

use crc32fast::Hasher;
use highwater_proto::{LogIndex, Offset, Term, Timestamp};

use super::body::{self, BodyError};

mod check;
#[cfg(test)]
mod tests;

pub(super) use check::FrameFault;
pub(super) use check::{RawFrame, check_unknown};

/// The first two bytes of every frame.
pub(super) const MAGIC: [u8; 2] = *b"HW";
/// The version of the frame's layout.
pub(super) const VERSION: u8 = 1;
/// Bytes of both parts of the header.
pub(super) const HEADER_LEN: usize = 88;
/// Frames begin at multiples of this.
pub(super) const ALIGN: usize = 8;
/// No body may be longer: a limit on what one damaged or hostile length can make anyone read.
pub const MAX_BODY: usize = 256 << 20;

/// Bytes of a frame with a body of `body` bytes and no extension.
pub(super) fn frame_bytes(body: usize) -> u64 {
    (HEADER_LEN as u64 + body as u64).next_multiple_of(ALIGN as u64)
}

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FrameKind {
    /// One or more whole record batches. The only kind that takes offsets.
    Batch = 1,
    /// A command to the group's state machine.
    Command = 2,
    /// Nothing: the first entry of a leader's term.
    Blank = 3,
    /// A change of the group's members.
    Membership = 4,
}

impl FrameKind {
    /// The kind with this number.
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Batch),
            2 => Some(Self::Command),
            3 => Some(Self::Blank),
            4 => Some(Self::Membership),
            _ => None,
        }
    }
}

/// Why 72 bytes are not the replicated part of a frame header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Fewer than 72 bytes.
    #[error("a frame head has 72 bytes, these are {0}")]
    Short(usize),
    /// The first bytes are not a frame's.
    #[error("a frame begins with \"HW\", these bytes do not")]
    Magic,
    /// Written by another version of the format.
    #[error("frame version {0} is not known to this broker")]
    Version(u8),
    /// A kind this version does not know.
    #[error("frame kind {0} is not known to this broker")]
    Kind(u8),
    /// A length that no frame can have.
    #[error("the header length {0} or the body length {1} is impossible")]
    Length(u16, u32),
    /// The body of a batch frame is not a row of batches.
    #[error("the body of a batch frame is malformed: {0}")]
    Body(#[from] BodyError),
}

/// The replicated part of a frame header: equal on every replica, byte for byte what peers exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// What the frame carries.
    pub kind: FrameKind,
    /// Bytes of the extension between header and body; nothing writes one today.
    pub extension_len: u32,
    /// Bytes of the body, without the padding after it.
    pub body_len: u32,
    /// The Raft term of the entry.
    pub term: Term,
    /// The Raft index of the entry.
    pub index: LogIndex,
    /// The offset of the first record, or of the next one if the frame has none.
    pub base_offset: Offset,
    /// When the leader appended the entry; never before the previous entry's.
    pub append_time: Timestamp,
    /// The largest time of the records; -1 when there are none.
    pub max_timestamp: Timestamp,
    /// How many records the batches hold in all.
    pub record_count: u32,
    /// CRC-32 of the body; 0 for batches, which carry CRCs of their own.
    pub body_crc: u32,
    /// CRC-32 over the previous frame's chain, this part and the CRCs of the body: equal chains at
    /// an index prove equal logs up to it.
    pub chain: u32,
}

impl Head {
    /// Bytes of the encoded head.
    pub const LEN: usize = 72;

    /// When a file that has no batch before this frame began. Only batches have an age: a file
    /// without any holds nothing that could be deleted by it.
    pub(super) fn began(&self) -> Option<Timestamp> {
        (self.kind == FrameKind::Batch).then_some(self.append_time)
    }

    /// The head as stored and exchanged, little-endian.
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut out = [0; Self::LEN];
        out[0..2].copy_from_slice(&MAGIC);
        out[2] = VERSION;
        out[3] = self.kind as u8;
        out[4..6].copy_from_slice(&(HEADER_LEN as u16).to_le_bytes());
        out[8..12].copy_from_slice(&self.extension_len.to_le_bytes());
        out[12..16].copy_from_slice(&self.body_len.to_le_bytes());
        out[16..24].copy_from_slice(&self.term.0.to_le_bytes());
        out[24..32].copy_from_slice(&self.index.0.to_le_bytes());
        out[32..40].copy_from_slice(&self.base_offset.0.to_le_bytes());
        out[40..48].copy_from_slice(&self.append_time.0.to_le_bytes());
        out[48..56].copy_from_slice(&self.max_timestamp.0.to_le_bytes());
        out[56..60].copy_from_slice(&self.record_count.to_le_bytes());
        out[60..64].copy_from_slice(&self.body_crc.to_le_bytes());
        out[64..68].copy_from_slice(&self.chain.to_le_bytes());
        out
    }

    /// Reads a head from the first 72 bytes. Says nothing about its CRCs.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        let head: &[u8; Self::LEN] = bytes.first_chunk().ok_or(FrameError::Short(bytes.len()))?;
        if head[0..2] != MAGIC {
            return Err(FrameError::Magic);
        }
        if head[2] != VERSION {
            return Err(FrameError::Version(head[2]));
        }
        let header_len = u16::from_le_bytes(field(head, 4));
        let body_len = u32::from_le_bytes(field(head, 12));
        if usize::from(header_len) != HEADER_LEN || body_len as usize > MAX_BODY {
            return Err(FrameError::Length(header_len, body_len));
        }
        Ok(Self {
            kind: FrameKind::from_number(head[3]).ok_or(FrameError::Kind(head[3]))?,
            extension_len: u32::from_le_bytes(field(head, 8)),
            body_len,
            term: Term(u64::from_le_bytes(field(head, 16))),
            index: LogIndex(u64::from_le_bytes(field(head, 24))),
            base_offset: Offset(u64::from_le_bytes(field(head, 32))),
            append_time: Timestamp(i64::from_le_bytes(field(head, 40))),
            max_timestamp: Timestamp(i64::from_le_bytes(field(head, 48))),
            record_count: u32::from_le_bytes(field(head, 56)),
            body_crc: u32::from_le_bytes(field(head, 60)),
            chain: u32::from_le_bytes(field(head, 64)),
        })
    }

    /// The first offset after the frame's records.
    pub fn next_offset(&self) -> Offset {
        self.base_offset.plus(u64::from(self.record_count))
    }

    /// Bytes of the whole frame on the disk, with the padding after the body.
    pub(super) fn frame_len(&self) -> u64 {
        let len = HEADER_LEN as u64 + u64::from(self.extension_len) + u64::from(self.body_len);
        len.next_multiple_of(ALIGN as u64)
    }

    /// The chain this frame must carry after a frame with chain `previous`.
    pub(super) fn chain_after(&self, previous: u32, body: &[u8]) -> Result<u32, BodyError> {
        let mut hasher = Hasher::new();
        hasher.update(&previous.to_le_bytes());
        hasher.update(&Self { chain: 0, ..*self }.encode());
        if self.kind == FrameKind::Batch {
            for batch in body::batches(body) {
                hasher.update(&batch?.header.crc.to_be_bytes());
            }
        } else {
            hasher.update(&self.body_crc.to_le_bytes());
        }
        Ok(hasher.finalize())
    }
}

/// The end of a log: what the next frame has to fit to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastFrame {
    /// The term of the last frame.
    pub term: Term,
    /// The index of the last frame.
    pub index: LogIndex,
    /// The chain at the last frame.
    pub chain: u32,
    /// The first offset after its records.
    pub next_offset: Offset,
    /// When it was appended.
    pub append_time: Timestamp,
}

impl From<&Head> for LastFrame {
    fn from(head: &Head) -> Self {
        Self {
            term: head.term,
            index: head.index,
            chain: head.chain,
            next_offset: head.next_offset(),
            append_time: head.append_time,
        }
    }
}

/// What the next frame has to fit to. Unlike `LastFrame` it also exists before the first frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tail {
    pub(super) next_index: LogIndex,
    pub(super) next_offset: Offset,
    pub(super) term: Term,
    pub(super) chain: u32,
    pub(super) append_time: Timestamp,
}

impl Tail {
    /// The tail of a log that begins with this index and offset and has no past.
    pub(super) fn start(next_index: LogIndex, next_offset: Offset) -> Self {
        let append_time = Timestamp(i64::MIN);
        Self {
            next_index,
            next_offset,
            term: Term(0),
            chain: 0,
            append_time,
        }
    }

    /// The last frame before this tail, if there is one.
    pub(super) fn last(&self) -> Option<LastFrame> {
        let index = LogIndex(self.next_index.0.checked_sub(1)?);
        Some(LastFrame {
            term: self.term,
            index,
            chain: self.chain,
            next_offset: self.next_offset,
            append_time: self.append_time,
        })
    }
}

impl From<&Head> for Tail {
    fn from(head: &Head) -> Self {
        Self::from(LastFrame::from(head))
    }
}

impl From<LastFrame> for Tail {
    fn from(last: LastFrame) -> Self {
        Self {
            next_index: last.index.next(),
            next_offset: last.next_offset,
            term: last.term,
            chain: last.chain,
            append_time: last.append_time,
        }
    }
}

/// A byte of a log's files. Ordered as the bytes were written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The number of the file.
    pub file: u32,
    /// The byte within it.
    pub byte: u32,
}

impl Position {
    /// The position as one number: the file in the upper half.
    pub(super) fn to_u64(self) -> u64 {
        u64::from(self.file) << 32 | u64::from(self.byte)
    }

    /// The position a number stands for.
    pub(super) fn from_u64(number: u64) -> Self {
        Self {
            file: (number >> 32) as u32,
            byte: number as u32,
        }
    }
}

/// The local part of the header, covering the replicated part, the extension and the batch heads.
pub(super) fn local_part(
    head: &[u8; Head::LEN],
    generation: u32,
    durable: Position,
    covered: impl FnOnce(&mut Hasher),
) -> [u8; HEADER_LEN - Head::LEN] {
    let mut local = [0; HEADER_LEN - Head::LEN];
    local[0..4].copy_from_slice(&generation.to_le_bytes());
    local[8..16].copy_from_slice(&durable.to_u64().to_le_bytes());
    let mut hasher = Hasher::new();
    hasher.update(head);
    hasher.update(&local);
    covered(&mut hasher);
    local[4..8].copy_from_slice(&hasher.finalize().to_le_bytes());
    local
}

fn field<const N: usize, const L: usize>(bytes: &[u8; L], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}
