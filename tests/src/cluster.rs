//! A cluster of brokers, each a process of its own.

use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::broker::Broker;
use crate::health::unhealthy;
use crate::program::{Program, Run};
use crate::proxy::Proxy;

/// How long a cluster may take to be healthy.
const HEALTHY: &str = "60s";

/// Brokers of one cluster, with data in a temporary directory.
#[derive(Debug)]
pub struct Cluster {
    program: Program,
    /// The brokers; the first has founded the cluster.
    pub brokers: Vec<Broker>,
    // Removed after the brokers that use it have ended.
    _dir: TempDir,
}

impl Cluster {
    /// Starts a cluster of `count` brokers and waits until it is healthy. Each stands in a rack of
    /// its own, `r` and its number.
    #[track_caller]
    pub fn start(program: &Program, count: usize) -> Self {
        Self::begin(program, count, Broker::start)
    }

    /// The same, and the metadata leads clients to a proxy before each broker, which loses so many
    /// of a thousand answers.
    #[track_caller]
    pub fn behind_proxies(
        program: &Program,
        count: usize,
        per_mille: u64,
        seed: u64,
    ) -> (Self, Vec<Proxy>) {
        const HOST: &str = "127.0.0.2";
        let mut proxies = Vec::new();
        let cluster = Self::begin(program, count, |program, data_dir, extra| {
            let broker = Broker::start_behind(program, data_dir, HOST, extra);
            let (_, port) = broker.listen().split_once(':').expect("an address");
            let before = format!("{HOST}:{port}");
            let seed = seed.wrapping_add(proxies.len() as u64);
            proxies.push(Proxy::start(&before, broker.listen(), per_mille, seed));
            broker
        });
        (cluster, proxies)
    }

    #[track_caller]
    fn begin(
        program: &Program,
        count: usize,
        mut start: impl FnMut(&Program, &Path, &[&str]) -> Broker,
    ) -> Self {
        let dir = tempfile::tempdir().expect("there is a place for temporary files");
        let data_dir = |number: usize| dir.path().join(format!("broker-{number}"));
        let mut brokers = vec![start(program, &data_dir(1), &["--rack", "r1"])];
        for number in 2..=count {
            let (join, rack) = (brokers[0].peer().to_owned(), format!("r{number}"));
            let args = ["--join", &join, "--rack", &rack];
            brokers.push(start(program, &data_dir(number), &args));
        }
        let cluster = Self {
            program: program.clone(),
            brokers,
            _dir: dir,
        };
        cluster.until_healthy();
        cluster.until_metadata_is_replicated();
        cluster
    }

    /// Waits until the loss of a broker does not cost the metadata, which grows to three brokers
    /// by itself after they have joined. Only the log of the broker in charge tells.
    #[track_caller]
    fn until_metadata_is_replicated(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        let votes = |id: &u64| {
            let line = format!("votes on the metadata broker={id}");
            self.brokers
                .iter()
                .any(|broker| broker.log().contains(&line))
        };
        let ids = || self.brokers.iter().skip(1).take(2).map(Broker::id);
        while !ids().all(|id| votes(&id)) {
            assert!(Instant::now() < deadline, "the metadata is not replicated");
            self.run(&["cluster", "health"]).end();
        }
    }

    /// The addresses of all brokers, for `-b`.
    pub fn addresses(&self) -> String {
        let addresses: Vec<&str> = self.brokers.iter().map(Broker::listen).collect();
        addresses.join(",")
    }

    /// A client command that knows all brokers.
    pub fn run(&self, args: &[&str]) -> Run {
        self.program
            .run(args)
            .env("HIGHWATER_BROKERS", self.addresses())
    }

    /// Waits until every broker is up and every replica in sync.
    #[track_caller]
    pub fn until_healthy(&self) {
        self.run(&["cluster", "health", "--wait", HEALTHY])
            .within(Duration::from_secs(90))
            .ok();
    }

    /// Asks for the health until it is bad and every part is said; gives what was said.
    #[track_caller]
    pub fn unhealthy(&self, parts: &[&str]) -> String {
        unhealthy(|| self.run(&["cluster", "health"]), parts)
    }

    /// The place in `brokers` of the broker that leads this partition; waits until there is one.
    #[track_caller]
    pub fn leader_of(&self, topic: &str, partition: usize) -> usize {
        self.leader_but(topic, partition, usize::MAX)
    }

    /// The same; waits until there is one that is not at place `other`.
    #[track_caller]
    pub fn leader_but(&self, topic: &str, partition: usize, other: usize) -> usize {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let described = self.run(&["topic", "describe", topic, "-o", "json"]).end();
            let id = (described.code == Some(0))
                .then(|| described.json()["partitions"][partition]["leader"].as_u64())
                .flatten();
            let place = id.and_then(|id| self.brokers.iter().position(|broker| broker.id() == id));
            if let Some(place) = place.filter(|place| *place != other) {
                return place;
            }
            assert!(
                Instant::now() < deadline,
                "no leader of {topic}/{partition} but {other}: {described}"
            );
        }
    }

    /// Kills all brokers with SIGKILL and starts them again.
    #[track_caller]
    pub fn restart_all(&mut self) {
        self.brokers.iter_mut().for_each(Broker::kill);
        let launched: Vec<_> = self.brokers.iter().map(Broker::relaunch).collect();
        self.brokers = launched
            .into_iter()
            .map(|broker| broker.until_ready())
            .collect();
        self.until_healthy();
    }
}
