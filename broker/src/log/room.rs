//! Room for what is to be appended, asked for before anything is decided: a full disk refuses a
//! proposal or a request, and never an append.
//!
//! ```text
//! active file  | header | frames ........ | on their way | free ........ | 64 KiB | footer |
//! next file    | ready, on its way, or none yet                                          |
//! disk         | used ........................ | promised to logs | free .............. |
//! ```
//! Files are allocated whole when they are made, so a write into one that is there cannot run out of
//! room. Something fits if it fits, with everything on its way, into the active file short of its
//! last 64 KiB, or into the next file, or if the disk has so much that the next file is as good as
//! there. Otherwise the next file is made first, in the background. Raft's own entries may use the
//! last 64 KiB: a leader can be elected while nothing else fits.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::dir::{Dir, Space};
use super::frame::frame_bytes;
use super::options::FIRST_SEGMENT_BYTES;

mod files;
mod next;
mod quota;
mod recycle;
mod state;
#[cfg(test)]
mod tests;

use next::{Next, Size};
use state::{OVERHEAD, RESERVE, State, whole};

/// Called once when a shortage may be over.
pub type Wake = Box<dyn FnOnce() + Send>;

/// The disk has no room for an append; nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the disk of {place} is full: {free} bytes are free and a segment file of {needed} is needed; \
     free space there, and appends go on by themselves"
)]
pub struct NoRoom {
    /// The data directory.
    pub place: String,
    /// Bytes free there.
    pub free: u64,
    /// The bytes of the smallest file that would do.
    pub needed: u64,
}

/// What room is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Records, or whatever else can wait.
    Data,
    /// What the leader had room for. It may take what leaders keep free.
    Replicated,
    /// Entries that Raft cannot do without.
    Raft,
    /// A truncation, which begins a file, and entries behind it.
    Cut,
}

/// Why there is no room.
#[derive(Debug)]
pub enum Shortage {
    /// The next file is being made, or what is on its way has to arrive first. Ask again after
    /// [`Room::when_changed`].
    Wait(Seen),
    /// The disk is full.
    Full(NoRoom),
}

/// What one caller has seen of the room.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    changes: u64,
    failures: u64,
}

/// The room of one log. Clones are the same; every call may come from any thread.
#[derive(Clone)]
pub struct Room {
    shared: Arc<Shared>,
}

struct Shared {
    dir: Arc<dyn Dir>,
    // guards: what is left and on its way, and the next file; no file is touched and nobody is
    // called under it
    state: Mutex<State>,
}

/// Room that was granted; given back when it is dropped.
#[derive(Debug)]
pub struct Held {
    room: Room,
    bytes: u64,
}

impl Room {
    /// The room of a log in `dir` whose next file has `next_number` and `next_len` bytes.
    pub(super) fn new(dir: Arc<dyn Dir>, next_len: u64, next_number: u32) -> Self {
        let state = State {
            next_number,
            next_len,
            ..State::default()
        };
        Self {
            shared: Arc::new(Shared {
                dir,
                state: Mutex::new(state),
            }),
        }
    }

    /// Asks for room for entries with bodies of these lengths. `seen` is what an earlier call for
    /// the same thing gave back; a file that could not be made since then is the end of the matter.
    /// At the limit of what the files may take together, records wait for old ones to go.
    pub fn reserve(
        &self,
        bodies: impl IntoIterator<Item = usize>,
        purpose: Purpose,
        seen: Option<Seen>,
    ) -> Result<Held, Shortage> {
        let bytes = bodies.into_iter().map(frame_bytes).sum();
        let mut state = self.lock();
        if bytes == 0 || state.fits(bytes, purpose) || self.is_promised(&mut state, bytes, purpose)
        {
            state.held += bytes;
            let room = self.clone();
            return Ok(Held { room, bytes });
        }
        let wait = Seen {
            changes: state.changes,
            failures: seen.map_or(state.failures, |seen| seen.failures),
        };
        let needed = whole(bytes + OVERHEAD + RESERVE);
        let has_failed = state.failures > wait.failures;
        match &state.next {
            _ if has_failed => {}
            Next::Preparing(_) => return Err(Shortage::Wait(wait)),
            Next::Ready(_) if state.on_its_way() > 0 => return Err(Shortage::Wait(wait)),
            Next::Ready(_) | Next::None => {
                let size = Size {
                    wanted: whole(state.next_len.max(needed)),
                    least: needed,
                    purpose,
                };
                if let Some(len) = size.on(self.space()) {
                    if purpose.is_limited() && !state.allows(len) {
                        self.press(state, len);
                    } else {
                        self.start(state, size, None);
                    }
                    return Err(Shortage::Wait(wait));
                }
            }
        }
        drop(state);
        Err(Shortage::Full(self.no_room(needed)))
    }

