//! The cluster's metadata: who belongs to it, which topics there are, and where their replicas are
//! placed. Everything here is a pure function of its arguments: the metadata group applies the
//! same commands in the same order on every broker and so reaches the same state.

pub mod command;
pub mod config;
pub mod placement;
pub mod reply;
pub mod state;

pub use command::{Command, CommandError, Endpoints, Registration};
pub use config::{ConfigError, TopicConfig};
pub use placement::{Candidate, PlacementError, place};
pub use reply::{Refusal, Reply, ReplyError};
pub use state::{Broker, ClusterState, Partition, Placed, Removed, Replica, Topic};
