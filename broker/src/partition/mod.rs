//! A partition: an ordered log of records with one leader. The pure parts: what applying an entry
//! does to the partition, and which batches of a producer are new.

pub mod producers;
pub mod sequence;
pub mod state;

pub use producers::{Judgement, Producers, Proposal};
pub use sequence::{SequenceError, Sequenced};
pub use state::{Applied, ApplyError, BatchFacts, Body, HighWatermark, PartitionState};
