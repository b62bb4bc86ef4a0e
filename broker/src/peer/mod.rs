//! Connections to other brokers. A link to a broker has several, so that bulk data never delays a
//! vote and neither delays a ping:
//!
//! * the append lane: entries of all groups, pipelined within a window of bytes;
//! * calls: joining, metadata proposals, forwarded requests;
//! * [control connections](control), which the other broker serves on a thread of its own: one for
//!   pings, one for the lane of votes, hand-overs and heartbeats, one for questions about leaders.

pub mod bundle;
pub mod control;
#[cfg(test)]
pub mod fake;
mod identity;
mod lane;
mod link;
mod peers;

pub use identity::{Identity, IdentityError, PROTOCOL, check_protocol};
pub use lane::{Lane, LaneError, Pending};
pub use link::{CallError, Calls, Link, MAX_MESSAGE_BYTES, call, client, connect, connect_control};
pub use peers::Peers;
pub use tonic::Status;
