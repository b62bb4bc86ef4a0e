//! The largest batch that each partition takes. Any broker may be asked for it, and one that lags
//! tells an older one. So a higher limit is believed at once: at worst a leader refuses a batch. A
//! lower one is believed only of a partition whose leader has refused a batch as too large; else
//! records would fail here that the topic takes.

use super::Sender;

/// How large a batch of a partition may be.
#[derive(Debug)]
pub(super) struct Limit {
    bytes: usize,
    /// The leader has refused a batch since the limit was last lowered.
    refused: bool,
}

impl Limit {
    pub(super) fn new(bytes: usize) -> Self {
        Self {
            bytes,
            refused: false,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The leader has refused a batch as too large.
    pub(super) fn refused(&mut self) {
        self.refused = true;
    }

    /// A broker tells the limit. True if it is believed and changes something.
    fn told(&mut self, bytes: usize) -> bool {
        let lower = bytes < self.bytes;
        if bytes == self.bytes || (lower && !self.refused) {
            return false;
        }
        self.bytes = bytes;
        self.refused &= !lower;
        true
    }
}

impl Sender {
    /// Has batches made no larger than the topic takes by now.
    pub(super) fn learn_limit(&mut self) {
        let target = &self.shared.target;
        let Some(told) = self.metadata.largest_batch(&target.topic, &target.topic_id) else {
            return;
        };
        let mut largest = 0;
        for (partition, slot) in self.shared.partitions().zip(&mut self.slots) {
            if slot.limit.told(told) {
                let full_at = self.rules.full_at(told);
                self.shared.accumulator(partition).set_limit(full_at);
            }
            largest = largest.max(slot.limit.bytes());
        }
        self.shared.set_largest_batch(largest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_higher_limit_is_believed_and_a_lower_one_only_once_after_each_refusal() {
        let mut limit = Limit::new(1000);
        assert!(!limit.told(500) && limit.bytes() == 1000);
        assert!(limit.told(2000) && limit.bytes() == 2000);
        limit.refused();
        assert!(!limit.told(2000), "what the leader says is not known there");
        assert!(limit.told(1000) && limit.bytes() == 1000);
        assert!(!limit.told(500) && limit.bytes() == 1000);
    }
}
