//! The Highwater broker.

pub mod cluster;
