//! The parts of produce and consume that need no broker: lines to records, records to text.

pub(crate) mod base64;
pub(crate) mod escape;
pub(crate) mod input;
pub(crate) mod lines;
pub(crate) mod position;
pub(crate) mod template;
pub(crate) mod view;
