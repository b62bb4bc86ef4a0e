//! Starting a broker that outlives this program.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::process::Process;
use super::state::Node;

const LOOK_EVERY: Duration = Duration::from_millis(10);
const SHOWN_LOG_LINES: usize = 5;

/// A broker that was started, by this command or an earlier one, and has not yet said that it is ready.
#[derive(Debug)]
pub(crate) struct Launched {
    runs: Runs,
    ready_file: PathBuf,
    log_file: PathBuf,
}

/// How to learn that a broker has ended.
#[derive(Debug)]
enum Runs {
    /// It was started by this command.
    Child(Child),
    /// It was started by an earlier one.
    Other(Process),
}

/// The line that a broker prints when it accepts work.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Ready {
    pub(crate) broker: u32,
    pub(crate) listen: String,
    pub(crate) peer: String,
    pub(crate) http: String,
}

/// Why a broker does not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LaunchError {
    /// The operating system refused.
    #[error("cannot start a broker: {0}")]
    Io(#[from] io::Error),
    /// It ended before it was ready.
    #[error("the broker ended before it was ready; its log {} ends with\n{tail}", log.display())]
    Ended { log: PathBuf, tail: String },
    /// It still runs and has not said that it is ready.
    #[error("the broker is not ready after {waited:?}; its log is {}", log.display())]
    Slow { waited: Duration, log: PathBuf },
    /// What it printed is not the line that was expected.
    #[error("the broker printed {line:?} in place of the line that says it is ready")]
    Strange { line: String },
}

impl Launched {
    /// Starts the broker of `node` in `dir` as a process of its own session, so that it survives this
    /// program and its terminal. It founds a cluster if `join` is empty. Settings in the environment are
    /// for other brokers and not passed on.
    pub(crate) fn start(dir: &Path, node: &Node, join: &[String]) -> Result<Self, LaunchError> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["serve", "--new-session", "--data-dir"])
            .arg(dir.join(node.data_dir()));
        command.args(["--listen", &node.listen, "--peer-listen", &node.peer]);
        command.args(["--http-listen", &node.http]);
        for peer in join {
            command.args(["--join", peer]);
        }
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("HIGHWATER__") {
                command.env_remove(name);
            }
        }
        let (ready_file, log_file) = (dir.join(node.ready_file()), dir.join(node.log_file()));
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log_file)?;
        command
            .stdin(Stdio::null())
            .stdout(File::create(&ready_file)?)
            .stderr(log);
        Ok(Self {
            runs: Runs::Child(command.spawn()?),
            ready_file,
            log_file,
        })
    }

    /// The broker of `node`, which an earlier command started as `process`.
    pub(crate) fn running(dir: &Path, node: &Node, process: Process) -> Self {
        Self {
            runs: Runs::Other(process),
            ready_file: dir.join(node.ready_file()),
            log_file: dir.join(node.log_file()),
        }
    }

    /// The process of the broker; `None` when it has ended.
    pub(crate) fn process(&self) -> Option<Process> {
        match &self.runs {
            Runs::Child(child) => Process::of(child.id()),
            Runs::Other(process) => Some(process.clone()),
        }
    }

    /// Waits for the line that says the broker accepts work.
    pub(crate) async fn ready(&mut self, limit: Duration) -> Result<Ready, LaunchError> {
        let begun = Instant::now();
        loop {
            // It may print the line and end at once: the line is looked for after the end.
            let ended = self.has_ended()?;
            let printed = fs::read_to_string(&self.ready_file)?;
            if let Some((line, _)) = printed.split_once('\n') {
                return serde_json::from_str(line).map_err(|_| LaunchError::Strange {
                    line: line.to_owned(),
                });
            }
            let log = self.log_file.clone();
            if ended {
                let text = fs::read(&log).unwrap_or_default();
                let tail = tail(&String::from_utf8_lossy(&text), SHOWN_LOG_LINES);
                return Err(LaunchError::Ended { log, tail });
            }
            if begun.elapsed() >= limit {
                return Err(LaunchError::Slow { waited: limit, log });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn has_ended(&mut self) -> io::Result<bool> {
        match &mut self.runs {
            Runs::Child(child) => Ok(child.try_wait()?.is_some()),
            Runs::Other(process) => Ok(!process.runs()),
        }
    }
}

impl LaunchError {
    /// What to do next.
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::Ended { tail, .. } if tail.to_lowercase().contains("in use") => {
                "choose free ports: highwater dev up --base-port PORT, or 0 for any"
            }
            Self::Slow { .. } => "highwater dev up waits for it again; --wait sets how long",
            _ => "highwater dev status; highwater dev down stops what runs",
        }
    }
}

/// The last `count` lines, without hints that are for `highwater serve`.
fn tail(text: &str, count: usize) -> String {
    let lines = text.lines().filter(|line| !line.starts_with("hint: "));
    let lines: Vec<&str> = lines.collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_the_last_lines() {
        assert_eq!(tail("a\nb\nc\n", 2), "b\nc");
        assert_eq!(tail("a", 2), "a");
        assert_eq!(tail("", 2), "");
        assert_eq!(tail("a\nb\nhint: highwater serve --help\n", 1), "b");
    }

    #[test]
    fn a_port_in_use_is_answered_with_other_ports() {
        let ended = |tail: &str| LaunchError::Ended {
            log: PathBuf::from("l"),
            tail: tail.to_owned(),
        };
        assert!(
            ended("Address already in use")
                .hint()
                .contains("--base-port")
        );
        assert!(!ended("no space").hint().contains("--base-port"));
    }

    #[test]
    fn the_ready_line_is_the_one_that_serve_prints() {
        let line =
            r#"{"ready":true,"broker":1,"cluster":"c","listen":"a:1","peer":"a:2","http":"a:3"}"#;
        let ready: Ready = serde_json::from_str(line).unwrap();
        assert_eq!((ready.broker, ready.peer.as_str()), (1, "a:2"));
    }
}
