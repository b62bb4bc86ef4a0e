//! A broker inside a test: the real one, on real sockets, with its data in memory.
//!
//! It starts in milliseconds on free ports of 127.0.0.1, runs on the runtime of the test and ends
//! when it is dropped. It starts no thread, writes no file, installs nothing global and shares
//! nothing with others, so that hundreds run side by side in one process. What it promises is what
//! any broker promises, except that its data goes with it.
//!
//! The module is part of the broker and no feature of the client: a program takes
//! `highwater-broker` as a dev-dependency, and what it ships depends on the client alone.
//!
//! ```
//! use highwater_broker::testing::Broker;
//! use highwater_client::{Client, NewTopic, Record};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let broker = Broker::start().await?;
//! let client = Client::connect(broker.address()).await?;
//! client.create_topic(NewTopic::new("orders")).await?;
//!
//! let producer = client.producer("orders").build().await?;
//! producer.send(Record::new("book").key("alice")).await?.await?;
//!
//! let mut orders = client.consumer("orders").build().await?;
//! let record = orders.next().await.ok_or("the topic ended")??;
//! assert_eq!(record.value(), Some(&b"book"[..]));
//! # Ok(())
//! # }
//! ```
//!
//! **Cancellation.** A start that is dropped leaves nothing running that was not running before. A
//! stop, kill or power cut that is dropped after its first poll may leave the broker half ended:
//! call [`Broker::restart`] then, or drop the broker, which ends it in any case.
//!
//! The broker needs the runtime to turn: a test that blocks its only thread blocks the broker.
//! Tokio's paused clock does not fit with sockets; let time run in tests with a broker.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpSocket;
use tokio::runtime::Handle;

use crate::clock::DrivenClock;
use crate::log::MemDir;
use crate::log::dir::usage;
use crate::node::{self, BrokerConfig, StartError};
use crate::tasks;

/// A broker with its data in memory, for tests. Dropping it ends it.
#[derive(Debug)]
pub struct Broker {
    disk: MemDir,
    time: DrivenClock,
    ports: Ports,
    join: Vec<String>,
    running: Option<node::Broker>,
    runtime: Handle,
}

impl Broker {
    /// Starts a broker of a cluster of its own; it accepts work when this returns.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with I/O and time enabled.
    pub async fn start() -> Result<Self, StartError> {
        Self::found(Vec::new(), DrivenClock::default()).await
    }

    /// Starts one more broker in the cluster of this one, which must run. It returns when the
    /// cluster counts on the new one: three brokers survive the loss of any. Topics created after
    /// that are replicated to up to three brokers.
    pub async fn start_beside(&self) -> Result<Self, StartError> {
        let join = vec![self.ports.peer.address()];
        let broker = Self::found(join, self.time.clone()).await?;
        if let Some(running) = &broker.running {
            running.holds_metadata().await;
        }
        Ok(broker)
    }

    async fn found(join: Vec<String>, time: DrivenClock) -> Result<Self, StartError> {
        // Each broker has some ten descriptors, and many systems begin with a limit of 1024.
        if let Err(error) = usage::raise_file_limit() {
            tracing::debug!(%error, "the limit of open files was not raised");
        }
        let mut broker = Self {
            disk: MemDir::new(),
            time,
            ports: Ports::take()?,
            join,
            running: None,
            runtime: Handle::current(),
        };
        broker.restart().await?;
        Ok(broker)
    }

    /// The address for clients, `127.0.0.1:port`; the same for the broker's whole life.
    pub fn address(&self) -> String {
        self.ports.listen.address()
    }

    /// The address for `/metrics`, `/healthz` and `/readyz`.
    pub fn http_address(&self) -> String {
        self.ports.http.address()
    }

    /// The broker's id in its cluster; 0 before it has ever run.
    pub fn id(&self) -> u32 {
        self.running.as_ref().map_or(0, node::Broker::id)
    }

    /// Starts the broker again at the same addresses with what it had, after it was stopped,
    /// killed or has lost power. One that runs is stopped first.
    pub async fn restart(&mut self) -> Result<(), StartError> {
        self.stop().await;
        let config = BrokerConfig {
            listen: self.ports.listen.address(),
            peer_listen: Some(self.ports.peer.address()),
            http_listen: Some(self.ports.http.address()),
            join: self.join.clone(),
            ..BrokerConfig::default()
        };
        let process = self.disk.next_process();
        let time = Arc::new(self.time.clone());
        self.running = Some(node::Broker::start_in_memory_at(config, process, time).await?);
        self.join.clear();
        Ok(())
    }

    /// Stops the broker in order: others take over what it leads, streams end. Connections are
    /// refused until [`Broker::restart`].
    pub async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.shutdown().await;
        }
    }

    /// Ends the broker as `kill -9` does: nothing is handed over, and what was not written then is
    /// never written. What was acknowledged is there after [`Broker::restart`].
    pub async fn kill(&mut self) {
        drop(self.disk.next_process());
        if let Some(running) = self.running.take() {
            running.abandon().await;
        }
    }

    /// Ends the broker as a power failure does: of what was not synced, `seed` decides sector by
    /// sector what is left. What was acknowledged is there after [`Broker::restart`].
    pub async fn cut_power(&mut self, seed: u64) {
        self.disk.power_cut(seed);
        if let Some(running) = self.running.take() {
            running.abandon().await;
        }
    }
}

/// What time does.
impl Broker {
    /// Lets so much time pass at once for all brokers of the cluster, as if they had run meanwhile:
    /// what is appended from then on has later append times, and what is kept for a time (records by
    /// `retention.ms`, producers, names of producers) is so much older. Records that are too old go
    /// soon after this, not before it returns. Timeouts and deadlines, of brokers and of clients,
    /// know nothing of it, nor do the times that clients give their records.
    ///
    /// Brokers that are stopped meanwhile are in the same time when they are started again.
    pub fn advance(&self, by: Duration) {
        self.time.advance(by);
    }
}

/// What a disk does.
impl Broker {
    /// From now on every sync of the broker's disk fails, or none any more.
    pub fn fail_syncs(&self, fail: bool) {
        self.disk.fail_syncs(fail);
    }

    /// Resolves with the reason when the broker can no longer go on, as after a failed sync: the
    /// program exits then.
    pub async fn failed(&self) -> String {
        match &self.running {
            Some(running) => running.failed().await,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            tasks::detached(&self.runtime, running.abandon());
        }
    }
}

/// The ports of a broker, which stay its own while it is down.
#[derive(Debug)]
struct Ports {
    listen: Port,
    peer: Port,
    http: Port,
}

impl Ports {
    fn take() -> Result<Self, StartError> {
        let take = |name| {
            Port::take().map_err(|source| StartError::Listen {
                name,
                address: ANY_PORT.to_string(),
                source,
            })
        };
        Ok(Self {
            listen: take("listen")?,
            peer: take("peer_listen")?,
            http: take("http_listen")?,
        })
    }
}

const ANY_PORT: std::net::SocketAddr =
    std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// A port, held by a socket that is bound and never listens: the system gives the port to nobody
/// else, and a listener that also allows reuse can be bound beside it.
#[derive(Debug)]
struct Port {
    number: u16,
    _held: TcpSocket,
}

impl Port {
    fn take() -> io::Result<Self> {
        let held = TcpSocket::new_v4()?;
        held.set_reuseaddr(true)?;
        held.bind(ANY_PORT)?;
        Ok(Self {
            number: held.local_addr()?.port(),
            _held: held,
        })
    }

    fn address(&self) -> String {
        format!("{}:{}", ANY_PORT.ip(), self.number)
    }
}

#[cfg(test)]
mod tests;
