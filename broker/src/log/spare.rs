//! The next segment file, made ready in the background: allocated and named durably before the log
//! needs it, and then filled with zeroes where that pays.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::dir::{Dir, File};
use super::fill::Filling;
use super::segment::file_name;

/// A file without a header, for one segment.
#[derive(Debug)]
pub(super) struct BlankFile {
    pub(super) number: u32,
    pub(super) file: Arc<dyn File>,
    /// Whether its name is durable.
    pub(super) named: bool,
    /// It is being filled until this is dropped.
    filling: Option<Filling>,
}

impl BlankFile {
    /// Makes a file of `len` bytes at once; its name is not durable yet.
    pub(super) fn create(dir: &dyn Dir, number: u32, len: u64) -> io::Result<Self> {
        Ok(Self {
            number,
            file: dir.create(&file_name(number), len)?,
            named: false,
            filling: None,
        })
    }

    /// Makes a file of `len` bytes and its name durable. Then it begins to be filled with zeroes, in
    /// about this time, if one is given.
    pub(super) fn prepare(
        dir: &dyn Dir,
        number: u32,
        len: u64,
        fill_within: Option<Duration>,
    ) -> io::Result<Self> {
        let mut blank = Self::create(dir, number, len)?;
        if let Err(error) = dir.sync_dir() {
            discard(dir, number);
            return Err(error);
        }
        blank.named = true;
        blank.filling = fill_within.map(|within| Filling::start(dir, &blank.file, within));
        Ok(blank)
    }

    /// Ends the filling, wherever it is: nothing else writes to the file from now on. False if the
    /// file has failed and is of no use.
    pub(super) fn end_filling(&self) -> bool {
        self.filling.as_ref().is_none_or(Filling::end)
    }
}

/// Removes a file that was never used. If that fails, the next start removes it.
pub(super) fn discard(dir: &dyn Dir, number: u32) {
    let _ = dir.remove(&file_name(number));
}
