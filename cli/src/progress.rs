//! A line on stderr that says how far a command is, where somebody can see it.

use std::io::{self, IsTerminal};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often a second the line changes at most.
const CHANGES: u8 = 10;

/// A line that is written anew again and again; none when nobody would see it.
#[derive(Debug, Clone)]
pub(crate) struct ProgressLine(Option<ProgressBar>);

impl ProgressLine {
    /// A line if stderr is a terminal.
    pub(crate) fn start() -> Self {
        let is_seen = io::stderr().is_terminal();
        Self(is_seen.then(|| line_on(ProgressDrawTarget::stderr_with_hz(CHANGES))))
    }

    /// No line.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// Writes this instead of what was there.
    pub(crate) fn show(&self, text: impl FnOnce() -> String) {
        if let Some(line) = &self.0 {
            line.set_message(text());
            line.tick();
        }
    }

    /// Removes the line.
    pub(crate) fn clear(&self) {
        if let Some(line) = &self.0 {
            line.finish_and_clear();
        }
    }
}

/// What is shown is the text: the style that there is without one has a bar, and no text.
fn line_on(target: ProgressDrawTarget) -> ProgressBar {
    let line = ProgressBar::with_draw_target(None, target);
    line.with_style(ProgressStyle::default_spinner())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use indicatif::TermLike;

    use super::*;

    /// A terminal that keeps what is written to it.
    #[derive(Debug, Clone, Default)]
    struct Screen {
        // guards: the text so far.
        written: Arc<Mutex<String>>,
    }

    impl TermLike for Screen {
        fn width(&self) -> u16 {
            80
        }

        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(text)
        }

        fn write_str(&self, text: &str) -> io::Result<()> {
            self.written.lock().unwrap().push_str(text);
            Ok(())
        }

        fn clear_line(&self) -> io::Result<()> {
            Ok(())
        }

        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_is_shown_is_the_text() {
        let screen = Screen::default();
        let target = ProgressDrawTarget::term_like(Box::new(screen.clone()));
        let line = ProgressLine(Some(line_on(target)));
        line.show(|| "3 records acknowledged".to_owned());
        let written = screen.written.lock().unwrap().clone();
        assert!(written.contains("3 records acknowledged"), "{written:?}");
        assert!(!written.contains("0/0"), "{written:?}");
    }

    #[test]
    fn a_text_that_nobody_sees_is_not_made() {
        ProgressLine::none().show(|| unreachable!("nobody sees it"));
    }
}