    /// How many bytes of entries there is room for after all that is on its way.
    pub fn left(&self) -> u64 {
        let state = self.lock();
        let next = match &state.next {
            Next::Ready(blank) => blank.file.len(),
            Next::Preparing(_) | Next::None => 0,
        };
        let disk = self.shared.dir.space().for_files();
        let left = next.max(disk).saturating_sub(OVERHEAD).max(state.left);
        left.saturating_sub(RESERVE + state.on_its_way())
    }

    /// Whether the file after the active one is ready to be used.
    pub fn has_next_file(&self) -> bool {
        matches!(self.lock().next, Next::Ready(_))
    }

    /// Whether something was refused for want of room on the disk since there last was enough.
    pub fn is_disk_full(&self) -> bool {
        self.space().is_short()
    }

    /// The room on the disk.
    pub fn space(&self) -> &Space {
        self.shared.dir.space()
    }

    /// Whether the disk has room for the first files of `logs` new logs.
    pub fn first_files(&self, logs: u64) -> Result<(), NoRoom> {
        let needed = logs.saturating_mul(FIRST_SEGMENT_BYTES);
        let room = self.shared.dir.space().largest(needed, needed);
        room.map(drop).ok_or_else(|| self.no_room(needed))
    }

    /// Calls `wake` when something has changed since `seen`; at once if it has already.
    pub fn when_changed(&self, seen: Seen, wake: Wake) {
        let mut state = self.lock();
        if state.changes == seen.changes {
            state.waiting.push(wake);
        } else {
            drop(state);
            wake();
        }
    }

    /// Notes that an entry with a body of `body` bytes is proposed. It counts until the log has
    /// appended it, or until [`Self::forget_proposed`].
    pub fn propose(&self, body: usize) {
        self.lock().proposed += frame_bytes(body);
    }

    /// Whatever was proposed is appended, or will never be.
    pub fn forget_proposed(&self) {
        let mut state = self.lock();
        state.proposed = 0;
        self.changed(state);
    }

    /// Notes what is left for frames in the active file, and how large the next is to be.
    pub(super) fn moved(&self, left: u64, next_len: u64, appended: u64) {
        let mut state = self.lock();
        (state.left, state.next_len) = (left, next_len);
        state.proposed = state.proposed.saturating_sub(appended);
        self.changed(state);
    }

    /// Whether the disk has so much room that files for all this are as good as there. Files grow
    /// by doubling and may end before they are full, so they may take several times what they hold.
    fn is_promised(&self, state: &mut State, bytes: u64, purpose: Purpose) -> bool {
        let all = state.on_its_way() + bytes;
        let wanted = state.next_len + 4 * (all + RESERVE);
        if purpose.is_limited() && !state.allows(wanted) {
            return false;
        }
        let granted = self.shared.dir.space().promise(state.promised, wanted);
        if granted {
            state.promised = wanted;
        }
        granted
    }

    fn changed(&self, mut state: MutexGuard<'_, State>) {
        state.changes += 1;
        if state.on_its_way() == 0 && state.promised > 0 {
            self.shared.dir.space().give_back(state.promised);
            state.promised = 0;
        }
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        for wake in waiting {
            wake();
        }
    }

    // No code panics while it holds the lock, so the state is whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Room")
            .field("left", &state.left)
            .field("on_its_way", &state.on_its_way())
            .finish_non_exhaustive()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.dir.space().give_back(state.promised);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.room.lock();
        state.held = state.held.saturating_sub(self.bytes);
        self.room.changed(state);
    }
}
