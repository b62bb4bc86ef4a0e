//! The listeners: wire ⇄ request. Translation only; every decision is made by a service.

mod connection;
pub mod grpc;
pub mod http;
mod slots;

pub use slots::{AllSlots, Slot, Slots};
