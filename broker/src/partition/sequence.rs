//! The numbers a producer gives to its records, so that a partition can tell a new batch from a
//! repeated one. They count from 0 within an epoch and wrap to 0 after `i32::MAX`.

use highwater_proto::batch::BatchHeader;
use highwater_proto::{ProducerEpoch, ProducerId, Sequence};

/// How many sequences there are before they wrap.
const MODULUS: u32 = 1 << 31;

/// Who sent a batch and which of its producer's records it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sequenced {
    producer: ProducerId,
    epoch: ProducerEpoch,
    base: Sequence,
    count: u32,
}

/// The producer fields of a batch header contradict each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "producer id {producer_id}, epoch {epoch} and base sequence {base_sequence} with \
     {record_count} records: either all three are -1 or none is negative"
)]
pub struct SequenceError {
    producer_id: i64,
    epoch: i16,
    base_sequence: i32,
    record_count: i32,
}

impl Sequenced {
    /// What the fields of a batch header say; `None` for a batch without a producer, which is
    /// never recognised as repeated.
    pub fn from_header(
        producer_id: i64,
        epoch: i16,
        base_sequence: i32,
        record_count: i32,
    ) -> Result<Option<Self>, SequenceError> {
        let error = SequenceError {
            producer_id,
            epoch,
            base_sequence,
            record_count,
        };
        if (producer_id, epoch, base_sequence) == (-1, -1, -1) {
            return Ok(None);
        }
        let producer = u64::try_from(producer_id).map(ProducerId);
        let epoch = u16::try_from(epoch).map(ProducerEpoch);
        match (producer, epoch, u32::try_from(record_count)) {
            (Ok(producer), Ok(epoch), Ok(count @ 1..)) if base_sequence >= 0 => Ok(Some(Self {
                producer,
                epoch,
                base: Sequence(base_sequence),
                count,
            })),
            _ => Err(error),
        }
    }

    /// What a batch header says, as [`from_header`](Self::from_header).
    pub fn of(header: &BatchHeader) -> Result<Option<Self>, SequenceError> {
        Self::from_header(
            header.producer_id,
            header.producer_epoch,
            header.base_sequence,
            header.record_count,
        )
    }

    /// The producer.
    pub fn producer(&self) -> ProducerId {
        self.producer
    }

    /// The incarnation of the producer.
    pub fn epoch(&self) -> ProducerEpoch {
        self.epoch
    }

    /// The sequence of the first record.
    pub fn base(&self) -> Sequence {
        self.base
    }

    /// How many records; at least one.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The sequence that follows the last record.
    pub fn next(&self) -> Sequence {
        advance(self.base, self.count)
    }
}

/// The sequence `records` further on.
pub(super) fn advance(from: Sequence, records: u32) -> Sequence {
    let sum = u64::from(from.0.unsigned_abs()) + u64::from(records);
    let wrapped = sum % u64::from(MODULUS);
    Sequence(i32::try_from(wrapped).unwrap_or(i32::MAX))
}

/// How many sequences lie from `from` forward to `to`, wrapping.
pub(super) fn distance(from: Sequence, to: Sequence) -> u32 {
    to.0.wrapping_sub(from.0).cast_unsigned() % MODULUS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_wrap_to_zero_after_the_largest() {
        assert_eq!(advance(Sequence(0), 5), Sequence(5));
        assert_eq!(advance(Sequence(i32::MAX), 1), Sequence(0));
        assert_eq!(advance(Sequence(i32::MAX - 1), 4), Sequence(2));
        assert_eq!(advance(Sequence(7), MODULUS), Sequence(7));
    }

    #[test]
    fn distance_undoes_advance() {
        for from in [0, 1, 77, i32::MAX - 1, i32::MAX] {
            for records in [0, 1, 2, 1000, MODULUS - 1] {
                let from = Sequence(from);
                assert_eq!(distance(from, advance(from, records)), records);
            }
        }
    }

    #[test]
    fn a_header_without_a_producer_is_not_sequenced() {
        assert_eq!(Sequenced::from_header(-1, -1, -1, 3), Ok(None));
        let some = Sequenced::from_header(7, 1, i32::MAX, 2).unwrap().unwrap();
        assert_eq!(
            (some.producer(), some.epoch()),
            (ProducerId(7), ProducerEpoch(1))
        );
        assert_eq!(
            (some.base(), some.count(), some.next()),
            (Sequence(i32::MAX), 2, Sequence(1))
        );
    }

    #[test]
    fn half_a_producer_is_an_error() {
        for (id, epoch, base, count) in [
            (7, -1, 0, 1),
            (7, 0, -1, 1),
            (-1, 0, 0, 1),
            (-2, 0, 0, 1),
            (7, 0, 0, 0),
            (7, 0, 0, -1),
        ] {
            let error = Sequenced::from_header(id, epoch, base, count).unwrap_err();
            assert!(error.to_string().contains("either all three are -1"));
        }
    }
}
