//! `highwater dev up`: starts what does not run, and waits until it is one healthy cluster.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::absolute;
use crate::args::UpArgs;
use crate::command::cluster::wait_until_healthy_with;
use crate::dev::{DirLock, Launched, State};
use crate::error::{Failure, Label, talk};
use crate::exit::ExitCode;
use crate::health::Health;

const NODES: u16 = 3;

/// A cluster that is being brought up. Nobody else changes it meanwhile.
pub(super) struct Up {
    dir: PathBuf,
    state: State,
    _lock: DirLock,
}

impl Up {
    /// Plans the brokers; nothing runs yet.
    pub(super) fn prepare(args: &UpArgs) -> Result<Self, Failure> {
        let path = &args.dir.path;
        if path.to_str().is_none() {
            // It is part of the settings of the brokers, and those are text.
            let message = format!("the name of --dir {} is no text (UTF-8)", path.display());
            return Err(Failure::usage(message));
        }
        let made = !path.exists();
        fs::create_dir_all(path)
            .map_err(|error| Failure::io(format!("making {}", path.display()), &error))?;
        let dir = absolute(path)?;
        let lock = DirLock::take(&dir)?;
        let mut state = State::load(&dir)?.unwrap_or_else(|| State::empty(made));
        let nodes = if state.nodes.is_empty() { NODES } else { 0 };
        state.grow(args.nodes.unwrap_or(nodes), args.base_port)?;
        Ok(Self {
            dir,
            state,
            _lock: lock,
        })
    }

    /// Starts what does not run, and waits for what an earlier command started and did not see ready.
    /// Brokers that have been ready once may need each other to become ready again, so they start
    /// together. Before any other joins, the first must be ready: it is the one that founds the cluster.
    pub(super) async fn run(mut self, wait: Duration) -> Result<(), Failure> {
        let nodes = 0..self.state.nodes.len();
        let (known, fresh): (Vec<usize>, Vec<usize>) =
            nodes.partition(|at| self.state.nodes[*at].broker.is_some());
        let stopped = |at: &usize| self.state.nodes[*at].running().is_none();
        let known: Vec<usize> = known.into_iter().filter(stopped).collect();
        let (first, others): (Vec<usize>, Vec<usize>) = fresh.into_iter().partition(|at| *at == 0);
        for together in [known, first, others] {
            self.bring_up(&together, wait).await?;
        }
        let nodes = self.state.nodes.iter();
        let addresses: Vec<String> = nodes.map(|node| node.listen.clone()).collect();
        let health = wait_until_healthy_with(&addresses, wait).await?;
        report(&addresses, &health)
    }

    async fn bring_up(&mut self, places: &[usize], wait: Duration) -> Result<(), Failure> {
        let mut launched: Vec<(usize, Launched)> = Vec::new();
        for &place in places {
            let node = &self.state.nodes[place];
            let broker = match node.running() {
                Some(process) => Launched::running(&self.dir, node, process.clone()),
                None => Launched::start(&self.dir, node, &self.join_of(place)?)?,
            };
            self.state.nodes[place].process = broker.process();
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

    /// The peer addresses by which a broker joins: those of earlier ones. Only the first has none: any
    /// other would found a cluster of its own.
    fn join_of(&self, place: usize) -> Result<Vec<String>, Failure> {
        let before = self.state.nodes[..place].iter();
        let ready = before.filter(|node| node.broker.is_some());
        let peers: Vec<String> = ready.map(|node| node.peer.clone()).collect();
        if place > 0 && peers.is_empty() {
            let number = self.state.nodes[place].number;
            let message = format!("there is no broker that broker {number} could join");
            let failure = Failure::new(Label::Dev, ExitCode::Failure, message);
            return Err(failure.hint("highwater dev down --purge, and begin anew"));
        }
        Ok(peers)
    }
}

fn report(addresses: &[String], health: &Health) -> Result<(), Failure> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn up(nodes: u16) -> (tempfile::TempDir, Up) {
        let dir = tempfile::tempdir().unwrap();
        let mut state = State::empty(true);
        state.grow(nodes, Some(9000)).unwrap();
        let lock = DirLock::take(dir.path()).unwrap();
        let path = dir.path().to_owned();
        (
            dir,
            Up {
                dir: path,
                state,
                _lock: lock,
            },
        )
    }

    #[test]
    fn only_the_first_broker_founds_a_cluster() {
        let (_dir, mut up) = up(3);
        assert!(up.join_of(0).unwrap().is_empty());
        assert!(up.join_of(1).is_err() && up.join_of(2).is_err());
        up.state.nodes[0].broker = Some(1);
        assert_eq!(up.join_of(2).unwrap(), ["127.0.0.1:9001"]);
    }
}
