//! The composition root: builds a broker, wires it, starts it, stops it.

mod audit;
mod broken;
mod clock_file;
mod compaction;
mod config;
mod controller;
mod diverged;
mod error;
mod groups;
mod identity;
mod metrics_page;
mod probes;
mod reconcile;
mod register;
mod repair;
mod scrub;
mod seek;
mod serve;
mod start;
#[cfg(test)]
mod tests;
mod to_open;
mod votes;
mod watching;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

pub use config::BrokerConfig;
pub use error::StartError;

use crate::clock::{Clock, SystemClock};
use crate::listener::AllSlots;
use crate::log::MemDir;
use crate::log::dir::usage;
use crate::raft::Replicas;
use crate::service::Services;
use crate::tasks::Tasks;
use start::Storage;

/// How long a stop in order waits for others to take over, and how long it may take after that
/// before what still runs is cut off.
const IN_ORDER: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(6));
/// The same of a broker that cannot go on: it is to be gone within a second.
const AT_ONCE: (Duration, Duration) = (Duration::from_millis(300), Duration::from_millis(300));

/// A running broker.
#[derive(Debug)]
pub struct Broker {
    services: Arc<Services>,
    replicas: Arc<Replicas>,
    bound: Bound,
    tasks: Tasks,
    listeners: Tasks,
    slots: AllSlots,
    failed: watch::Receiver<Option<String>>,
    _lock: Option<crate::log::DirLock>,
}

/// The addresses that the listeners are bound to.
#[derive(Debug, Clone, Copy)]
struct Bound {
    listen: SocketAddr,
    peer: SocketAddr,
    http: SocketAddr,
}

impl Broker {
    /// Starts a broker and returns when it accepts work: it has joined its cluster, and nothing
    /// that is placed on it is in recovery.
    pub async fn start(config: BrokerConfig) -> Result<Self, StartError> {
        start::start(config, Storage::Disk, Arc::new(SystemClock), usage::boot()).await
    }

    /// Starts a broker that keeps everything in `memory`, and nothing of the machine but its
    /// ports: no file, no lock, no thread. `data_dir` is not used. A broker that is started on
    /// memory that another has filled goes on where that one ended.
    pub async fn start_in_memory(config: BrokerConfig, memory: MemDir) -> Result<Self, StartError> {
        Self::start_in_memory_at(config, memory, Arc::new(SystemClock)).await
    }

    /// The same, with the time that `clock` shows.
    pub(crate) async fn start_in_memory_at(
        mut config: BrokerConfig,
        memory: MemDir,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StartError> {
        config.data_dir = PathBuf::new();
        start::start(config, Storage::Memory(memory), clock, usage::boot()).await
    }

    /// The broker's id in its cluster.
    pub fn id(&self) -> u32 {
        self.services.me.broker.0
    }

    /// The cluster's id.
    pub fn cluster_id(&self) -> String {
        self.services.me.cluster.to_string()
    }

    /// The address bound for clients.
    pub fn listen_addr(&self) -> SocketAddr {
        self.bound.listen
    }

    /// The address bound for other brokers.
    pub fn peer_addr(&self) -> SocketAddr {
        self.bound.peer
    }

    /// The address bound for HTTP.
    pub fn http_addr(&self) -> SocketAddr {
        self.bound.http
    }

    /// Resolves with the reason when the broker must exit, for example after a failed sync.
    pub async fn failed(&self) -> String {
        let mut failed = self.failed.clone();
        let ended = failed.wait_for(Option::is_some).await;
        ended.ok().and_then(|why| why.clone()).unwrap_or_default()
    }

    /// Resolves when the cluster's metadata stands on this broker, too, or on as many others as it
    /// ever does.
    pub(crate) async fn holds_metadata(&self) {
        let replica = self.services.metadata.replica();
        let id = replica.id();
        let enough = |members: &crate::raft::Members| {
            let settled = members.voters.len() == 1;
            let count = members.voter_brokers().count();
            settled && (members.is_voter(id) || count >= controller::VOTERS)
        };
        replica.until_members(enough).await;
    }

    /// How many entries the log of the metadata has here.
    #[cfg(test)]
    pub(crate) fn metadata_entries(&self) -> u64 {
        self.services.metadata.replica().log_entries()
    }

    /// Stops: hands over what it leads, ends the streams, stops the groups, closes the listeners. Bounded in time; whatever
    /// was acknowledged is on the disk already.
    pub async fn shutdown(self) {
        self.stop(IN_ORDER).await;
    }

    /// Leaves after [`Self::failed`]: as [`Self::shutdown`], within a second.
    pub async fn leave(self) {
        self.stop(AT_ONCE).await;
    }

    async fn stop(&self, (hand_over, end): (Duration, Duration)) {
        let begun = crate::clock::monotonic();
        let led = self.services.led_here().movable;
        let handed_over = match self.services.hand_over(hand_over).await {
            true if led == 0 => "nothing was handed over: it led nothing that another could lead",
            true => "others lead what it led",
            false => {
                tracing::warn!("not everything was taken over within {hand_over:?}");
                "others find out by themselves"
            }
        };
        self.end(end).await;
        let took = begun.elapsed();
        tracing::info!("this broker has stopped in {took:.3?}; {handed_over}");
    }

    /// Ends what runs at once, handing over nothing: others find out by themselves. No connection
    /// outlives this, as none outlives a process.
    pub async fn abandon(self) {
        self.slots.cut();
        self.listeners.cancel();
        self.end(IN_ORDER.1).await;
    }

    async fn end(&self, limit: Duration) {
        let stop = async {
            self.tasks.cancel();
            let partitions = self.services.partitions.all();
            let stopped = partitions.values().map(crate::partition::Partition::stop);
            futures_util::future::join_all(stopped).await;
            if let Some(metadata) = self.replicas.remove(crate::raft::GroupId::Metadata) {
                metadata.shutdown().await;
            }
            self.listeners.stop().await;
            self.tasks.stop().await;
        };
        if tokio::time::timeout(limit, stop).await.is_err() {
            tracing::warn!("not everything stopped within {limit:?}");
        }
        // A call that came in last would else wait here, in vain, where the process does not end.
        self.slots.cut();
    }
}
