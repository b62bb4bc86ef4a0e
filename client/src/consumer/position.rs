//! Where a consumer begins and ends. Pure.

use std::collections::BTreeMap;

use highwater_proto::{Offset, PartitionIndex, Timestamp};

use crate::admin::{Offsets, Position};

/// Where to begin in each partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// At the first record that can be read.
    #[default]
    Earliest,
    /// After the last record there is now: new ones only.
    Latest,
    /// At this offset.
    Offset(Offset),
    /// At these offsets; partitions that are not named begin at their first record.
    Offsets(BTreeMap<PartitionIndex, Offset>),
    /// At the first record with this time or a later one.
    Timestamp(Timestamp),
    /// This many records before the end of each partition.
    LastN(u64),
}

/// Where to end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Until {
    /// Nowhere: wait for more.
    #[default]
    Never,
    /// At each partition's high watermark as it is when the consumer starts.
    Latest,
    /// Before these offsets; partitions that are not named do not end.
    Offsets(BTreeMap<PartitionIndex, Offset>),
}

impl Start {
    /// The offset to begin at, when it needs no look-up.
    pub(super) fn known(&self, partition: PartitionIndex) -> Option<Offset> {
        match self {
            Self::Offset(offset) => Some(*offset),
            Self::Offsets(offsets) => offsets.get(&partition).copied(),
            Self::Earliest | Self::Latest | Self::Timestamp(_) | Self::LastN(_) => None,
        }
    }

    /// The position to look up.
    pub(super) fn position(&self) -> Position {
        match self {
            Self::Timestamp(time) => Position::Timestamp(*time),
            Self::Latest | Self::LastN(_) => Position::Latest,
            Self::Earliest | Self::Offset(_) | Self::Offsets(_) => Position::Earliest,
        }
    }

    /// The offset to begin at, given the look-up of [`Start::position`].
    pub(super) fn resolve(&self, partition: PartitionIndex, found: &Offsets) -> Offset {
        match self {
            Self::LastN(n) => {
                let start = found.high_watermark.0.saturating_sub(*n);
                Offset(start).max(found.log_start_offset)
            }
            other => other.known(partition).unwrap_or(found.offset),
        }
    }
}

impl Until {
    /// Whether the end of the partition must be looked up.
    pub(super) fn needs_lookup(&self) -> bool {
        *self == Self::Latest
    }

    /// The end of the partition, given its high watermark.
    pub(super) fn resolve(
        &self,
        partition: PartitionIndex,
        high_watermark: Offset,
    ) -> Option<Offset> {
        match self {
            Self::Never => None,
            Self::Latest => Some(high_watermark),
            Self::Offsets(offsets) => offsets.get(&partition).copied(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: PartitionIndex = PartitionIndex(1);

    fn found(offset: u64) -> Offsets {
        Offsets {
            offset: Offset(offset),
            log_start_offset: Offset(10),
            high_watermark: Offset(50),
            leader_epoch: 1,
        }
    }

    #[test]
    fn the_last_records_never_begin_below_the_log_start() {
        assert_eq!(Start::LastN(5).resolve(P, &found(50)), Offset(45));
        assert_eq!(Start::LastN(500).resolve(P, &found(50)), Offset(10));
        assert_eq!(Start::LastN(0).resolve(P, &found(50)), Offset(50));
    }

    #[test]
    fn given_offsets_are_taken_as_they_are_and_others_are_looked_up() {
        assert_eq!(Start::Offset(Offset(7)).resolve(P, &found(10)), Offset(7));
        let some = Start::Offsets([(P, Offset(20))].into());
        assert_eq!(some.known(P), Some(Offset(20)));
        assert_eq!(some.known(PartitionIndex(2)), None);
        assert_eq!(some.resolve(PartitionIndex(2), &found(10)), Offset(10));
        assert_eq!(
            Start::Timestamp(Timestamp(1)).resolve(P, &found(33)),
            Offset(33)
        );
    }

    #[test]
    fn the_end_is_the_high_watermark_an_offset_or_nowhere() {
        assert_eq!(Until::Never.resolve(P, Offset(50)), None);
        assert_eq!(Until::Latest.resolve(P, Offset(50)), Some(Offset(50)));
        let some = Until::Offsets([(P, Offset(20))].into());
        assert_eq!(some.resolve(P, Offset(50)), Some(Offset(20)));
        assert_eq!(some.resolve(PartitionIndex(2), Offset(50)), None);
    }
}
