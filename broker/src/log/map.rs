//! The only `unsafe` of the broker: a read-only map of a whole file, given out as `Bytes`.
//!
//! What must hold, and why it does:
//! - A mapped file never shrinks (that would be SIGBUS): files have a fixed size from creation to
//!   unlink, and nothing in `log/` calls `set_len`. A stranger who truncates a live file may kill
//!   the process, not the data.
//! - Readers only look at bytes below a published end, and what lies below it is never written
//!   again: a truncation is a new file. Bytes above it may change under the map and are only read
//!   during recovery, before anything writes.

use std::fs::File;
use std::io;

use bytes::Bytes;
use memmap2::{Mmap, MmapOptions};

/// The first `len` bytes of a file. Slices of it are reference counts; the map goes with the last.
#[expect(
    unsafe_code,
    reason = "memory maps are unsafe; the module states why this one holds"
)]
pub(super) fn map(file: &File, len: u64) -> io::Result<Bytes> {
    if len == 0 {
        return Ok(Bytes::new());
    }
    let len = usize::try_from(len).map_err(io::Error::other)?;
    // SAFETY: the file keeps its size while it is mapped, and published bytes never change.
    let map: Mmap = unsafe { MmapOptions::new().len(len).map(file)? };
    Ok(Bytes::from_owner(map))
}
