//! Connections to other brokers. A link to a broker has three connections, so that bulk data never
//! delays a vote and neither delays a ping:
//!
//! * the append lane: entries of all groups, pipelined within a window of bytes;
//! * the control lane: votes, hand-overs and heartbeats;
//! * calls: pings, joining, metadata proposals, forwarded requests.

mod identity;
mod lane;
mod link;
mod peers;

pub use identity::{Identity, IdentityError, PROTOCOL, check_protocol};
pub use lane::{Lane, LaneError, Pending};
pub use link::{CallError, Calls, Link, MAX_MESSAGE_BYTES, call, client, connect};
pub use peers::Peers;
pub use tonic::Status;
