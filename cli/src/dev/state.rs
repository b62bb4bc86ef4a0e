//! What the directory of a development cluster remembers: `cluster.json`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::process::Process;

const FILE: &str = "cluster.json";
const VERSION: u32 = 1;
const PORT_STEP: u16 = 10;
const BASE_PORT: u16 = 7654;

/// A development cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    version: u32,
    /// True when `dev up` made the directory, so that `--purge` may remove it.
    pub(crate) made_dir: bool,
    /// The client port that was asked for last; 0 for any.
    #[serde(default)]
    base_port: Option<u16>,
    pub(crate) nodes: Vec<Node>,
}

/// One broker of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Node {
    /// Its place in the cluster, from 1; names its files.
    pub(crate) number: u16,
    /// Its id in the cluster, once it has been ready.
    pub(crate) broker: Option<u32>,
    pub(crate) listen: String,
    pub(crate) peer: String,
    pub(crate) http: String,
    /// The process that runs it, as far as is known.
    pub(crate) process: Option<Process>,
}

/// Why the state cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    /// The file system refused.
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    /// The file is there and does not say what it should.
    #[error("{} is not the state of a development cluster: {why}", path.display())]
    Unreadable { path: PathBuf, why: String },
    /// The ports end at 65535.
    #[error("broker {number} would need a port above 65535; choose a lower --base-port")]
    PortRange { number: u16 },
}

impl Node {
    /// A new broker; with `base_port` 0 it takes free ports.
    fn planned(number: u16, base_port: u16) -> Result<Self, StateError> {
        let first = match base_port {
            0 => Some(0),
            _ => (number - 1)
                .checked_mul(PORT_STEP)
                .and_then(|step| base_port.checked_add(step)),
        };
        let address = |add: u16| {
            let port = if base_port == 0 {
                Some(0)
            } else {
                first.and_then(|p| p.checked_add(add))
            };
            let port = port.ok_or(StateError::PortRange { number })?;
            Ok(format!("127.0.0.1:{port}"))
        };
        Ok(Self {
            number,
            broker: None,
            listen: address(0)?,
            peer: address(1)?,
            http: address(2)?,
            process: None,
        })
    }

    /// The process, if it still runs.
    pub(crate) fn running(&self) -> Option<&Process> {
        self.process.as_ref().filter(|process| process.runs())
    }

    /// True when nobody can know its addresses: it has never been ready and does not run.
    fn is_only_planned(&self) -> bool {
        self.broker.is_none() && self.running().is_none()
    }

    /// The name of its data directory.
    pub(crate) fn data_dir(&self) -> String {
        format!("broker-{}", self.number)
    }

    /// The name of the file with its log.
    pub(crate) fn log_file(&self) -> String {
        format!("broker-{}.log", self.number)
    }

    /// The name of the file with the line it prints when it is ready.
    pub(crate) fn ready_file(&self) -> String {
        format!("broker-{}.ready", self.number)
    }
}

impl State {
    /// A cluster without brokers.
    pub(crate) fn empty(made_dir: bool) -> Self {
        Self {
            version: VERSION,
            made_dir,
            base_port: None,
            nodes: Vec::new(),
        }
    }

    /// Plans brokers until there are `count`, on ports from `base_port` on; without, on those that the
    /// others have, or the default ones. A broker that never came up is planned anew: its ports may have
    /// been the reason.
    pub(crate) fn grow(&mut self, count: u16, base_port: Option<u16>) -> Result<(), StateError> {
        let anybody_came_up = !self.nodes.iter().all(Node::is_only_planned);
        let before = self.base_port.filter(|_| anybody_came_up);
        let base_port = base_port.or(before).unwrap_or(BASE_PORT);
        for node in &mut self.nodes {
            if node.is_only_planned() {
                *node = Node::planned(node.number, base_port)?;
            }
        }
        for number in 1..=count {
            if self.nodes.iter().all(|node| node.number != number) {
                self.nodes.push(Node::planned(number, base_port)?);
            }
        }
        self.base_port = Some(base_port);
        Ok(())
    }

