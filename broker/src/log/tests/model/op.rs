//! What may happen to a log.

use proptest::prelude::*;

/// One of them.
#[derive(Debug, Clone)]
pub(super) enum Op {
    Append {
        frames: Vec<(u8, u16)>,
    },
    /// Keep this many parts of 256 of what could be truncated.
    Truncate(u8),
    Purge(u8),
    /// A snapshot is installed that ends so many entries and records further on.
    Reset {
        entries: u8,
        records: u8,
    },
    /// Let some of the waiting syncs and background jobs finish, in any order.
    Finish {
        jobs: u8,
        order: u64,
    },
    /// The process dies: what it wrote stays in the page cache.
    Kill,
    PowerCut(u64),
    /// The machine dies within the operation, after so many operations of the disk.
    CutDuring {
        op: Box<Self>,
        after: u8,
        seed: u64,
    },
    /// One operation of the disk fails within the operation, and the process ends of it: the page
    /// cache may show what the disk never got.
    FailDuring {
        op: Box<Self>,
        at: u8,
        order: u64,
    },
    /// The machine dies while it recovers.
    CutRecovery {
        after: u8,
        first: u64,
        second: u64,
    },
}

/// Any operation.
pub(super) fn op() -> impl Strategy<Value = Op> {
    let append =
        prop::collection::vec((0u8..4, 0u16..1500), 1..12).prop_map(|frames| Op::Append { frames });
    let plain = prop_oneof![
        6 => append,
        1 => any::<u8>().prop_map(Op::Truncate),
        2 => any::<u8>().prop_map(Op::Purge),
        1 => (1u8..9, 0u8..9).prop_map(|(entries, records)| Op::Reset { entries, records }),
    ]
    .boxed();
    let fail = (plain.clone(), 0u8..12, any::<u64>()).prop_map(|(op, at, order)| Op::FailDuring {
        op: Box::new(op),
        at,
        order,
    });
    let cut = (plain.clone(), 0u8..12, any::<u64>()).prop_map(|(op, after, seed)| Op::CutDuring {
        op: Box::new(op),
        after,
        seed,
    });
    prop_oneof![
        8 => plain,
        4 => (1u8..4, any::<u64>()).prop_map(|(jobs, order)| Op::Finish { jobs, order }),
        1 => Just(Op::Kill),
        1 => any::<u64>().prop_map(Op::PowerCut),
        2 => cut,
        2 => fail,
        1 => (0u8..12, any::<u64>(), any::<u64>())
            .prop_map(|(after, first, second)| Op::CutRecovery { after, first, second }),
    ]
}
