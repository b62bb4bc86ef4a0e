//! What the files of a log may take together. Whoever wants one more waits until old ones are gone,
//! or until whoever deletes them says that no more can go: a limit holds up, and never refuses.

use super::{MutexGuard, Purpose, Room, State, Wake};

/// The limit, and who waits at it.
#[derive(Default)]
pub(super) struct Quota {
    limit: Option<u64>,
    /// What was allowed beyond the limit because nothing could go.
    lifted: u64,
    /// The bytes of a file that somebody waits for.
    wanted: Option<u64>,
    /// How many files are about to give back what they do not need.
    giving_back: usize,
    /// Whom to tell that somebody waits.
    watching: Option<Wake>,
}

impl State {
    /// Whether files of so many bytes may be made, beside those that hold entries.
    pub(super) fn allows(&self, more: u64) -> bool {
        let all = self.files.bytes().saturating_add(more);
        let limit = |limit: u64| limit.max(self.quota.lifted);
        self.quota.limit.is_none_or(|bytes| all <= limit(bytes))
    }
}

impl Purpose {
    /// Whether the limit holds it up. What moves the log start and what elects leaders never waits
    /// for files to go, and neither does what a leader sends: it was held up there, and only what
    /// comes behind it may let files go here.
    pub(super) fn is_limited(self) -> bool {
        matches!(self, Self::Data)
    }
}

impl Room {
    /// Limits what all files of the log may take together; `None` for any number of bytes.
    pub fn limit(&self, bytes: Option<u64>) {
        let mut state = self.lock();
        if state.quota.limit != bytes {
            state.quota.limit = bytes;
            self.changed(state);
        }
    }

    /// Calls `wake` when somebody waits for files to go; at once if somebody does already. Only the
    /// last one given is called.
    pub fn when_pressed(&self, wake: Wake) {
        let mut state = self.lock();
        if state.quota.wanted.is_none() {
            state.quota.watching = Some(wake);
        } else {
            drop(state);
            wake();
        }
    }

    /// Whether somebody waits for files to go.
    pub fn is_pressed(&self) -> bool {
        self.lock().quota.wanted.is_some()
    }

    /// No more can go now: one more file may be made beyond the limit.
    pub fn lift(&self) {
        let mut state = self.lock();
        if let Some(wanted) = state.quota.wanted.take() {
            state.quota.lifted = state.files.bytes().saturating_add(wanted);
            self.changed(state);
        }
    }

    /// What the files that hold entries take together, as far as the limit goes.
    #[cfg(test)]
    pub(in crate::log) fn file_bytes(&self) -> u64 {
        self.lock().files.bytes()
    }

    /// Whether files are about to give back what they do not need.
    pub fn is_giving_back(&self) -> bool {
        self.lock().quota.giving_back > 0
    }

    /// Notes that a file is about to give back what it does not need.
    pub(in crate::log) fn gives_back(&self) {
        self.lock().quota.giving_back += 1;
    }

    /// Notes that file `number` has done so, or could not, and takes so much now.
    pub(in crate::log) fn gave_back(&self, number: u32, bytes: u64) {
        let mut state = self.lock();
        state.quota.giving_back = state.quota.giving_back.saturating_sub(1);
        let before = state.files.bytes();
        state.files.settle(number, bytes);
        self.counted(state, before);
    }

    /// Notes which files hold entries, and what each took when it was begun or found.
    pub(in crate::log) fn holds(&self, files: impl Iterator<Item = (u32, u64)>) {
        let mut state = self.lock();
        let before = state.files.bytes();
        state.files.keep(files);
        self.counted(state, before);
    }

    fn counted(&self, mut state: MutexGuard<'_, State>, before: u64) {
        let bytes = state.files.bytes();
        let fewer = bytes < before;
        let with_next = bytes.saturating_add(state.next_len);
        // Where something went, more may go: the exception was made because nothing could.
        if fewer || state.quota.limit.is_none_or(|limit| with_next <= limit) {
            state.quota.lifted = 0;
        }
        if fewer {
            // Whoever still wants one asks again, and says so.
            state.quota.wanted = None;
            self.changed(state);
        }
    }

    /// Notes that somebody waits for files to go, to have one of `len` bytes.
    pub(super) fn press(&self, mut state: MutexGuard<'_, State>, len: u64) {
        state.quota.wanted = state.quota.wanted.max(Some(len));
        let watching = state.quota.watching.take();
        drop(state);
        if let Some(wake) = watching {
            wake();
        }
    }
}
