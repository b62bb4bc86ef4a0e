//! The next segment file, made ready in the background: allocated and named durably before the log
//! needs it, and then filled with zeroes where that pays. Or a file from the front of the log that is
//! dead: its blocks are written already.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Duration;

use super::dir::{Dir, File};
use super::fill::Filling;
use super::segment::file_name;
use super::segment_header::SEGMENT_HEADER;

/// How many names may be taken before that is an error.
const TRIES: u32 = 10;

/// A file without a header, for one segment.
#[derive(Debug)]
pub(super) struct BlankFile {
    pub(super) number: u32,
    pub(super) file: Arc<dyn File>,
    /// Whether its name is durable.
    pub(super) named: bool,
    /// It is being filled until this is dropped.
    filling: Option<Filling>,
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
            filling: None,
            reused: false,
        })
    }

    /// The same with the first of these numbers that is free.
    pub(super) fn create_next(
        dir: &dyn Dir,
        mut number: impl FnMut() -> u32,
        len: u64,
    ) -> io::Result<Self> {
        for _ in 0..TRIES {
            match Self::create(dir, number(), len) {
                Err(error) if is_taken(&error) => {}
                made => return made,
            }
        }
        Self::create(dir, number(), len)
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

    /// Makes the dead file that is called `old` file `number`; its name is durable. None if somebody
    /// still reads it or the disk fails: then the dead file is gone, and nothing else has changed.
    ///
    /// This may come so late that the log was opened again: the dead file is gone by then, and
    /// `number` may be a file of that log. So it is removed only if it is the dead one.
    pub(super) fn reuse(dir: &dyn Dir, old: &str, number: u32) -> Option<Self> {
        match Self::rename_dead(dir, old, number) {
            Ok(true) => {}
            Ok(false) | Err(_) => {
                let _ = dir.remove(old);
                return None;
            }
        }
        let reused = Self::open_renamed(dir, number);
        reused.inspect_err(|_| discard(dir, number)).ok()
    }

    /// Gives the dead file its new name; false if somebody reads it.
    fn rename_dead(dir: &dyn Dir, old: &str, number: u32) -> io::Result<bool> {
        // Nobody can begin to read it: no log knows this name.
        if dir.is_in_use(old)? {
            return Ok(false);
        }
        let file = dir.open(old)?;
        // No header and no hint of its last use may be there when it has its new name.
        let blank = [0; SEGMENT_HEADER as usize];
        file.write_at(&[IoSlice::new(&blank)], 0)?;
        file.sync_now()?;
        drop(file);
        dir.rename(old, &file_name(number))?;
        Ok(true)
    }

    fn open_renamed(dir: &dyn Dir, number: u32) -> io::Result<Self> {
        dir.sync_dir()?;
        Ok(Self {
            number,
            file: dir.open(&file_name(number))?,
            named: true,
            filling: None,
            reused: true,
        })
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

/// Whether a file was not made because there is one of its name: what a log that is closed had still
/// to prepare may come after the log was opened again. The next start removes it.
pub(super) fn is_taken(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AlreadyExists
}
