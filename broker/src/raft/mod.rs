//! Agreement between replicas: the pure decisions about who is alive and who takes over.

pub mod succession;
pub mod suspicion;
