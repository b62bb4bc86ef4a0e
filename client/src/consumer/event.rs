//! What a consumer tells beside records.

use highwater_proto::{Offset, PartitionIndex};

use super::batch::ConsumerBatch;

/// What happened next in one of the partitions.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// Records.
    Batch(ConsumerBatch),
    /// The partition's end was reached.
    CaughtUp(CaughtUp),
}

/// Everything that could be read of a partition, when its broker last sent something, was handed
/// out. It is told once when the end is reached, and again only after the consumer was behind: after
/// more had been written than one message carries, a seek, or a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CaughtUp {
    /// The partition.
    pub partition: PartitionIndex,
    /// The end that was reached: the offset of the next record to be committed, as the replica
    /// that was read knew it.
    pub high_watermark: Offset,
}
