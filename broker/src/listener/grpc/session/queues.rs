//! PURE. Work that is done in order for each key, and for different keys at the same time.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;

/// The work of all keys. It goes on while somebody waits for [`Queues::next`].
pub(super) struct Queues<K, T> {
    /// The first of each key.
    first: FuturesUnordered<BoxFuture<'static, (K, T)>>,
    /// What is behind the first of a key; the key is there as long as it has a first.
    behind: HashMap<K, VecDeque<BoxFuture<'static, T>>>,
}

impl<K, T> Default for Queues<K, T> {
    fn default() -> Self {
        Self {
            first: FuturesUnordered::new(),
            behind: HashMap::new(),
        }
    }
}

impl<K: Clone + Eq + Hash + Send + 'static, T: 'static> Queues<K, T> {
    pub(super) fn is_empty(&self) -> bool {
        self.behind.is_empty()
    }

    /// Adds work behind all that its key has.
    pub(super) fn push(&mut self, key: K, work: BoxFuture<'static, T>) {
        if let Some(behind) = self.behind.get_mut(&key) {
            return behind.push_back(work);
        }
        self.behind.insert(key.clone(), VecDeque::new());
        self.begin(key, work);
    }

    fn begin(&self, key: K, work: BoxFuture<'static, T>) {
        self.first.push(Box::pin(async move { (key, work.await) }));
    }

    /// What the next work that is done has come to; `None` if there is no work. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<T> {
        let (key, done) = self.first.next().await?;
        match self.behind.get_mut(&key).and_then(VecDeque::pop_front) {
            Some(work) => self.begin(key, work),
            None => drop(self.behind.remove(&key)),
        }
        Some(done)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, poll};
    use std::pin::pin;
    use tokio::sync::oneshot;

    use super::*;

    /// Work that ends with `name` when it is told to.
    fn work(name: &'static str) -> (oneshot::Sender<()>, BoxFuture<'static, &'static str>) {
        let (end, ended) = oneshot::channel();
        (end, Box::pin(ended.map(move |_| name)))
    }

    #[tokio::test]
    async fn work_of_a_key_is_done_in_order_and_waits_for_no_other_key() {
        let mut queues = Queues::default();
        let (end_first, first) = work("first");
        let (end_second, second) = work("second");
        let (end_other, other) = work("other");
        queues.push(0, first);
        queues.push(0, second);
        queues.push(1, other);
        // What could go on waits its turn.
        end_second.send(()).unwrap();
        end_other.send(()).unwrap();
        assert_eq!(queues.next().await, Some("other"));
        assert!(poll!(pin!(queues.next())).is_pending());
        end_first.send(()).unwrap();
        assert_eq!(queues.next().await, Some("first"));
        assert!(!queues.is_empty());
        assert_eq!(queues.next().await, Some("second"));
        assert!(queues.is_empty());
        assert_eq!(queues.next().await, None);
    }

    #[tokio::test]
    async fn a_key_that_was_done_begins_anew() {
        let mut queues = Queues::default();
        for name in ["one", "two"] {
            let (end, work) = work(name);
            queues.push(7, work);
            end.send(()).unwrap();
            assert_eq!(queues.next().await, Some(name));
            assert!(queues.is_empty());
        }
    }
}
