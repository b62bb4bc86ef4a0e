//! The next file of a log: how large it may be, having it made in the background, and taking it.

use std::io;
use std::sync::MutexGuard;
use std::time::Duration;

use super::super::dir::{Space, is_full};
use super::super::options::FIRST_SEGMENT_BYTES;
use super::super::spare::{BlankFile, discard, is_taken};
use super::state::{State, whole};
use super::{NoRoom, Purpose, Room};

/// The next file.
#[derive(Default)]
pub(super) enum Next {
    #[default]
    None,
    Preparing(u32),
    Ready(BlankFile),
}

/// How large a file is to be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    /// Its bytes where there is room for so many.
    pub(super) wanted: u64,
    /// The fewest that are of use.
    pub(super) least: u64,
    pub(super) purpose: Purpose,
}

impl Size {
    /// The bytes that it may have on this disk; none when there is no room for the fewest.
    pub(super) fn on(self, space: &Space) -> Option<u64> {
        let regular = space.largest(self.wanted, self.least);
        match self.purpose {
            Purpose::Data => regular,
            Purpose::Replicated | Purpose::Raft | Purpose::Cut => {
                regular.or_else(|| space.last_resort(self.least))
            }
        }
    }
}

impl Room {
    /// The next file, with at least `needed` bytes: the prepared one, or one made now, of `regular`
    /// bytes if there is room for so many.
    pub(in crate::log) fn take_file(&self, needed: u64, regular: u64) -> io::Result<BlankFile> {
        let dir = &*self.shared.dir;
        let taken = std::mem::take(&mut self.lock().next);
        match taken {
            Next::Ready(blank) if blank.file.len() >= needed && blank.end_filling() => {
                self.lock().files.add(blank.number, blank.file.len());
                return Ok(blank);
            }
            Next::Ready(blank) => discard(dir, blank.number),
            Next::Preparing(_) | Next::None => {}
        }
        let needed = whole(needed);
        let len = dir.space_now().largest(regular, needed).unwrap_or(needed);
        let create = |len| BlankFile::create_next(dir, || self.lock().take_number(), len);
        let made = match create(len) {
            Err(error) if is_full(&error) && needed < len => create(needed),
            made => made,
        };
        let made = made.map_err(|error| match is_full(&error) {
            true => io::Error::new(io::ErrorKind::StorageFull, self.no_room(needed)),
            false => error,
        });
        made.inspect(|blank| self.lock().files.add(blank.number, blank.file.len()))
    }

    /// Has the next file made in the background, unless it is there or on its way, or the disk has no
    /// room; then filled with zeroes in about this time, if one is given.
    pub(in crate::log) fn prepare(&self, fill_within: Option<Duration>) {
        let state = self.lock();
        if !matches!(state.next, Next::None) {
            return;
        }
        let wanted = whole(state.next_len);
        let size = Size {
            wanted,
            least: FIRST_SEGMENT_BYTES.min(wanted),
            purpose: Purpose::Data,
        };
        if state.allows(wanted) && size.on(self.space()).is_some() {
            self.start(state, size, fill_within);
        }
    }

    /// Why there is no room for a file of `needed` bytes.
    pub(in crate::log) fn no_room(&self, needed: u64) -> NoRoom {
        let space = self.shared.dir.space();
        space.set_short();
        NoRoom {
            place: space.place().to_owned(),
            free: space.free(),
            needed,
        }
    }

    /// Has a file of this size made. Somebody else may have filled the disk since it was asked last, so
    /// it is asked again: what is kept free there is for those who may take it.
    pub(super) fn start(
        &self,
        mut state: MutexGuard<'_, State>,
        size: Size,
        fill_within: Option<Duration>,
    ) {
        let number = state.take_number();
        let replaced = std::mem::replace(&mut state.next, Next::Preparing(number));
        drop(state);
        let room = self.clone();
        let replaced = match replaced {
            Next::Ready(blank) => Some((room.set_aside(blank.number), blank)),
            Next::Preparing(_) | Next::None => None,
        };
        self.shared.dir.offload(Box::new(move || {
            let dir = &*room.shared.dir;
            if let Some((aside, blank)) = replaced {
                drop(blank);
                // What cannot be removed now is removed at the next start.
                let _ = dir.remove(&aside);
            }
            let len = size.on(dir.space_now());
            let prepared = len.map(|len| BlankFile::prepare(dir, number, len, fill_within));
            // Without a length it is known now what is free, and whoever waits looks at that: it may want
            // less, or may take what is kept. Where the name is taken the next one is tried.
            let failed = |made: &io::Result<_>| made.as_ref().is_err_and(|error| !is_taken(error));
            room.lock().failures += u64::from(prepared.as_ref().is_some_and(failed));
            room.prepared(number, prepared.and_then(Result::ok));
        }));
    }

    pub(super) fn prepared(&self, number: u32, prepared: Option<BlankFile>) {
        let mut state = self.lock();
        let awaited = matches!(state.next, Next::Preparing(awaited) if awaited == number);
        let made = prepared.is_some();
        if awaited {
            state.next = prepared.map_or(Next::None, Next::Ready);
        }
        self.changed(state);
        if made && !awaited {
            // The log went on without it.
            discard(&*self.shared.dir, number);
        }
    }
}
