//! What a process writes to stderr, kept as it comes.

use std::io::Read;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long a text may take to come.
const LIMIT: Duration = Duration::from_secs(30);

/// The text so far.
#[derive(Debug, Default)]
pub(crate) struct Stderr {
    // guards: the bytes read so far; held for copies only.
    bytes: Mutex<Vec<u8>>,
    more: Condvar,
}

impl Stderr {
    /// Reads the pipe to its end, beside the caller.
    pub(crate) fn keep(mut pipe: impl Read + Send + 'static) -> Arc<Self> {
        let kept = Arc::new(Self::default());
        let keeper = Arc::clone(&kept);
        thread::spawn(move || {
            let mut some = [0; 4096];
            while let Ok(read @ 1..) = pipe.read(&mut some) {
                keeper.lock().extend_from_slice(&some[..read]);
                keeper.more.notify_all();
            }
        });
        kept
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The text so far.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.lock()).into_owned()
    }

    /// The first whole line with `wanted` in it; waits for it.
    #[track_caller]
    pub(crate) fn line_with(&self, wanted: &str) -> String {
        let deadline = Instant::now() + LIMIT;
        let mut bytes = self.lock();
        loop {
            let text = String::from_utf8_lossy(&bytes);
            let mut whole = text
                .split_inclusive('\n')
                .filter(|line| line.ends_with('\n'));
            if let Some(line) = whole.find(|line| line.contains(wanted)) {
                return line.trim_end().to_owned();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "{wanted:?} is not said within {LIMIT:?}:\n{text}"
            );
            let waited = self.more.wait_timeout(bytes, left);
            bytes = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
