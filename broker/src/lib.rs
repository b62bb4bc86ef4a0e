//! The Highwater broker.

pub mod log;
