//! The next segment file, made ready in the background: allocated, filled with zeroes where that
//! pays (a sync need not convert extents then) and named durably before the log needs it.

use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, PoisonError};

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
}

/// The one file in preparation, if any.
#[derive(Debug, Default)]
pub(super) struct Spare {
    slot: Option<Arc<Slot>>,
}

// guards: what has become of the preparation
type Slot = Mutex<State>;

#[derive(Debug)]
enum State {
    Preparing,
    Ready(BlankFile),
    Failed,
    /// The log went on without it.
    Abandoned,
}

impl Spare {
    /// Whether a file is ready or on its way.
    pub(super) fn is_some(&self) -> bool {
        self.slot.is_some()
    }

    /// Starts to prepare file `number` of `len` bytes, filled with zeroes if `zeroed`.
    pub(super) fn prepare(&mut self, dir: &Arc<dyn Dir>, number: u32, len: u64, zeroed: bool) {
        let slot = Arc::new(Mutex::new(State::Preparing));
        self.slot = Some(Arc::clone(&slot));
        let home = Arc::clone(dir);
        dir.offload(Box::new(move || {
            let prepared = prepare(&*home, number, len, zeroed);
            let abandoned = {
                let mut state = slot.lock().unwrap_or_else(PoisonError::into_inner);
                let abandoned = matches!(*state, State::Abandoned);
                *state = prepared.map_or(State::Failed, State::Ready);
                abandoned
            };
            if abandoned {
                discard(&*home, number);
            }
        }));
    }

    /// The prepared file, if it is ready and large enough; it is given up otherwise.
    pub(super) fn take(&mut self, dir: &dyn Dir, min_len: u64) -> Option<BlankFile> {
        let slot = self.slot.take()?;
        let mut state = slot.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = std::mem::replace(&mut *state, State::Abandoned);
        drop(state);
        match taken {
            State::Ready(blank) if blank.file.len() >= min_len => Some(blank),
            State::Ready(blank) => {
                discard(dir, blank.number);
                None
            }
            State::Preparing | State::Failed | State::Abandoned => None,
        }
    }
}

fn prepare(dir: &dyn Dir, number: u32, len: u64, zeroed: bool) -> io::Result<BlankFile> {
    let mut blank = BlankFile::create(dir, number, len)?;
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
