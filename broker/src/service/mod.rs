//! What the broker can be asked to do, one use case a file. A service knows nothing of sockets; the
//! requests and replies are the messages of the public API.

use std::sync::Arc;

mod addresses;
mod bookmark;
mod cluster;
mod drain;
mod error;
mod faults;
mod fetch;
mod freshness;
mod gauges;
mod holding;
mod join;
mod named_producers;
mod offsets;
mod partitions;
mod produce;
mod producer_ids;
pub mod records;
mod rights;
mod routing;
mod topics;
mod trim;

pub use bookmark::{Bookmark, Bookmarks};
pub use cluster::Wanted;
pub use drain::Led;
pub use error::{Detail, Error, LeaderHint};
pub use faults::{Fault, FaultKind, Faults};
pub use fetch::{Place, to_batches, to_records};
pub use freshness::Freshness;
pub use holding::Holding;
pub use named_producers::Initialized;
pub use partitions::Partitions;
pub use produce::parse_batch;
pub use producer_ids::ProducerIds;
pub use rights::{Action, Context, RIGHTS, Resource};
pub use routing::Target;

use crate::clock::Clock;
use crate::cluster::{Leaders, Liveness, Metadata};
use crate::metrics::Metrics;
use crate::peer::{Identity, Peers};
use crate::tasks::Tasks;

/// Everything the services work with.
#[derive(Debug)]
pub struct Services {
    /// Who this broker is.
    pub me: Identity,
    /// The cluster's metadata.
    pub metadata: Metadata,
    /// Who leads what.
    pub leaders: Arc<Leaders>,
    /// Which brokers answer.
    pub liveness: Arc<Liveness>,
    /// The other brokers.
    pub peers: Arc<Peers>,
    /// The partitions that have a replica here.
    pub partitions: Arc<Partitions>,
    /// What is held back while this broker leaves leading to others.
    pub holding: Holding,
    /// The producer ids this broker may give out.
    pub producer_ids: ProducerIds,
    /// The replicas here that are out of their groups.
    pub faults: Faults,
    /// What subscriptions to records keep of batches.
    pub bookmarks: Bookmarks,
    /// What runs for streams; it ends with the broker.
    pub tasks: Tasks,
    /// What is counted and measured.
    pub metrics: Arc<Metrics>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Fresh random bytes, for ids.
    pub random: fn() -> [u8; 16],
}
