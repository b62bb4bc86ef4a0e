//! The Highwater broker.
