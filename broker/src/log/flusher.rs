//! Group commit of one log: at most one sync per file in flight, what arrives meanwhile waits for
//! the next one, and callbacks complete in the order of the appends, also across files.
//!
//! ```text
//! append ─ submit ─► files: [4: written 900, synced 700, flying] [5: written 300, synced 0]
//!                    waiting: (4,800) (4,900) (5,200) (5,300)
//! sync done ─► synced rises ─► durable = how far all is synced without a gap ─► callbacks up to it
//! ```
//! After one failed sync everything waiting and everything later gets that error; no file is ever
//! synced again, because the kernel forgets what it could not write.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::dir::{Dir, File, SyncDone, SyncError};
use super::frame::Position;

/// The flusher of one log. Clones are the same flusher.
#[derive(Clone)]
pub(super) struct Flusher {
    shared: Arc<Shared>,
}

struct Shared {
    dir: Arc<dyn Dir>,
    // guards: what is written and not synced, and who waits for it; callbacks run outside
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Files with something to sync, oldest first; the last one stays when it has nothing.
    files: VecDeque<Unsynced>,
    waiting: VecDeque<Waiting>,
    durable: Position,
    failed: Option<SyncError>,
    /// Who wants to know when it fails, whether they wait for anything or not.
    witnesses: Vec<SyncDone>,
    ready: VecDeque<(SyncDone, Result<(), SyncError>)>,
    delivering: bool,
}

struct Unsynced {
    number: u32,
    file: Arc<dyn File>,
    written: u32,
    synced: u32,
    /// Bytes of frames written and synced, for the limit of what may be unsynced.
    bytes: u64,
    synced_bytes: u64,
    flying: Option<Flight>,
    /// Whether the file's name is durable.
    named: bool,
}

#[derive(Clone, Copy)]
struct Flight {
    written: u32,
    bytes: u64,
}

struct Waiting {
    upto: Position,
    done: SyncDone,
}

/// Something that was written to a file and has to be synced.
pub(super) struct Written<'a> {
    /// The file's number.
    pub(super) number: u32,
    /// The file.
    pub(super) file: &'a Arc<dyn File>,
    /// Whether its name is durable.
    pub(super) named: bool,
    /// The byte after the last one written.
    pub(super) end: u32,
    /// Bytes that count towards the limit of what may be unsynced.
    pub(super) bytes: u64,
}

impl Flusher {
    /// A flusher for a log whose bytes before `durable` are on the disk.
    pub(super) fn new(dir: Arc<dyn Dir>, durable: Position) -> Self {
        let state = State {
            durable,
            ..State::default()
        };
        Self {
            shared: Arc::new(Shared {
                dir,
                state: Mutex::new(state),
            }),
        }
    }

    /// The position before which everything is on the disk.
    pub(super) fn durable(&self) -> Position {
        self.shared.lock().durable
    }

    /// Bytes of frames that are not durable: what is synced behind a gap counts, too.
    pub(super) fn unsynced_bytes(&self) -> u64 {
        let state = self.shared.lock();
        let mut gap = false;
        let bytes = state.files.iter().map(|file| {
            let synced = if gap { 0 } else { file.synced_bytes };
            gap |= file.synced < file.written;
            file.bytes - synced
        });
        bytes.sum()
    }

    /// Whether a sync of this file has made its name durable.
    pub(super) fn has_named(&self, number: u32) -> bool {
        let state = self.shared.lock();
        state
            .files
            .iter()
            .any(|file| file.number == number && file.named)
    }

    /// The error that ended this log, if one did.
    pub(super) fn failed(&self) -> Option<SyncError> {
        self.shared.lock().failed.clone()
    }

    /// Calls `told` with the error when the log ends, also when nothing waits then.
    pub(super) fn when_failed(&self, told: SyncDone) {
        {
            let mut state = self.shared.lock();
            match state.failed.clone() {
                Some(error) => state.ready.push_back((told, Err(error))),
                None => state.witnesses.push(told),
            }
        }
        self.shared.deliver();
    }

    /// Notes that everything before this position was made durable otherwise.
    pub(super) fn set_durable(&self, durable: Position) {
        self.shared.lock().durable = durable;
    }

    /// Ends the log: everything waiting gets the error, and so does everything later.
    pub(super) fn poison(&self, error: SyncError) {
        self.shared.lock().fail(error);
        self.shared.deliver();
    }

    /// Notes what was written; a sync of it is started when its callback is submitted.
    pub(super) fn note(&self, written: &Written<'_>) {
        self.shared.lock().note(written);
    }

    /// Calls `done` when everything noted before is on the disk, in the order of these calls.
    pub(super) fn submit(&self, done: SyncDone) {
        {
            let mut state = self.shared.lock();
            let end = |file: &Unsynced| Position {
                file: file.number,
                byte: file.written,
            };
            let upto = state.files.back().map_or(state.durable, end);
            match state.failed.clone() {
                Some(error) => state.ready.push_back((done, Err(error))),
                None => state.waiting.push_back(Waiting { upto, done }),
            }
            state.settle();
        }
        Shared::start_syncs(&self.shared);
        self.shared.deliver();
    }

