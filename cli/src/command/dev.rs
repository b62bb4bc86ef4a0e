//! `highwater dev`: a cluster of this machine, run in the background.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::cluster::wait_until_healthy;
use crate::args::{DevArgs, DevVerb, UpArgs};
use crate::dev::{LaunchError, Launched, Node, Signal, State, StateError, launch};
use crate::error::{Failure, Label, talk};
use crate::exit::ExitCode;
use crate::health::Health;
use crate::output::{self, Form, Row};

const NODES: u16 = 3;
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
            let (dir, state) = existing(&dir.path)?;
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
        Self::new(Label::Dev, ExitCode::Failure, error.to_string())
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

/// A cluster that is being brought up.
struct Up {
    dir: PathBuf,
    state: State,
}

impl Up {
    /// Plans the brokers; nothing runs yet.
    fn prepare(args: &UpArgs) -> Result<Self, Failure> {
        let path = &args.dir.path;
        let mut state = match State::load(path)? {
            Some(state) => state,
            None => {
                let made = !path.exists();
                fs::create_dir_all(path)
                    .map_err(|error| Failure::io(format!("making {}", path.display()), &error))?;
                State::empty(made)
            }
        };
        let known = state.nodes.len();
        let nodes = args.nodes.unwrap_or(if known == 0 { NODES } else { 0 });
        state.grow(nodes, args.base_port)?;
        Ok(Self {
            dir: absolute(path)?,
            state,
        })
    }

    /// Starts what does not run. Brokers that have been ready once may need each other to become
    /// ready again, so they start together; new ones join when those are ready.
    async fn run(mut self, wait: Duration) -> Result<(), Failure> {
        let stopped = |up: &Self, known: bool| -> Vec<usize> {
            let nodes = up.state.nodes.iter().enumerate();
            nodes
                .filter(|(_, node)| node.running().is_none() && node.broker.is_some() == known)
                .map(|(at, _)| at)
                .collect()
        };
        self.start(&stopped(&self, true), wait).await?;
        let mut fresh = stopped(&self, false);
        if fresh.first() == Some(&0) {
            self.start(&fresh[..1], wait).await?;
            fresh.remove(0);
        }
        self.start(&fresh, wait).await?;
        let addresses: Vec<&str> = self
            .state
            .nodes
            .iter()
            .map(|node| node.listen.as_str())
            .collect();
        let health = wait_until_healthy(&addresses.join(","), wait).await?;
        report(&addresses, &health)
    }

    async fn start(&mut self, places: &[usize], wait: Duration) -> Result<(), Failure> {
        let mut launched: Vec<(usize, Launched)> = Vec::new();
        for &place in places {
            let join = self.peers_before(place);
            let node = &mut self.state.nodes[place];
            let broker = launch(&self.dir, node, &join)?;
            node.process = broker.process();
            launched.push((place, broker));
            self.state.save(&self.dir)?;
        }
        for (place, mut broker) in launched {
            let ready = broker.ready(wait).await?;
            let node = &mut self.state.nodes[place];
            let pid = node.process.as_ref().map_or(0, |process| process.pid);
            talk(format!(
                "broker {} runs on {} (process {pid})",
                ready.broker, ready.listen
            ));
            node.broker = Some(ready.broker);
            node.listen = ready.listen;
            node.peer = ready.peer;
            node.http = ready.http;
            self.state.save(&self.dir)?;
        }
        Ok(())
    }

    /// The peer addresses that a new broker may join by; none for the first, which founds.
    fn peers_before(&self, place: usize) -> Vec<String> {
        let before = self.state.nodes[..place].iter();
        before
            .filter(|node| node.broker.is_some())
            .map(|node| node.peer.clone())
            .collect()
    }
}

fn report(addresses: &[&str], health: &Health) -> Result<(), Failure> {
    talk(health.text().trim_end());
    if !health.is_healthy() {
        return Err(Failure::Told(ExitCode::Failure));
    }
    let brokers = addresses.join(",");
    if brokers.starts_with("127.0.0.1:7654,") || brokers == "127.0.0.1:7654" {
        talk("try: highwater cluster brokers");
    } else {
        talk(format!("try: export HIGHWATER_BROKERS={brokers}"));
    }
    Ok(())
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
        state.grow(1, 7654).unwrap();
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
