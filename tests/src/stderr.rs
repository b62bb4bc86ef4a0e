//! What a process writes to stderr, kept as it comes.

use std::io::Read;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long a text may take to come.
const LIMIT: Duration = Duration::from_secs(60);

/// What came so far.
#[derive(Debug, Default)]
struct Text {
    bytes: Vec<u8>,
    ended: bool,
}

/// The text so far.
#[derive(Debug, Default)]
pub(crate) struct Stderr {
    // guards: the bytes read so far, and whether more can come; held for copies only.
    text: Mutex<Text>,
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
                keeper.lock().bytes.extend_from_slice(&some[..read]);
                keeper.more.notify_all();
            }
            keeper.lock().ended = true;
            keeper.more.notify_all();
        });
        kept
    }

    fn lock(&self) -> MutexGuard<'_, Text> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The text so far.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.lock().bytes).into_owned()
    }

    /// Waits until all has come that the process wrote before it ended.
    #[track_caller]
    pub(crate) fn until_ended(&self) {
        let waited = self
            .more
            .wait_timeout_while(self.lock(), LIMIT, |text| !text.ended);
        let text = waited.unwrap_or_else(PoisonError::into_inner).0;
        assert!(text.ended, "stderr is still open after {LIMIT:?}");
    }

    /// The first whole line with `wanted` in it; waits for it.
    #[track_caller]
    pub(crate) fn line_with(&self, wanted: &str) -> String {
        let deadline = Instant::now() + LIMIT;
        let mut so_far = self.lock();
        loop {
            let text = String::from_utf8_lossy(&so_far.bytes);
            let mut whole = text
                .split_inclusive('\n')
                .filter(|line| line.ends_with('\n'));
            if let Some(line) = whole.find(|line| line.contains(wanted)) {
                return line.trim_end().to_owned();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero() && !so_far.ended,
                "{wanted:?} is not said within {LIMIT:?} or ever:\n{text}"
            );
            let waited = self.more.wait_timeout(so_far, left);
            so_far = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
