//! PURE. Reading a frame from bytes that may be torn, rotten or somebody else's.

use crc32fast::Hasher;

use super::{FrameError, HEADER_LEN, Head, MAGIC, Position, Tail, field, local_part};
use crate::log::body::{self, COVERED};
use crate::log::frame::FrameKind;

/// Why the bytes at a position are not the frame that belongs there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::log) enum FrameFault {
    /// Nothing was ever written there.
    #[error("nothing is written there")]
    Blank,
    /// Not a frame's header.
    #[error("the header is not a frame's: {0}")]
    Head(#[from] FrameError),
    /// The frame passes the end of what can be read.
    #[error("the frame is cut off")]
    Cut,
    /// Written for another use of the file.
    #[error("the frame belongs to another file or another use of this one")]
    Generation,
    /// The header's CRC does not match.
    #[error("the CRC of the header does not match")]
    HeaderCrc,
    /// The body's CRC does not match.
    #[error("the CRC of the body does not match")]
    BodyCrc,
    /// A whole frame, but not the one that follows the previous frame.
    #[error("the frame does not follow the one before it")]
    Order,
}

/// A frame whose header is proven by its CRC; the body is not looked at yet.
#[derive(Debug, Clone, Copy)]
pub(in crate::log) struct RawFrame {
    pub(in crate::log) head: Head,
    /// What was durable when the frame was written.
    pub(in crate::log) durable: Position,
    /// Where the body begins, from the frame's first byte.
    pub(in crate::log) body_start: usize,
}

impl RawFrame {
    /// Reads the frame of this generation that begins at the first byte of `bytes` and checks its
    /// header.
    pub(in crate::log) fn parse(bytes: &[u8], generation: u32) -> Result<Self, FrameFault> {
        let (frame, stored) = Self::parse_any(bytes)?;
        if stored == generation {
            Ok(frame)
        } else {
            Err(FrameFault::Generation)
        }
    }

    /// The same for a frame of any generation, and its generation.
    pub(in crate::log) fn parse_any(bytes: &[u8]) -> Result<(Self, u32), FrameFault> {
        let header: &[u8; HEADER_LEN] = bytes.first_chunk().ok_or(FrameFault::Cut)?;
        if header.iter().all(|byte| *byte == 0) {
            return Err(FrameFault::Blank);
        }
        let head = Head::decode(header)?;
        let body_start = HEADER_LEN + head.extension_len as usize;
        let end = body_start + head.body_len as usize;
        let body = bytes.get(body_start..end).ok_or(FrameFault::Cut)?;
        let durable = Position::from_u64(u64::from_le_bytes(field(header, 80)));
        let stored: [u8; 4] = field(header, 72);
        let mut encoded = [0; Head::LEN];
        encoded.copy_from_slice(&header[..Head::LEN]);
        let mut malformed = None;
        let local = local_part(&encoded, u32::from_le_bytes(stored), durable, |hasher| {
            hasher.update(&bytes[HEADER_LEN..body_start]);
            malformed = cover(hasher, head.kind, body).err();
        });
        if local[4..8] != header[76..80] {
            return Err(FrameFault::HeaderCrc);
        }
        if let Some(error) = malformed {
            return Err(FrameFault::Head(error));
        }
        let frame = Self {
            head,
            durable,
            body_start,
        };
        Ok((frame, u32::from_le_bytes(stored)))
    }

    /// Whether the frame is the one `previous` waits for, by index, term, offsets, time and chain.
    pub(in crate::log) fn follows(&self, previous: &Tail, body: &[u8]) -> Result<(), FrameFault> {
        let head = &self.head;
        let fits = head.index == previous.next_index
            && head.term >= previous.term
            && head.base_offset == previous.next_offset
            && head.append_time >= previous.append_time;
        if fits && head.chain_after(previous.chain, body) == Ok(head.chain) {
            Ok(())
        } else {
            Err(FrameFault::Order)
        }
    }
}

/// Adds what the header CRC covers of a body.
pub(in crate::log) fn cover(
    hasher: &mut Hasher,
    kind: FrameKind,
    body: &[u8],
) -> Result<(), FrameError> {
    if kind == FrameKind::Batch {
        for batch in body::batches(body) {
            let start = batch?.start;
            hasher.update(body.get(start..start + COVERED).unwrap_or_default());
        }
    }
    Ok(())
}

/// Whether bytes that are no frame to this broker are a whole frame of a later version or of a
/// kind it does not know: then nothing is damaged, and nothing may be cut off.
pub(in crate::log) fn check_unknown(bytes: &[u8]) -> bool {
    let Some(header) = bytes.first_chunk::<HEADER_LEN>() else {
        return false;
    };
    let mut head = [0; Head::LEN];
    head.copy_from_slice(&header[..Head::LEN]);
    let durable = Position::from_u64(u64::from_le_bytes(field(header, 80)));
    let generation = u32::from_le_bytes(field(header, 72));
    let extension = u32::from_le_bytes(field(header, 8)) as usize;
    let extension = bytes
        .get(HEADER_LEN..HEADER_LEN + extension)
        .unwrap_or_default();
    let local = local_part(&head, generation, durable, |hasher| {
        hasher.update(extension)
    });
    header.starts_with(&MAGIC) && local[4..8] == header[76..80]
}
