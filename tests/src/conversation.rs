//! A command that is written to and read from while it runs.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::program::{Ended, collect};
use crate::wait::ended_within;

/// How long a command may take to its next line or to its end.
const LIMIT: Duration = Duration::from_secs(60);

/// A command that runs, its input and its output.
#[derive(Debug)]
pub struct Conversation {
    child: Child,
    line: String,
    stdin: Option<ChildStdin>,
    stdout: Receiver<String>,
    stderr: JoinHandle<Vec<u8>>,
}

impl Conversation {
    pub(crate) fn new(mut child: Child, line: String) -> Self {
        let out = child.stdout.take().expect("stdout is a pipe");
        let (sender, stdout) = mpsc::channel();
        thread::spawn(move || {
            let lines = BufReader::new(out).lines().map_while(Result::ok);
            lines
                .take_while(|line| sender.send(line.clone()).is_ok())
                .for_each(drop);
        });
        Self {
            stdin: child.stdin.take(),
            stderr: collect(child.stderr.take().expect("stderr is a pipe")),
            stdout,
            child,
            line,
        }
    }

    /// Writes to its stdin; waits while it does not read.
    #[track_caller]
    pub fn write(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().expect("stdin is open");
        stdin
            .write_all(text.as_bytes())
            .expect("the command reads its input");
        stdin.flush().expect("the command reads its input");
    }

    /// Ends its stdin.
    pub fn end_input(&mut self) {
        self.stdin = None;
    }

    /// The next lines it prints; waits for them.
    #[track_caller]
    pub fn read(&mut self, count: usize) -> Vec<String> {
        let mut lines = Vec::with_capacity(count);
        let deadline = Instant::now() + LIMIT;
        while lines.len() < count {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.stdout.recv_timeout(left) {
                Ok(line) => lines.push(line),
                Err(RecvTimeoutError::Timeout) => {
                    panic!(
                        "{}: {} of {count} lines within {LIMIT:?}",
                        self.line,
                        lines.len()
                    )
                }
                Err(RecvTimeoutError::Disconnected) => {
                    panic!(
                        "{}: ended after {} of {count} lines",
                        self.line,
                        lines.len()
                    )
                }
            }
        }
        lines
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("a child can be signalled");
    }

    /// Waits for its end; what it printed since the last read is its output. Its stdin is still
    /// open unless it was ended.
    #[track_caller]
    pub fn end(mut self) -> Ended {
        let deadline = Instant::now() + LIMIT;
        let mut lines = String::new();
        // Stdout closes when the command ends, so this also waits for the end.
        while let Ok(line) = self
            .stdout
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            lines += &line;
            lines.push('\n');
        }
        let status = ended_within(
            &mut self.child,
            deadline.saturating_duration_since(Instant::now()),
        );
        if status.is_none() {
            self.child.kill().expect("a child can be killed");
        }
        self.child.wait().expect("a child can be waited for");
        let stderr = self.stderr.join().expect("stderr was read");
        let code = status.and_then(|status| status.code());
        let stderr = String::from_utf8_lossy(&stderr).into_owned();
        let ended = Ended::new(self.line, code, lines.into_bytes(), stderr);
        assert!(status.is_some(), "still runs after {LIMIT:?}: {ended}");
        ended
    }
}
