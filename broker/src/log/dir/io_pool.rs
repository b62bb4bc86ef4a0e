//! The I/O threads of one data directory: a few that sync, a few that read and open, and one for long
//! background work, so that filling a file with zeroes never stands before anybody who waits.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use rustix::process::setpriority_process;

use super::Job;

/// Threads that read cold data and open logs. A disk does several of these at a time.
const READERS: usize = 4;

/// A small pool of threads that end when the pool is dropped and its queues are empty.
pub(super) struct IoPool {
    syncs: Arc<Queue>,
    beside: Arc<Queue>,
    background: Arc<Queue>,
}

struct Queue {
    // guards: the jobs that no thread has taken, and whether more can come
    state: Mutex<QueueState>,
    changed: Condvar,
}

#[derive(Default)]
struct QueueState {
    jobs: VecDeque<Job>,
    closed: bool,
}

impl IoPool {
    /// Starts `sync_threads` threads (at least one) for syncs and one for background work.
    pub(super) fn start(sync_threads: usize) -> io::Result<Self> {
        let pool = Self {
            syncs: Queue::new(),
            beside: Queue::new(),
            background: Queue::new(),
        };
        for number in 0..sync_threads.max(1) {
            Queue::serve(
                &pool.syncs,
                format!("log-sync-{number}"),
                prefer_this_thread,
            )?;
        }
        for number in 0..READERS {
            Queue::serve(&pool.beside, format!("log-read-{number}"), || {})?;
        }
        Queue::serve(&pool.background, "log-background".to_owned(), || {})?;
        Ok(pool)
    }

    /// Queues a sync.
    pub(super) fn sync(&self, job: Job) {
        self.syncs.push(job);
    }

    /// Queues work that somebody waits for; jobs run beside each other.
    pub(super) fn run_beside(&self, job: Job) {
        self.beside.push(job);
    }

    /// Queues background work; jobs run one after the other.
    pub(super) fn offload(&self, job: Job) {
        self.background.push(job);
    }
}

impl Drop for IoPool {
    fn drop(&mut self) {
        self.syncs.close();
        self.beside.close();
        self.background.close();
    }
}

impl fmt::Debug for IoPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IoPool").finish_non_exhaustive()
    }
}

impl Queue {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    fn serve(queue: &Arc<Self>, name: String, begin: fn()) -> io::Result<()> {
        let queue = Arc::clone(queue);
        thread::Builder::new().name(name).spawn(move || {
            begin();
            while let Some(job) = queue.next() {
                job();
            }
        })?;
        Ok(())
    }

    fn push(&self, job: Job) {
        self.lock().jobs.push_back(job);
        self.changed.notify_one();
    }

    fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            if state.closed {
                return None;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    // No job runs under the lock, so a panic of a job leaves the state whole.
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A sync ends with a few microseconds of work that everybody waits for: it must not stand behind
/// busy threads for a whole slice. Without the right to it, all goes on as before.
fn prefer_this_thread() {
    let _ = setpriority_process(None, -10);
}
