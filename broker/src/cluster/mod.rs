//! The cluster's metadata: who belongs to it, which topics there are, and where their replicas are
//! placed.
//!
//! Pure, so that every broker that applies the same commands reaches the same state: `command`,
//! `config`, `placement`, `refusal`, `reply`, `state`. Around them: the replicated `machine`, the `metadata` as
//! a broker uses it, who leads what (`leaders`), which brokers answer (`liveness`), and what time most
//! of them have (`times`).

pub mod command;
pub mod config;
pub mod placement;
pub mod refusal;
pub mod reply;
pub mod state;

mod leaders;
mod liveness;
mod machine;
mod metadata;
mod takeover;
mod times;

pub use command::{
    Command, CommandError, Endpoints, MAX_PARTITIONS, ProducerIncarnation, Registration,
    check_rack, is_address,
};
pub use config::{ConfigError, TopicConfig};
pub use leaders::{Leader, Leaders};
pub use liveness::Liveness;
pub use machine::{MetadataMachine, Published};
pub use metadata::{LocalError, Metadata};
pub use placement::{Candidate, PlacementError, place};
pub use refusal::Refusal;
pub use reply::{Reply, ReplyError};
pub use state::{
    Broker, ClusterState, NamedProducer, Partition, Placed, RETIRED, Removed, Replica, TOUCH_EVERY,
    Topic,
};
pub use takeover::Takeover;

/// The cluster levels that this version supports.
pub const LEVELS: std::ops::RangeInclusive<u32> = 1..=1;
