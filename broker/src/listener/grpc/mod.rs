//! gRPC: the public API on one listener, the peers' on another.

mod body;
mod cluster;
mod context;
mod counted;
mod door;
mod explained;
mod forward;
mod init_producer;
mod log;
mod peer;
mod server;
mod session;
mod status;
mod subscribe;
mod topic;
mod uncopied;

pub use context::Context;
pub use door::{Door, Sorted};
pub use peer::PeerApi;
#[cfg(test)]
pub(crate) use server::log_service;
pub use server::{bind, serve_bulk, serve_control, serve_public};
