//! A partition: an ordered log of records with one leader. Pure: what applying an entry does to the
//! partition (`state`), and which batches of a producer are new (`producers`, `sequence`). Around
//! them the replicated machine, the append loop of the leader, and the reads.

mod append;
mod budget;
mod command;
mod confirmed;
mod error;
mod fence;
mod group;
mod keeper;
mod machine;
#[expect(clippy::module_inception, reason = "the partition itself")]
mod partition;
mod read;
mod retention;
mod trim;

pub mod producers;
pub mod sequence;
pub mod state;

pub use append::{Appended, Permission};
pub use command::{Command, CommandError};
pub use error::{AppendError, ReadError};
pub use machine::{PartitionMachine, Published, Shared};
pub use partition::{Partition, Surroundings};
pub use producers::{Judgement, Producers, Proposal};
pub use read::{Bounds, Read, Replicas};
pub use retention::Retention;
pub use sequence::{SequenceError, Sequenced};
pub use state::{Applied, ApplyError, BatchFacts, Body, HighWatermark, PartitionState};
