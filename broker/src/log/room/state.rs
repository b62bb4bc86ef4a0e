//! PURE. What is left of a log's files, what is on its way to them, and what fits.

use super::super::segment_header::{FOOTER, SEGMENT_HEADER};
use super::files::Files;
use super::next::Next;
use super::quota::Quota;
use super::{Purpose, Wake};

/// What batches leave free in the active file, unless the next one is there.
pub(super) const RESERVE: u64 = 64 << 10;
/// What a file holds beside frames.
pub(super) const OVERHEAD: u64 = SEGMENT_HEADER as u64 + FOOTER as u64;

/// In whole pages, as far as a file can be long.
pub(super) fn whole(bytes: u64) -> u64 {
    bytes
        .next_multiple_of(4096)
        .min(u64::from(u32::MAX) & !4095)
}

/// What is left of a log's files, and what is on its way to them.
#[derive(Default)]
pub(super) struct State {
    /// Bytes for frames in the active file.
    pub(super) left: u64,
    /// How large the next file is to be.
    pub(super) next_len: u64,
    /// Bytes asked for and not yet handed over or given back.
    pub(super) held: u64,
    /// Bytes of frames proposed and not yet appended.
    pub(super) proposed: u64,
    /// What of the disk's free bytes is promised to this log.
    pub(super) promised: u64,
    pub(super) next_number: u32,
    pub(super) next: Next,
    pub(super) changes: u64,
    /// How often the next file could not be made.
    pub(super) failures: u64,
    pub(super) waiting: Vec<Wake>,
    /// The files that hold entries.
    pub(super) files: Files,
    pub(super) quota: Quota,
}

impl State {
    pub(super) fn on_its_way(&self) -> u64 {
        self.held + self.proposed
    }

    /// Whether this and all that is on its way fit into files that are there.
    pub(super) fn fits(&self, bytes: u64, purpose: Purpose) -> bool {
        let all = self.on_its_way() + bytes;
        let reserve = if purpose == Purpose::Raft { 0 } else { RESERVE };
        let in_active = purpose != Purpose::Cut && all + reserve <= self.left;
        let next = match &self.next {
            Next::Ready(blank) => blank.file.len(),
            Next::Preparing(_) | Next::None => 0,
        };
        in_active || all + OVERHEAD + RESERVE <= next
    }

    pub(super) fn take_number(&mut self) -> u32 {
        let number = self.next_number;
        self.next_number = number.saturating_add(1);
        number
    }
}
