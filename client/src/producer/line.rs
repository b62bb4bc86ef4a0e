//! Letting other tasks run without losing the order of the calls.
//!
//! A call that finds that its task has done as much as it may at once waits before it begins. Those that
//! the same task calls after it must not begin before it, and tokio wakes futures that wait for this in
//! the reverse order: so they stand in line.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use tokio::task::coop::has_budget_remaining;
use tokio::task::{Id, try_id, yield_now};

/// So often a call lets others run for the sake of one before it that does not go on: that one may not be
/// polled before this one returns.
const PATIENCE: usize = 64;

/// The calls that wait.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// How many tasks have one.
    tasks: AtomicUsize,
    // guards: those of each task, in their order; held to look at one of them.
    standing: Mutex<HashMap<Option<Id>, VecDeque<Standing>>>,
}

#[derive(Debug)]
struct Standing {
    number: u64,
    waker: Waker,
}

/// A place in the line, until it is dropped.
struct Place<'a> {
    line: &'a Line,
    number: u64,
    task: Option<Id>,
}

impl Line {
    /// Whether a call may begin without a look at the line.
    #[inline]
    pub(crate) fn is_free(&self) -> bool {
        has_budget_remaining() && self.tasks.load(Ordering::Relaxed) == 0
    }

    /// Returns when the task may go on and those that it called before have.
    pub(crate) async fn pass(&self) {
        let task = try_id();
        if has_budget_remaining() && self.first_of(task).is_none() {
            return;
        }
        let place = self.join(task).await;
        let (mut patience, mut before) = (PATIENCE, None);
        loop {
            if has_budget_remaining() {
                let first = self.first_of(task);
                if first == Some(place.number) || patience == 0 {
                    return;
                }
                // While the line moves on nobody loses patience.
                patience = match first == before {
                    true => patience - 1,
                    false => PATIENCE,
                };
                before = first;
            }
            // Whoever wakes it: it looks again.
            yield_now().await;
        }
    }

    fn first_of(&self, task: Option<Id>) -> Option<u64> {
        let standing = self.lock();
        Some(standing.get(&task)?.front()?.number)
    }

    async fn join(&self, task: Option<Id>) -> Place<'_> {
        poll_fn(|context| {
            let mut standing = self.lock();
            let mine = standing.entry(task).or_default();
            let number = mine.back().map_or(0, |last| last.number + 1);
            mine.push_back(Standing {
                number,
                waker: context.waker().clone(),
            });
            self.tasks.store(standing.len(), Ordering::Relaxed);
            let line = self;
            Poll::Ready(Place { line, number, task })
        })
        .await
    }

    // No code panics while it holds the lock, so the line is whole.
    fn lock(&self) -> MutexGuard<'_, HashMap<Option<Id>, VecDeque<Standing>>> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    /// The next one of the task goes on.
    fn drop(&mut self) {
        let mut standing = self.line.lock();
        let Some(mine) = standing.get_mut(&self.task) else {
            return;
        };
        if let Ok(at) = mine.binary_search_by_key(&self.number, |other| other.number) {
            mine.remove(at);
        }
        let next = mine.front().map(|next| next.waker.clone());
        if next.is_none() {
            standing.remove(&self.task);
        }
        self.line.tasks.store(standing.len(), Ordering::Relaxed);
        drop(standing);
        if let Some(waker) = next {
            waker.wake();
        }
    }
}
