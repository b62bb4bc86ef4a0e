//! The Highwater broker.

pub mod cluster;
pub mod log;
pub mod partition;
pub mod raft;
pub mod service;
