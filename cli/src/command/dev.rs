//! `highwater dev`: a cluster of this machine, run in the background.

mod up;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::args::{DevArgs, DevVerb};
use crate::dev::{DirLock, LaunchError, LockError, Node, Signal, State, StateError};
use crate::error::{Failure, Label, talk};
use crate::exit::ExitCode;
use crate::output::{self, Form, Row};

use up::Up;

const STOP_LIMIT: Duration = Duration::from_secs(10);

pub(super) async fn run(form: Form, args: DevArgs) -> Result<(), Failure> {
    match args.verb {
        DevVerb::Up(up) => Up::prepare(&up)?.run(up.wait).await,
        DevVerb::Status { dir } => {
            let (dir, state) = existing(&dir.path)?;
            let rows: Vec<NodeRow> = state
                .nodes
                .iter()
                .map(|node| NodeRow::of(&dir, node))
                .collect();
            output::list(form, &rows)
        }
        DevVerb::Down { dir, purge } => {
            let (dir, _) = existing(&dir.path)?;
            let _lock = DirLock::take(&dir)?;
            let (dir, state) = existing(&dir)?;
            down(&dir, state, purge).await
        }
    }
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        match &error {
            StateError::PortRange { .. } => Self::usage(error.to_string()),
            _ => Self::new(Label::Dev, ExitCode::Failure, error.to_string()),
        }
    }
}

impl From<LaunchError> for Failure {
    fn from(error: LaunchError) -> Self {
        Self::new(Label::Dev, ExitCode::Failure, error.to_string()).hint(error.hint())
    }
}

impl From<LockError> for Failure {
    fn from(error: LockError) -> Self {
        let failure = Self::new(Label::Dev, ExitCode::Failure, error.to_string());
        match error {
            LockError::Busy { .. } => failure.hint("try again when it has ended"),
            LockError::Io { .. } => failure,
        }
    }
}

/// The cluster in `dir`, which must be there, and the directory's absolute path.
fn existing(dir: &Path) -> Result<(PathBuf, State), Failure> {
    let state = State::load(dir)?.ok_or_else(|| {
        let message = format!("there is no development cluster in {}", dir.display());
        Failure::new(Label::Dev, ExitCode::NotFound, message).hint("highwater dev up")
    })?;
    Ok((absolute(dir)?, state))
}

fn absolute(dir: &Path) -> Result<PathBuf, Failure> {
    let failed = |error| Failure::io(format!("finding {}", dir.display()), &error);
    fs::canonicalize(dir).map_err(failed)
}

/// Asks every broker to stop, kills those that do not, and forgets the processes.
async fn down(dir: &Path, mut state: State, purge: bool) -> Result<(), Failure> {
    let failed = |error| Failure::io("stopping a broker", &error);
    for node in &state.nodes {
        if let Some(process) = node.running() {
            process.signal(Signal::TERM).map_err(failed)?;
        }
    }
    for node in &mut state.nodes {
        let Some(process) = node.process.take() else {
            continue;
        };
        if !process.ended_within(STOP_LIMIT).await {
            talk(format!(
                "broker {} does not stop; it is killed",
                node.number
            ));
            process.signal(Signal::KILL).map_err(failed)?;
            process.ended_within(STOP_LIMIT).await;
        }
    }
    state.save(dir)?;
    talk(format!("stopped the cluster in {}", dir.display()));
    if purge {
        state.purge(dir)?;
        talk("removed its data");
    }
    Ok(())
}

/// A broker, as `dev status -o json` prints it.
#[derive(Debug, Serialize)]
struct NodeRow {
    broker: Option<u32>,
    pid: Option<u32>,
    listen: String,
    peer: String,
    http: String,
    data_dir: PathBuf,
    state: &'static str,
}

impl NodeRow {
    fn of(dir: &Path, node: &Node) -> Self {
        let running = node.running();
        Self {
            broker: node.broker,
            pid: running.map(|process| process.pid),
            listen: node.listen.clone(),
            peer: node.peer.clone(),
            http: node.http.clone(),
            data_dir: dir.join(node.data_dir()),
            state: if running.is_some() {
                "running"
            } else {
                "stopped"
            },
        }
    }
}

impl Row for NodeRow {
    const COLUMNS: &'static [&'static str] =
        &["BROKER", "STATE", "PID", "LISTEN", "PEER", "HTTP", "DATA"];

    fn cells(&self) -> Vec<String> {
        let or_dash = |id: Option<u32>| id.map_or_else(|| "-".to_owned(), |id| id.to_string());
        vec![
            or_dash(self.broker),
            self.state.to_owned(),
            or_dash(self.pid),
            self.listen.clone(),
            self.peer.clone(),
            self.http.clone(),
            self.data_dir.display().to_string(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_of_status_are_the_contract() {
        let mut state = State::empty(true);
        state.grow(1, None).unwrap();
        let row = NodeRow::of(Path::new("/d"), &state.nodes[0]);
        let expected = concat!(
            r#"{"broker":null,"pid":null,"listen":"127.0.0.1:7654","peer":"127.0.0.1:7655","#,
            r#""http":"127.0.0.1:7656","data_dir":"/d/broker-1","state":"stopped"}"#
        );
        assert_eq!(serde_json::to_string(&row).unwrap(), expected);
        assert_eq!(row.cells().len(), NodeRow::COLUMNS.len());
    }

    #[test]
    fn without_a_cluster_there_is_nothing_to_stop() {
        let dir = tempfile::tempdir().unwrap();
        let missing = existing(&dir.path().join("none")).unwrap_err();
        assert_eq!(missing.exit_code(), ExitCode::NotFound);
    }
}
