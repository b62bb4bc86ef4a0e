//! The next segment file, made ready in the background: allocated, filled with zeroes where that
//! pays (a sync need not convert extents then) and named durably before the log needs it. Or a file
//! from the front of the log that is dead: its blocks are written already.

use std::io::{self, IoSlice};
use std::sync::Arc;

use super::dir::{Dir, File};
use super::segment::file_name;
use super::segment_header::SEGMENT_HEADER;

/// How much is filled with one write: larger writes make large folios, which make small syncs slow.
const FILL: usize = 64 << 10;

/// A file without a header, for one segment.
#[derive(Debug)]
pub(super) struct BlankFile {
    pub(super) number: u32,
    pub(super) file: Arc<dyn File>,
    /// Whether its name is durable.
    pub(super) named: bool,
    /// Whether it was a file of this log before, whose bytes are still in it behind the header.
    pub(super) reused: bool,
}

impl BlankFile {
    /// Makes a file of `len` bytes at once; its name is not durable yet.
    pub(super) fn create(dir: &dyn Dir, number: u32, len: u64) -> io::Result<Self> {
        Ok(Self {
            number,
            file: dir.create(&file_name(number), len)?,
            named: false,
            reused: false,
        })
    }

    /// Makes a file of `len` bytes, filled with zeroes if `zeroed`, and its name durable.
    pub(super) fn prepare(dir: &dyn Dir, number: u32, len: u64, zeroed: bool) -> io::Result<Self> {
        let mut blank = Self::create(dir, number, len)?;
        let filled = if zeroed { fill(&*blank.file) } else { Ok(()) };
        match filled.and_then(|()| dir.sync_dir()) {
            Ok(()) => {
                blank.named = true;
                Ok(blank)
            }
            Err(error) => {
                discard(dir, number);
                Err(error)
            }
        }
    }

    /// Makes the dead file that is called `old` file `number`; its name is durable. None if somebody
    /// still reads it or the disk fails: then the dead file is gone, and nothing else has changed.
    pub(super) fn reuse(dir: &dyn Dir, old: &str, number: u32) -> Option<Self> {
        let reused = Self::take_over(dir, old, number);
        let reused = reused.ok().flatten();
        if reused.is_none() {
            let _ = dir.remove(old);
            discard(dir, number);
        }
        reused
    }

    fn take_over(dir: &dyn Dir, old: &str, number: u32) -> io::Result<Option<Self>> {
        // Nobody can begin to read it: no log knows this name.
        if dir.is_in_use(old)? {
            return Ok(None);
        }
        let file = dir.open(old)?;
        // No header and no hint of its last use may be there when it has its new name.
        let blank = [0; SEGMENT_HEADER as usize];
        file.write_at(&[IoSlice::new(&blank)], 0)?;
        file.sync_now()?;
        drop(file);
        let name = file_name(number);
        dir.rename(old, &name)?;
        dir.sync_dir()?;
        Ok(Some(Self {
            number,
            file: dir.open(&name)?,
            named: true,
            reused: true,
        }))
    }
}

fn fill(file: &dyn File) -> io::Result<()> {
    let zeroes = [0; FILL];
    let mut position = 0;
    while position < file.len() {
        let len = (file.len() - position).min(FILL as u64);
        file.write_at(&[IoSlice::new(&zeroes[..len as usize])], position)?;
        position += len;
    }
    file.sync_now()
}

/// Removes a file that was never used. If that fails, the next start removes it.
pub(super) fn discard(dir: &dyn Dir, number: u32) {
    let _ = dir.remove(&file_name(number));
}
