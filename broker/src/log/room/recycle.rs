//! A dead file of the log as its next one.

use super::super::segment::{dead_name, file_name};
use super::super::spare::BlankFile;
use super::{Next, Room};

impl Room {
    /// Whether a dead file of `len` bytes had better become the next one than give its room back:
    /// the next one is not there nor on its way, and the disk has room for it in any case.
    pub(in crate::log) fn wants_dead(&self, len: u64) -> bool {
        let lacks_next = matches!(self.lock().next, Next::None);
        let space = self.shared.dir.space();
        lacks_next && !space.is_short() && space.for_files() >= len
    }

    /// Gives a prepared file that is not used the name of a dead one, which this gives back. It is
    /// removed so late, maybe, that the log was opened again and has a file of that number.
    pub(super) fn set_aside(&self, number: u32) -> String {
        let aside = dead_name(number);
        let _ = self.shared.dir.rename(&file_name(number), &aside);
        aside
    }

    /// Has file `dead`, which has the name of a dead file and is read by nobody who could not read it
    /// already, become the next one in the background. If it cannot, it is removed.
    pub(in crate::log) fn recycle(&self, dead: u32) {
        let old = dead_name(dead);
        let mut state = self.lock();
        if !matches!(state.next, Next::None) {
            drop(state);
            // What cannot be removed now is removed at the next start.
            let _ = self.shared.dir.remove(&old);
            return;
        }
        let number = state.take_number();
        state.next = Next::Preparing(number);
        drop(state);
        let room = self.clone();
        self.shared.dir.offload(Box::new(move || {
            let reused = BlankFile::reuse(&*room.shared.dir, &old, number);
            // Without it the next file is made when it is needed: that is no failure.
            room.prepared(number, reused);
        }));
    }
}
