//! Which partition a record goes to. Pure but for two counters.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use highwater_proto::partitioner::partition_for_key;
use highwater_proto::{PartitionIndex, Reason};

use crate::error::{Error, Result};

/// Chooses partitions: the one asked for, the key's by murmur2, or for records without a key one
/// that stays the same for a batch's worth of bytes, so that they share batches.
#[derive(Debug)]
pub(crate) struct Partitioner {
    partitions: u32,
    batch_bytes: usize,
    sticky: AtomicU32,
    /// Bytes that went to the sticky partition since it became that.
    filled: AtomicUsize,
}

/// Where a record goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Choice {
    pub(crate) partition: PartitionIndex,
    /// Only because records without a key go there now.
    sticky: bool,
}

impl Partitioner {
    /// A partitioner that begins its round of partitions at a random one.
    pub(crate) fn new(partitions: u32, batch_bytes: usize, random: u64) -> Self {
        let partitions = partitions.max(1);
        let first = random % u64::from(partitions);
        Self {
            partitions,
            batch_bytes,
            sticky: AtomicU32::new(u32::try_from(first).unwrap_or(0)),
            filled: AtomicUsize::new(0),
        }
    }

    /// The partition of a record. Changes nothing, so it may be asked as often as the record is tried.
    #[inline]
    pub(crate) fn choose(
        &self,
        asked: Option<PartitionIndex>,
        key: Option<&[u8]>,
    ) -> Result<Choice> {
        let (partition, sticky) = match (asked, key) {
            (Some(partition), _) if partition.0 < self.partitions => (partition, false),
            (Some(partition), _) => {
                let count = self.partitions;
                let message = format!(
                    "the topic has no partition {partition}; it has {count}, numbered from 0"
                );
                return Err(Error::new(Reason::PartitionNotFound, message));
            }
            (None, Some(key)) => (partition_for_key(key, self.partitions), false),
            (None, None) if self.partitions == 1 => (PartitionIndex(0), false),
            (None, None) => (PartitionIndex(self.sticky.load(Ordering::Relaxed)), true),
        };
        Ok(Choice { partition, sticky })
    }

    /// Counts a record of `bytes` that was taken into the partition chosen for it.
    #[inline]
    pub(crate) fn wrote(&self, choice: Choice, bytes: usize) {
        if choice.sticky
            && self.filled.fetch_add(bytes, Ordering::Relaxed) + bytes >= self.batch_bytes
        {
            self.leave(choice.partition);
        }
    }

    /// Moves on from `partition`, if records without a key go there now: it has its batch, or it
    /// has trouble.
    pub(crate) fn leave(&self, partition: PartitionIndex) {
        let next = (partition.0 + 1) % self.partitions;
        let moved =
            self.sticky
                .compare_exchange(partition.0, next, Ordering::Relaxed, Ordering::Relaxed);
        if moved.is_ok() {
            self.filled.store(0, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sticky(partitioner: &Partitioner, bytes: usize) -> u32 {
        let choice = partitioner.choose(None, None).unwrap();
        partitioner.wrote(choice, bytes);
        choice.partition.0
    }

    #[test]
    fn a_record_that_is_not_taken_moves_nothing() {
        let partitioner = Partitioner::new(3, 100, 0);
        for _ in 0..10 {
            assert_eq!(partitioner.choose(None, None).unwrap().partition.0, 0);
        }
        assert_eq!(sticky(&partitioner, 99), 0);
        assert_eq!(sticky(&partitioner, 1), 0);
        assert_eq!(sticky(&partitioner, 1), 1);
    }

    #[test]
    fn records_without_a_key_stay_together_for_a_batch_and_then_move_on() {
        let partitioner = Partitioner::new(3, 100, 4);
        let chosen: Vec<u32> = (0..7).map(|_| sticky(&partitioner, 50)).collect();
        assert_eq!(chosen, [1, 1, 2, 2, 0, 0, 1]);
    }

    #[test]
    fn a_partition_in_trouble_is_left_at_once() {
        let partitioner = Partitioner::new(3, 100, 0);
        partitioner.leave(PartitionIndex(2));
        assert_eq!(sticky(&partitioner, 1), 0, "another one's trouble");
        partitioner.leave(PartitionIndex(0));
        assert_eq!(sticky(&partitioner, 1), 1);
    }

    #[test]
    fn a_key_always_goes_to_its_partition_and_an_explicit_one_wins() {
        let partitioner = Partitioner::new(7, 100, 0);
        let key = Some(&b"user-1"[..]);
        let by_key = partitioner.choose(None, key).unwrap();
        assert_eq!(by_key.partition, partition_for_key(b"user-1", 7));
        let asked = Some(PartitionIndex(6));
        assert_eq!(partitioner.choose(asked, key).unwrap().partition.0, 6);
        let error = partitioner
            .choose(Some(PartitionIndex(7)), key)
            .unwrap_err();
        assert_eq!(error.reason(), Some(Reason::PartitionNotFound));
    }
}
