//! The hint in a file's header: how far the log is durable. Frames vouch for those before them; the
//! hint vouches for the last ones, which otherwise could rot and pass for a torn tail.

use std::io::IoSlice;
use std::sync::atomic::Ordering;

use super::flusher::Flusher;
use super::segment::Segment;
use super::segment_header::{HINT_AT, encode_hint};

/// Writes the hint of the newest file, unless it says so already. Not synced: a hint that is lost
/// counts as none. Any thread may: what was durable stays so.
pub(super) fn mark_durable(segment: &Segment, flusher: &Flusher) {
    let durable = flusher.durable();
    let here = durable.file == segment.header.number;
    if !here || flusher.failed().is_some() {
        return;
    }
    if segment.marked.fetch_max(durable.byte, Ordering::Relaxed) >= durable.byte {
        return;
    }
    let hint = encode_hint(durable, segment.generation);
    // A hint that could not be written is one that is missing.
    let _ = segment
        .file
        .write_at(&[IoSlice::new(&hint)], HINT_AT as u64);
}
