//! The I/O threads of one data directory: a few that sync, a few that read and open, one for background
//! work, and one for what reads whole logs, so that none of that ever stands before anybody who waits.
//! Background jobs run one after the other; what has to be slow, like filling files with zeroes, runs in
//! steps between them.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use rustix::process::setpriority_process;

use super::paced::Paced;
use super::{Job, Steps};
use crate::clock::monotonic;

/// Threads that read cold data and open logs. A disk does several of these at a time.
const READERS: usize = 4;

/// A small pool of threads that end when the pool is dropped and its queues are empty.
pub(super) struct IoPool {
    syncs: Arc<Queue>,
    beside: Arc<Queue>,
    apart: Arc<Queue>,
    background: Arc<Background>,
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
    /// Starts `sync_threads` threads (at least one) for syncs, and those for all else.
    pub(super) fn start(sync_threads: usize) -> io::Result<Self> {
        let pool = Self {
            syncs: Queue::new(),
            beside: Queue::new(),
            apart: Queue::new(),
            background: Arc::default(),
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
        Queue::serve(&pool.apart, "log-repair".to_owned(), || {})?;
        let background = Arc::clone(&pool.background);
        let thread = thread::Builder::new().name("log-background".to_owned());
        thread.spawn(move || background.serve())?;
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

    /// Queues work that may take minutes; jobs run one after the other.
    pub(super) fn run_apart(&self, job: Job) {
        self.apart.push(job);
    }

    /// Queues background work; jobs run one after the other.
    pub(super) fn offload(&self, job: Job) {
        self.background.change(|state| state.jobs.push_back(job));
    }

    /// Queues work that runs in steps between the jobs.
    pub(super) fn offload_steps(&self, steps: Steps) {
        let due = now();
        self.background.change(|state| state.paced.add(due, steps));
    }
}

impl Drop for IoPool {
    fn drop(&mut self) {
        self.syncs.close();
        self.beside.close();
        self.apart.close();
        self.background.change(|state| state.closed = true);
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

#[derive(Default)]
struct Background {
    // guards: the jobs and the steps that wait, and whether more can come
    state: Mutex<BackgroundState>,
    changed: Condvar,
}

struct BackgroundState {
    jobs: VecDeque<Job>,
    paced: Paced<Steps>,
    closed: bool,
}

impl Default for BackgroundState {
    fn default() -> Self {
        Self {
            jobs: VecDeque::new(),
            paced: Paced::new(),
            closed: false,
        }
    }
}

enum Work {
    Job(Job),
    Step(Steps),
}

impl Background {
    fn serve(&self) {
        while let Some(work) = self.next() {
            match work {
                Work::Job(job) => job(),
                Work::Step(mut steps) => {
                    let began = now();
                    let pause = steps();
                    let ended = now();
                    let mut state = self.lock();
                    state.paced.ran(began, ended);
                    if let Some(pause) = pause {
                        state.paced.add(ended + pause, steps);
                    }
                }
            }
        }
    }

    fn change(&self, change: impl FnOnce(&mut BackgroundState)) {
        change(&mut self.lock());
        self.changed.notify_one();
    }

    /// What is to be done next; none when all jobs are done and none will come.
    fn next(&self) -> Option<Work> {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(Work::Job(job));
            }
            if state.closed {
                return None;
            }
            let now = now();
            if let Some(steps) = state.paced.take(now) {
                return Some(Work::Step(steps));
            }
            state = match state.paced.wait(now) {
                None => self.changed.wait(state),
                Some(wait) => match self.changed.wait_timeout(state, wait) {
                    Ok((state, _)) => Ok(state),
                    Err(poisoned) => Ok(poisoned.into_inner().0),
                },
            }
            .unwrap_or_else(PoisonError::into_inner);
        }
    }

    // No job and no step runs under the lock, so a panic of one leaves the state whole.
    fn lock(&self) -> MutexGuard<'_, BackgroundState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn now() -> Instant {
    monotonic().into_std()
}

/// A sync ends with a few microseconds of work that everybody waits for: it must not stand behind
/// busy threads for a whole slice. Without the right to it, all goes on as before.
fn prefer_this_thread() {
    let _ = setpriority_process(None, -10);
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    #[test]
    fn background_jobs_do_not_wait_for_the_pauses_of_steps() {
        let pool = IoPool::start(1).unwrap();
        let (sender, events) = mpsc::channel();
        let stepped = sender.clone();
        pool.offload_steps(Box::new(move || {
            let _ = stepped.send("step");
            Some(Duration::from_secs(3_600))
        }));
        assert_eq!(events.recv_timeout(LIMIT).unwrap(), "step");
        pool.offload(Box::new(move || _ = sender.send("job")));
        assert_eq!(events.recv_timeout(LIMIT).unwrap(), "job");
        drop(pool);
        let ended = events.recv_timeout(LIMIT);
        assert_eq!(ended, Err(mpsc::RecvTimeoutError::Disconnected));
    }

    #[test]
    fn work_that_takes_minutes_holds_up_nothing_else_and_waits_for_nothing_else() {
        let pool = IoPool::start(1).unwrap();
        let (sender, events) = mpsc::channel();
        let queues: [fn(&IoPool, Job); 4] = [
            IoPool::run_apart,
            IoPool::offload,
            IoPool::run_beside,
            IoPool::sync,
        ];
        for (held, hold) in queues.into_iter().enumerate() {
            let (release, released) = mpsc::channel::<()>();
            hold(&pool, Box::new(move || _ = released.recv()));
            let others = queues.into_iter().enumerate();
            for (number, other) in others.filter(|(number, _)| *number != held) {
                let sender = sender.clone();
                other(&pool, Box::new(move || sender.send(number).unwrap()));
                assert_eq!(events.recv_timeout(LIMIT).unwrap(), number);
            }
            drop(release);
        }
    }

    #[test]
    fn steps_of_several_works_take_turns_until_all_are_done() {
        let pool = IoPool::start(1).unwrap();
        let (begin, begun) = mpsc::channel::<()>();
        // Holds the thread until both works are queued.
        pool.offload(Box::new(move || _ = begun.recv()));
        let (sender, events) = mpsc::channel();
        for work in ["a", "b"] {
            let sender = sender.clone();
            let mut left = 3;
            pool.offload_steps(Box::new(move || {
                let _ = sender.send(work);
                left -= 1;
                (left > 0).then_some(Duration::ZERO)
            }));
        }
        drop(sender);
        begin.send(()).unwrap();
        let mut seen = Vec::new();
        while let Ok(work) = events.recv_timeout(LIMIT) {
            seen.push(work);
        }
        assert_eq!(seen, ["a", "b", "a", "b", "a", "b"]);
    }
}
