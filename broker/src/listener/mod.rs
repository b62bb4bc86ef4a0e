//! The listeners: wire ⇄ request. Translation only; every decision is made by a service.

pub mod grpc;
pub mod http;
