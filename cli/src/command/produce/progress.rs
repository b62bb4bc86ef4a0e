//! How many records are acknowledged, on the progress line.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::Instant;

use crate::output::Form;
use crate::progress::ProgressLine;

use super::acks::Tally;
use super::source::reads_stdin;

/// A line that counts acknowledged records.
#[derive(Debug)]
pub(super) struct Progress {
    line: ProgressLine,
    begun: Instant,
}

impl Progress {
    /// Begins to count the time. There is no line where it would stand between the records that
    /// somebody types, or between the acknowledgements that are printed.
    pub(super) fn start(files: &[PathBuf], form: Form) -> Self {
        let typed = reads_stdin(files) && io::stdin().is_terminal();
        let printed = form != Form::Table && io::stdout().is_terminal();
        Self {
            line: match typed || printed {
                true => ProgressLine::none(),
                false => ProgressLine::start(),
            },
            begun: Instant::now(),
        }
    }

    /// Shows what became of the records so far.
    pub(super) fn show(&self, tally: Tally) {
        self.line.show(|| tally.summary(self.begun.elapsed()));
    }

    /// Removes the line.
    pub(super) fn finish(&self) {
        self.line.clear();
    }
}
