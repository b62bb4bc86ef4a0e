//! The use cases of the broker, one file each, whatever protocol asks for them.

pub mod records;
