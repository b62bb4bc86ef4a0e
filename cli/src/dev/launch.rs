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

/// A broker that was started and has not yet said that it is ready.
#[derive(Debug)]
pub(crate) struct Launched {
    child: Child,
    ready_file: PathBuf,
    log_file: PathBuf,
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
    #[error("the broker ended before it was ready ({status}); its log {} ends with\n{tail}", log.display())]
    Ended {
        status: std::process::ExitStatus,
        log: PathBuf,
        tail: String,
    },
    /// It still runs and has not said that it is ready.
    #[error("the broker is not ready after {waited:?}; its log is {}", log.display())]
    Slow { waited: Duration, log: PathBuf },
    /// What it printed is not the line that was expected.
    #[error("the broker printed {line:?} in place of the line that says it is ready")]
    Strange { line: String },
}

/// Starts the broker of `node` in `dir` as a process of its own session, so that it survives this
/// program and its terminal. Settings in the environment are for other brokers and not passed on.
pub(crate) fn launch(dir: &Path, node: &Node, join: &[String]) -> Result<Launched, LaunchError> {
    let ready_file = dir.join(node.ready_file());
    let log_file = dir.join(node.log_file());
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
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&log_file)?;
    command
        .stdin(Stdio::null())
        .stdout(File::create(&ready_file)?)
        .stderr(log);
    let child = command.spawn()?;
    Ok(Launched {
        child,
        ready_file,
        log_file,
    })
}

impl Launched {
    /// The process of the broker.
    pub(crate) fn process(&self) -> Option<Process> {
        Process::of(self.child.id())
    }

    /// Waits for the line that says the broker accepts work.
    pub(crate) async fn ready(&mut self, limit: Duration) -> Result<Ready, LaunchError> {
        let begun = Instant::now();
        loop {
            let printed = fs::read_to_string(&self.ready_file)?;
            if let Some((line, _)) = printed.split_once('\n') {
                return serde_json::from_str(line).map_err(|_| LaunchError::Strange {
                    line: line.to_owned(),
                });
            }
            let log = self.log_file.clone();
            if let Some(status) = self.child.try_wait()? {
                let text = fs::read(&log).unwrap_or_default();
                let tail = tail(&String::from_utf8_lossy(&text), SHOWN_LOG_LINES);
                return Err(LaunchError::Ended { status, log, tail });
            }
            if begun.elapsed() >= limit {
                return Err(LaunchError::Slow { waited: limit, log });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// The last `count` lines.
fn tail(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
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
    }

    #[test]
    fn the_ready_line_is_the_one_that_serve_prints() {
        let line =
            r#"{"ready":true,"broker":1,"cluster":"c","listen":"a:1","peer":"a:2","http":"a:3"}"#;
        let ready: Ready = serde_json::from_str(line).unwrap();
        assert_eq!((ready.broker, ready.peer.as_str()), (1, "a:2"));
    }
}
