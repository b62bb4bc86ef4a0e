//! The progress line on stderr, where somebody can see it.

use std::io::{self, IsTerminal};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressDrawTarget};

use super::acks::Tally;

/// A line that counts acknowledged records; nothing when stderr is no terminal.
#[derive(Debug)]
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    begun: Instant,
}

impl Progress {
    /// Begins to count the time.
    pub(super) fn start() -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10))
                .with_message("sending")
        });
        Self {
            bar,
            begun: Instant::now(),
        }
    }

    /// Shows what became of the records so far.
    pub(super) fn show(&self, tally: Tally) {
        if let Some(bar) = &self.bar {
            bar.set_message(tally.summary(self.begun.elapsed()));
            bar.tick();
        }
    }

    /// Removes the line.
    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
