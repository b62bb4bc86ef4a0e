//! PURE. From planned frames to the parts of one `pwritev`: headers, stamps and padding are built
//! in one small buffer, payloads are written from where the caller has them.

use std::io::IoSlice;

use super::body::{self, COVERED, STAMPED};
use super::frame::{ALIGN, FrameKind, HEADER_LEN, Head, Position, local_part};
use super::plan::Planned;
use super::segment_header::SEGMENT_HEADER;

/// Collects what is to be written to one file in one go.
pub(super) struct Encoder<'a> {
    generation: u32,
    durable: Position,
    built: Vec<u8>,
    pieces: Vec<Piece<'a>>,
    len: u64,
}

enum Piece<'a> {
    /// The next so many built bytes.
    Built(usize),
    Payload(&'a [u8]),
}

impl<'a> Encoder<'a> {
    /// For a file of this generation, while everything before `durable` is on the disk.
    pub(super) fn new(generation: u32, durable: Position, frames: usize) -> Self {
        Self {
            generation,
            durable,
            built: Vec::with_capacity(frames * (HEADER_LEN + STAMPED + ALIGN)),
            pieces: Vec::with_capacity(frames * 2 + 1),
            len: 0,
        }
    }

    /// Bytes collected so far.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Adds bytes that are not a frame: a file's header or footer.
    pub(super) fn push_block(&mut self, block: &[u8]) {
        self.build(block);
    }

    /// Fills the page in which all this ends with zeroes if it begins in an earlier one: for a file
    /// whose blocks hold something, and of which the system would read the page from the disk first.
    pub(super) fn fill_page(&mut self, start: u32) {
        let page = u64::from(SEGMENT_HEADER);
        let start = u64::from(start);
        let end = start + self.len;
        let rest = end.next_multiple_of(page) - end;
        if start.is_multiple_of(page) || end / page > start / page {
            let zeroes = [0; SEGMENT_HEADER as usize];
            self.build(&zeroes[..rest as usize]);
        }
    }

    /// Adds a frame.
    pub(super) fn push(&mut self, frame: &'a Planned) {
        let header_at = self.built.len();
        let head = frame.head.encode();
        self.build(&head);
        self.build(&[0; HEADER_LEN - Head::LEN]);
        let mut hasher_input = Vec::new();
        if frame.head.kind == FrameKind::Batch {
            let mut base = frame.head.base_offset;
            for span in body::batches(&frame.body).flatten() {
                let batch = &frame.body[span.range()];
                let prefix = body::stamped(&span, base, frame.head.term);
                self.build(&prefix);
                self.payload(&batch[STAMPED..]);
                hasher_input.push((prefix, &batch[STAMPED..COVERED]));
                base = base.plus(u64::from(span.records));
            }
        } else {
            self.payload(&frame.body);
        }
        let padding = (frame.head.frame_len() - HEADER_LEN as u64) as usize - frame.body.len();
        self.build(&[0; ALIGN][..padding]);
        let local = local_part(&head, self.generation, self.durable, |hasher| {
            for (prefix, rest) in &hasher_input {
                hasher.update(prefix);
                hasher.update(rest);
            }
        });
        self.built[header_at + Head::LEN..header_at + HEADER_LEN].copy_from_slice(&local);
    }

    fn build(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.built.extend_from_slice(bytes);
        self.len += bytes.len() as u64;
        match self.pieces.last_mut() {
            Some(Piece::Built(len)) => *len += bytes.len(),
            _ => self.pieces.push(Piece::Built(bytes.len())),
        }
    }

    fn payload(&mut self, bytes: &'a [u8]) {
        if !bytes.is_empty() {
            self.len += bytes.len() as u64;
            self.pieces.push(Piece::Payload(bytes));
        }
    }

    /// Everything collected, in order.
    pub(super) fn slices(&self) -> Vec<IoSlice<'_>> {
        let mut built = &self.built[..];
        let next = |piece: &Piece<'a>| match *piece {
            Piece::Payload(bytes) => IoSlice::new(bytes),
            Piece::Built(len) => {
                let (now, later) = built.split_at(len);
                built = later;
                IoSlice::new(now)
            }
        };
        self.pieces.iter().map(next).collect()
    }
}
