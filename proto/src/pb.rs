//! The generated gRPC code: messages, clients and servers, and the descriptors for reflection.
#![allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    unreachable_pub,
    unused_qualifications,
    reason = "generated code"
)]

/// `highwater.v1`: the public API.
pub mod v1 {
    tonic::include_proto!("highwater.v1");
}

/// `highwater.peer.v1`: what brokers say to each other.
pub mod peer {
    tonic::include_proto!("highwater.peer.v1");
}

/// The encoded `FileDescriptorSet` of all packages.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/highwater.bin"));
