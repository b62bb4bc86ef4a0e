//! The next segment file, made ready in the background: allocated, filled with zeroes where that
//! pays (a sync need not convert extents then) and named durably before the log needs it.

use std::io::{self, IoSlice};
use std::sync::Arc;

use super::dir::{Dir, File};
use super::segment::file_name;

/// How much is filled with one write: larger writes make large folios, which make small syncs slow.
const FILL: usize = 64 << 10;

/// A file without a header, for one segment.
#[derive(Debug)]
pub(super) struct BlankFile {
    pub(super) number: u32,
    pub(super) file: Arc<dyn File>,
    /// Whether its name is durable.
    pub(super) named: bool,
}

impl BlankFile {
    /// Makes a file of `len` bytes at once; its name is not durable yet.
    pub(super) fn create(dir: &dyn Dir, number: u32, len: u64) -> io::Result<Self> {
        Ok(Self {
            number,
            file: dir.create(&file_name(number), len)?,
            named: false,
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
