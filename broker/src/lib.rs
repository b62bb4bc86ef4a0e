//! The Highwater broker.

pub mod cluster;
pub mod partition;
pub mod raft;
pub mod service;
