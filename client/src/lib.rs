//! The Highwater client.