    /// What `dir` remembers; `None` when there is no cluster.
    pub(crate) fn load(dir: &Path) -> Result<Option<Self>, StateError> {
        let path = dir.join(FILE);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StateError::Io { path, error }),
            Ok(text) => text,
        };
        match serde_json::from_slice::<Self>(&text) {
            Ok(state) if state.version == VERSION => Ok(Some(state)),
            Ok(state) => {
                let why = format!(
                    "its version is {}, this program knows {VERSION}",
                    state.version
                );
                Err(StateError::Unreadable { path, why })
            }
            Err(error) => Err(StateError::Unreadable {
                path,
                why: error.to_string(),
            }),
        }
    }

    /// Remembers this in `dir`; a crash leaves the old state or the new one.
    pub(crate) fn save(&self, dir: &Path) -> Result<(), StateError> {
        let path = dir.join(FILE);
        let fresh = dir.join(format!("{FILE}.new"));
        let text = serde_json::to_vec_pretty(self).map_err(|error| StateError::Unreadable {
            path: path.clone(),
            why: error.to_string(),
        })?;
        fs::write(&fresh, text)
            .and_then(|()| fs::rename(&fresh, &path))
            .map_err(|error| StateError::Io { path, error })
    }

    /// Removes what the cluster made in `dir`, and `dir` itself if it was made for the cluster and
    /// holds nothing else.
    pub(crate) fn purge(&self, dir: &Path) -> Result<(), StateError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error| StateError::Io { path, error }
        };
        for node in &self.nodes {
            let data = dir.join(node.data_dir());
            absent_is_fine(fs::remove_dir_all(&data)).map_err(failed(&data))?;
            for file in [node.log_file(), node.ready_file()] {
                let file = dir.join(file);
                absent_is_fine(fs::remove_file(&file)).map_err(failed(&file))?;
            }
        }
        let file = dir.join(FILE);
        absent_is_fine(fs::remove_file(&file)).map_err(failed(&file))?;
        if self.made_dir {
            match fs::remove_dir(dir) {
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
                other => absent_is_fine(other).map_err(failed(dir))?,
            }
        }
        Ok(())
    }
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(count: u16, base_port: u16) -> State {
        let mut state = State::empty(true);
        state.grow(count, Some(base_port)).unwrap();
        state
    }

    #[test]
    fn brokers_are_ten_ports_apart_with_peer_and_http_behind() {
        let state = planned(3, 7654);
        let expected = ["127.0.0.1:7654", "127.0.0.1:7664", "127.0.0.1:7674"];
        assert_eq!(listens(&state), expected);
        assert_eq!(state.nodes[2].peer, "127.0.0.1:7675");
        assert_eq!(state.nodes[2].http, "127.0.0.1:7676");
    }

    #[test]
    fn base_port_zero_takes_free_ports() {
        let state = planned(2, 0);
        assert!(state.nodes.iter().all(|node| node.listen == "127.0.0.1:0"));
        assert!(state.nodes.iter().all(|node| node.http == "127.0.0.1:0"));
    }

    #[test]
    fn ports_end_at_65535() {
        let mut state = State::empty(true);
        let refused = state.grow(2, Some(65_530));
        assert!(
            matches!(refused, Err(StateError::PortRange { number: 2 })),
            "{refused:?}"
        );
    }

    fn listens(state: &State) -> Vec<&str> {
        let nodes = state.nodes.iter();
        nodes.map(|node| node.listen.as_str()).collect()
    }

    #[test]
    fn growing_keeps_what_came_up_or_runs() {
        let mut state = planned(2, 9000);
        state.nodes[0].broker = Some(1);
        state.nodes[1].process = Process::of(std::process::id());
        state.grow(3, Some(9100)).unwrap();
        assert_eq!(state.nodes[0].broker, Some(1));
        let expected = ["127.0.0.1:9000", "127.0.0.1:9010", "127.0.0.1:9120"];
        assert_eq!(listens(&state), expected);
        state.grow(1, None).unwrap();
        assert_eq!(listens(&state), expected);
    }

    #[test]
    fn a_broker_that_never_came_up_does_not_keep_its_port() {
        let mut state = planned(2, 9000);
        state.grow(0, Some(9100)).unwrap();
        assert_eq!(listens(&state), ["127.0.0.1:9100", "127.0.0.1:9110"]);
        state.grow(0, None).unwrap();
        assert_eq!(listens(&state), ["127.0.0.1:7654", "127.0.0.1:7664"]);
    }

    #[test]
    fn brokers_that_are_added_stand_beside_the_others() {
        let mut state = planned(1, 9000);
        state.nodes[0].broker = Some(1);
        state.grow(2, None).unwrap();
        assert_eq!(listens(&state), ["127.0.0.1:9000", "127.0.0.1:9010"]);
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(State::load(dir.path()).unwrap(), None);
        let mut state = planned(2, 7654);
        state.nodes[0].process = Process::of(std::process::id());
        state.save(dir.path()).unwrap();
        assert_eq!(State::load(dir.path()).unwrap(), Some(state.clone()));
        assert!(state.nodes[0].running().is_some() && state.nodes[1].running().is_none());
    }

    #[test]
    fn a_file_of_another_kind_or_version_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let future = serde_json::json!({"version": 2, "made_dir": true, "nodes": []});
        for text in ["[]", "{", &future.to_string()] {
            fs::write(dir.path().join(FILE), text).unwrap();
            let refused = State::load(dir.path());
            assert!(
                matches!(refused, Err(StateError::Unreadable { .. })),
                "{text}"
            );
        }
    }

    #[test]
    fn purge_removes_its_own_and_nothing_else() {
        let outer = tempfile::tempdir().unwrap();
        let dir = outer.path().join("dev");
        let make = || {
            let state = planned(1, 7654);
            fs::create_dir_all(dir.join("broker-1/topics")).unwrap();
            fs::write(dir.join("broker-1.log"), "x").unwrap();
            state.save(&dir).unwrap();
            state
        };
        make().purge(&dir).unwrap();
        assert!(!dir.exists());

        let state = make();
        fs::write(dir.join("mine.txt"), "kept").unwrap();
        state.purge(&dir).unwrap();
        let left: Vec<_> = fs::read_dir(&dir)
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert_eq!(left, ["mine.txt"]);
        state.purge(&dir).unwrap();
    }
}
