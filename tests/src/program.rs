//! Running commands of the program.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::conversation::Conversation;
use crate::wait::ended_within;

/// How long a command may take unless told otherwise.
const LIMIT: Duration = Duration::from_secs(60);

/// The program under test.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    /// The command that runs it, if it is not run itself.
    through: Vec<String>,
}

/// A command that is not yet run.
#[derive(Debug)]
pub struct Run {
    command: Command,
    line: String,
    stdin: Option<Vec<u8>>,
    limit: Duration,
}

/// A command that runs.
#[derive(Debug)]
pub struct Running {
    child: Child,
    line: String,
    stdout: JoinHandle<Vec<u8>>,
    stderr: JoinHandle<Vec<u8>>,
    limit: Duration,
}

/// A command that has ended.
#[derive(Debug, Clone)]
pub struct Ended {
    line: String,
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: Vec<u8>,
    /// What it said.
    pub stderr: String,
}

impl Program {
    /// The program at this path; see the macro `program`.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            through: Vec::new(),
        }
    }

    /// The program, run by a command that ends with its name and its arguments.
    #[must_use]
    pub fn through(&self, command: &[&str]) -> Self {
        Self {
            path: self.path.clone(),
            through: command.iter().map(|&word| word.to_owned()).collect(),
        }
    }

    /// A plain command of the program, without settings of the environment.
    pub(crate) fn command(&self) -> Command {
        let mut command = match self.through.split_first() {
            None => Command::new(&self.path),
            Some((first, words)) => {
                let mut command = Command::new(first);
                command.args(words).arg(&self.path);
                command
            }
        };
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("HIGHWATER") {
                command.env_remove(name);
            }
        }
        command
    }

    /// A command with these arguments.
    pub fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Run {
        let args: Vec<OsString> = args
            .into_iter()
            .map(|arg| arg.as_ref().to_owned())
            .collect();
        let shown: Vec<_> = args.iter().map(|arg| arg.to_string_lossy()).collect();
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let line = format!("{name} {}", shown.join(" "));
        let mut command = self.command();
        command.args(&args);
        Run {
            command,
            line,
            stdin: None,
            limit: LIMIT,
        }
    }
}

impl Run {
    /// Gives it this input; without, stdin is empty.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs it in this directory.
    #[must_use]
    pub fn in_dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Kills it and fails if it takes longer.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Starts it in a conversation: input is written and output read while it runs.
    pub fn converse(self) -> Conversation {
        self.spoken_to(Stdio::piped())
    }

    /// Starts it with an empty stdin; its output is read while it runs.
    pub fn listen(self) -> Conversation {
        self.spoken_to(Stdio::null())
    }

    fn spoken_to(mut self, stdin: Stdio) -> Conversation {
        self.command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Conversation::new(
            self.command.spawn().expect("the program can be run"),
            self.line,
        )
    }

    /// Starts it.
    pub fn start(mut self) -> Running {
        let stdin = if self.stdin.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        };
        self.command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = self.command.spawn().expect("the program can be run");
        if let (Some(bytes), Some(mut pipe)) = (self.stdin, child.stdin.take()) {
            // A command that does not read its input to the end closes the pipe.
            thread::spawn(move || drop(pipe.write_all(&bytes)));
        }
        Running {
            stdout: collect(child.stdout.take().expect("stdout is a pipe")),
            stderr: collect(child.stderr.take().expect("stderr is a pipe")),
            child,
            line: self.line,
            limit: self.limit,
        }
    }

    /// Runs it to its end, but closes its stdout after the first line.
    #[track_caller]
    pub fn read_one_line_and_leave(mut self) -> Ended {
        self.command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = self.command.spawn().expect("the program can be run");
        let mut first = Vec::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
        stdout
            .read_until(b'\n', &mut first)
            .expect("a pipe can be read");
        drop(stdout);
        let stderr = collect(child.stderr.take().expect("stderr is a pipe"));
        let stdout = thread::spawn(|| first);
        Running {
            child,
            line: self.line,
            stdout,
            stderr,
            limit: self.limit,
        }
        .end()
    }

    /// Runs it to its end.
    #[track_caller]
    pub fn end(self) -> Ended {
        self.start().end()
    }

    /// Runs it, and fails unless it succeeds.
    #[track_caller]
    pub fn ok(self) -> Ended {
        self.end().exited(0)
    }
}

pub(crate) fn collect(mut pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).expect("a pipe can be read");
        bytes
    })
}

impl Running {
    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("a child can be signalled");
    }

    /// True while it runs.
    pub fn runs(&mut self) -> bool {
        self.child
            .try_wait()
            .expect("a child can be waited for")
            .is_none()
    }

    /// Waits for its end.
    #[track_caller]
    pub fn end(mut self) -> Ended {
        let status = ended_within(&mut self.child, self.limit);
        if status.is_none() {
            self.child.kill().expect("a child can be killed");
            self.child.wait().expect("a child can be waited for");
        }
        let ended = Ended {
            code: status.and_then(|status| status.code()),
            stdout: self.stdout.join().expect("stdout was read"),
            stderr: String::from_utf8_lossy(&self.stderr.join().expect("stderr was read"))
                .into_owned(),
            line: self.line,
        };
        assert!(
            status.is_some(),
            "still runs after {:?}: {ended}",
            self.limit
        );
        ended
    }
}

impl Ended {
    pub(crate) fn new(line: String, code: Option<i32>, stdout: Vec<u8>, stderr: String) -> Self {
        Self {
            line,
            code,
            stdout,
            stderr,
        }
    }

    /// Fails unless the exit code is this one.
    #[track_caller]
    pub fn exited(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }

    /// What it printed, as text.
    #[track_caller]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self}"))
    }

    /// The lines it printed.
    #[track_caller]
    pub fn lines(&self) -> Vec<&str> {
        self.text().lines().collect()
    }

    /// The JSON document it printed.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self}"))
    }

    /// The JSON objects it printed, one a line.
    #[track_caller]
    pub fn jsonl(&self) -> Vec<serde_json::Value> {
        let parse = |line: &str| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line:?}: {self}"))
        };
        self.lines().into_iter().map(parse).collect()
    }

    /// Fails unless it said `error[REASON]` with this reason.
    #[track_caller]
    pub fn says(self, reason: &str) -> Self {
        let label = format!("error[{reason}]: ");
        assert!(
            self.stderr.lines().any(|line| line.starts_with(&label)),
            "no {label:?}: {self}"
        );
        self
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 2000;
        let stdout = &self.stdout[..self.stdout.len().min(SHOWN)];
        let (line, code, stderr) = (&self.line, self.code, &self.stderr);
        let stdout = String::from_utf8_lossy(stdout);
        write!(
            f,
            "{line}\nexit code: {code:?}\nstdout: {stdout}\nstderr: {stderr}"
        )
    }
}
