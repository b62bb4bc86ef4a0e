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
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use memmap2::{Advice, Mmap, MmapOptions};

/// A file's bytes. Slices of them are reference counts; the map goes with the last.
#[derive(Debug)]
pub(super) struct Mapped {
    pub(super) bytes: Bytes,
    map: Option<Arc<Mmap>>,
}

struct Shared(Arc<Mmap>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Mapped {
    /// Reads a range from the disk into memory and waits for it. What the disk cannot give is an
    /// error here, and the end of the process for whoever touches it.
    pub(super) fn make_resident(&self, range: Range<u64>) -> io::Result<()> {
        let Some(map) = &self.map else {
            return Ok(());
        };
        let at = |byte: u64| usize::try_from(byte).unwrap_or(usize::MAX).min(map.len());
        let (start, end) = (at(range.start), at(range.end));
        match end.checked_sub(start) {
            None | Some(0) => Ok(()),
            Some(len) => map.advise_range(Advice::PopulateRead, start, len),
        }
    }
}

/// The first `len` bytes of a file.
#[expect(
    unsafe_code,
    reason = "memory maps are unsafe; the module states why this one holds"
)]
pub(super) fn map(file: &File, len: u64) -> io::Result<Mapped> {
    if len == 0 {
        return Ok(Mapped {
            bytes: Bytes::new(),
            map: None,
        });
    }
    let len = usize::try_from(len).map_err(io::Error::other)?;
    // SAFETY: the file keeps its size while it is mapped, and published bytes never change.
    let map: Mmap = unsafe { MmapOptions::new().len(len).map(file)? };
    let map = Arc::new(map);
    Ok(Mapped {
        bytes: Bytes::from_owner(Shared(Arc::clone(&map))),
        map: Some(map),
    })
}
