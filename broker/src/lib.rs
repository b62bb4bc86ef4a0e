//! The Highwater broker. Lower layers first: a module may use those that stand before it in this list.

pub mod clock;
pub mod entropy;
pub mod metrics;
pub mod tasks;

pub mod log;

pub mod peer;

pub mod raft;

pub mod cluster;
pub mod partition;

pub mod service;

pub mod listener;

pub mod node;

pub mod testing;
