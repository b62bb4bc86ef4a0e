//! Agreement: the only folder that names openraft. One adapter serves all kinds of groups.
//!
//! ```text
//!   propose ─► replica ─► openraft ─► log_store ─► crate::log        network ─► crate::peer
//!                            └──────► state_machine ─► Replicated
//!   peers   ─► inbound ─► replica
//! ```
//!
//! Pure beside it: who is alive (`suspicion`) and who takes over (`succession`).

pub mod heartbeats;
pub mod succession;
pub mod suspicion;

mod begin_again;
mod blocking;
mod error;
mod floor;
mod following;
mod founding;
mod group;
mod inbound;
mod knowledge;
mod line;
mod log_store;
mod lost_state;
mod network;
mod noted;
mod progress;
mod propose;
mod release;
mod replica;
mod replicas;
mod replicated;
mod resident;
mod room;
mod rooms;
mod saved;
mod settings;
mod state_machine;
#[cfg(test)]
mod suite;
mod supply;
mod transfer;
#[cfg(test)]
mod traps;
mod types;
mod watcher;
mod wire;

pub use begin_again::FloorState;
pub(crate) use blocking::{apart, beside, offloaded};
pub use error::{OpenError, ProposeError, ReadError};
pub use founding::founding_entry;
pub use group::GroupId;
pub use inbound::{Inbound, LaneAnswers};
pub use knowledge::{Leadership, Members, View};
pub use line::Line;
pub use lost_state::LostState;
pub use noted::{durable_file, has_begun, unpurged, voted};
pub use propose::{Answered, Settling};
pub use release::Released;
pub use replica::{OpenReplica, Replica};
pub use replicas::Replicas;
pub use replicated::{Committed, NotUnderstood, Replicated};
pub use resident::make_resident;
pub use room::{make_room, room_changed};
pub use supply::decode_supply;
pub use transfer::{Incoming, TransferError};
pub use types::{Proposal, ProposalKind, Reply};
pub use wire::WireError;
