//! Filling a file with zeroes ahead of its use, so that a sync need not convert extents. It is done
//! in small steps, each synced: what waits to be written at once is what a sync of another file may
//! have to wait for. Whoever needs the file takes it as it is; nobody waits for zeroes.

use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::dir::{Dir, File};

/// How much is filled with one write: larger writes make large folios, which make small syncs slow.
const WRITE: u64 = 64 << 10;
/// How much is written and synced in one step.
const STEP: u64 = 256 << 10;
/// The longest pause between two steps: a file of 64 MiB is filled within about a minute.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// A file that is being filled, until this is dropped.
#[derive(Debug)]
pub(super) struct Filling {
    progress: Arc<Mutex<Progress>>,
}

// guards: the right to write to the file; held for one write of `WRITE` bytes and for no sync
#[derive(Debug, Default)]
struct Progress {
    filled: u64,
    ended: bool,
    failed: bool,
}

impl Filling {
    /// Begins to fill `file`, to be done in about this time.
    pub(super) fn start(dir: &dyn Dir, file: &Arc<dyn File>, within: Duration) -> Self {
        let progress = Arc::<Mutex<Progress>>::default();
        let filling = Self {
            progress: Arc::clone(&progress),
        };
        let file = Arc::clone(file);
        let pause = pause(file.len(), within);
        dir.offload_steps(Box::new(move || match step(&*file, &progress) {
            Ok(true) => Some(pause),
            Ok(false) => None,
            Err(_) => {
                lock(&progress).failed = true;
                None
            }
        }));
        filling
    }

    /// Ends it: the file is not written to any more. False if a write or a sync of it has failed.
    pub(super) fn end(&self) -> bool {
        let mut progress = lock(&self.progress);
        progress.ended = true;
        !progress.failed
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        self.end();
    }
}

/// Fills the next piece; false when there is nothing more to do.
fn step(file: &dyn File, progress: &Mutex<Progress>) -> io::Result<bool> {
    let zeroes = [0; WRITE as usize];
    for _ in 0..STEP / WRITE {
        let mut progress = lock(progress);
        let len = file.len().saturating_sub(progress.filled).min(WRITE);
        if progress.ended {
            return Ok(false);
        }
        if len > 0 {
            file.write_at(&[IoSlice::new(&zeroes[..len as usize])], progress.filled)?;
            progress.filled += len;
        }
    }
    file.sync_now()?;
    Ok(lock(progress).filled < file.len())
}

/// The pause between two steps of filling so many bytes in this time.
fn pause(len: u64, within: Duration) -> Duration {
    let steps = u32::try_from(len.div_ceil(STEP)).unwrap_or(u32::MAX);
    (within / steps.max(1)).min(LONGEST_PAUSE)
}

// A write does not panic, so the progress is whole.
fn lock(progress: &Mutex<Progress>) -> MutexGuard<'_, Progress> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