    /// Syncs everything noted before and waits for it. An error ends the log.
    pub(super) fn sync_now(&self) -> Result<(), SyncError> {
        let files: Vec<_> = {
            let state = self.shared.lock();
            if let Some(error) = &state.failed {
                return Err(Arc::clone(error));
            }
            let unsynced = |file: &&Unsynced| file.written > file.synced;
            state
                .files
                .iter()
                .filter(unsynced)
                .map(Unsynced::flight)
                .collect()
        };
        for (number, file, named, flight) in files {
            let result = file.sync_now().and_then(|()| self.shared.sync_name(named));
            self.shared
                .finish(number, flight, false, result.map_err(Arc::new));
        }
        self.failed().map_or(Ok(()), Err)
    }
}

impl fmt::Debug for Flusher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flusher")
            .field("durable", &self.durable())
            .finish_non_exhaustive()
    }
}

impl Shared {
    // No code panics while it holds the lock, so the state is whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sync_name(&self, named: bool) -> io::Result<()> {
        if named { Ok(()) } else { self.dir.sync_dir() }
    }

    /// Starts a sync of every file that needs one and has none in flight.
    fn start_syncs(shared: &Arc<Self>) {
        let due: Vec<_> = shared.lock().take_due();
        for (number, file, named, flight) in due {
            let shared = Arc::clone(shared);
            file.sync(Box::new(move |result| {
                let result = result.and_then(|()| shared.sync_name(named).map_err(Arc::new));
                shared.finish(number, flight, true, result);
                Self::start_syncs(&shared);
            }));
        }
    }

    fn finish(&self, number: u32, flight: Flight, landed: bool, result: Result<(), SyncError>) {
        {
            let mut state = self.lock();
            match result {
                Ok(()) => state.synced(number, flight, landed),
                Err(error) => state.fail(error),
            }
        }
        self.deliver();
    }

    /// Runs the callbacks that are due, one thread at a time, so that their order holds.
    fn deliver(&self) {
        let mut state = self.lock();
        if state.delivering {
            return;
        }
        state.delivering = true;
        while let Some((done, result)) = state.ready.pop_front() {
            drop(state);
            done(result);
            state = self.lock();
        }
        state.delivering = false;
    }
}

impl Unsynced {
    fn flight(&self) -> (u32, Arc<dyn File>, bool, Flight) {
        let flight = Flight {
            written: self.written,
            bytes: self.bytes,
        };
        (self.number, Arc::clone(&self.file), self.named, flight)
    }
}

impl State {
    fn note(&mut self, written: &Written<'_>) {
        match self.files.back_mut() {
            Some(last) if last.number == written.number => {
                last.written = written.end;
                last.bytes += written.bytes;
            }
            _ => self.files.push_back(Unsynced {
                number: written.number,
                file: Arc::clone(written.file),
                written: written.end,
                synced: 0,
                bytes: written.bytes,
                synced_bytes: 0,
                flying: None,
                named: written.named,
            }),
        }
    }

    fn take_due(&mut self) -> Vec<(u32, Arc<dyn File>, bool, Flight)> {
        if self.failed.is_some() || self.waiting.is_empty() {
            return Vec::new();
        }
        let idle = |file: &&mut Unsynced| file.flying.is_none() && file.written > file.synced;
        let start = |file: &mut Unsynced| {
            let due = file.flight();
            file.flying = Some(due.3);
            due
        };
        self.files.iter_mut().filter(idle).map(start).collect()
    }

    fn synced(&mut self, number: u32, flight: Flight, landed: bool) {
        if self.failed.is_some() {
            return;
        }
        if let Some(file) = self.files.iter_mut().find(|file| file.number == number) {
            if flight.written > file.synced {
                file.synced = flight.written;
                file.synced_bytes = flight.bytes;
                file.named = true;
            }
            if landed {
                file.flying = None;
            }
        }
        self.settle();
    }

    /// Raises `durable` as far as all is synced, and makes the callbacks up to it ready.
    fn settle(&mut self) {
        for file in &self.files {
            if file.synced > 0 {
                let (file, byte) = (file.number, file.synced);
                self.durable = self.durable.max(Position { file, byte });
            }
            if file.synced < file.written {
                break;
            }
        }
        let over = |file: &Unsynced| file.synced == file.written && file.flying.is_none();
        while self.files.len() > 1 && self.files.front().is_some_and(over) {
            self.files.pop_front();
        }
        while self
            .waiting
            .front()
            .is_some_and(|first| first.upto <= self.durable)
        {
            if let Some(first) = self.waiting.pop_front() {
                self.ready.push_back((first.done, Ok(())));
            }
        }
    }

    fn fail(&mut self, error: SyncError) {
        let error = self.failed.get_or_insert(error);
        let error = Arc::clone(error);
        let waiting = self.waiting.drain(..).map(|waiting| waiting.done);
        for told in waiting.chain(self.witnesses.drain(..)) {
            self.ready.push_back((told, Err(Arc::clone(&error))));
        }
        self.files.clear();
    }
}
