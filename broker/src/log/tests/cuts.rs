//! What was cut off never comes back.

use super::*;

/// What becomes of a cut before the power goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// Nothing more.
    Nothing,
    /// A shorter entry of a later term is appended and synced.
    Synced,
    /// It is appended and not synced: it may be there or not.
    Unsynced,
}

/// Appends six entries behind `last`, cuts all but the first of them off, and lets the power go, in
/// one way for each seed. Gives the indexes and terms that are there afterwards.
pub(super) fn cut(dir: &MemDir, mut log: Log, last: u64, seed: u64) -> (After, Vec<(u64, u64)>) {
    let old = (last + 1..=last + 6).map(|index| batch_frame(index, 2, 200));
    append_and_wait(&mut log, old.collect());
    log.truncate_after(Some(LogIndex(last + 1))).unwrap();
    let new = local(2, last + 2, FrameKind::Batch, batch(1, 20, 5_000));
    let after = match seed % 3 {
        0 => After::Nothing,
        1 => {
            append_and_wait(&mut log, vec![new]);
            After::Synced
        }
        _ => {
            log.append([new], ignore()).unwrap();
            After::Unsynced
        }
    };
    dir.power_cut(seed);
    drop(log);
    let ids = all(&open(dir)).into_iter();
    let ids = ids.map(|frame| (frame.head.index.0, frame.head.term.0));
    (after, ids.collect())
}

#[test]
fn entries_that_were_cut_off_never_come_back_behind_shorter_ones() {
    for seed in 0..60 {
        let dir = MemDir::new();
        let mut log = open(&dir);
        let first = (1..=2).map(|index| batch_frame(index, 2, 200));
        log.append(first, ignore()).unwrap();
        let (after, terms) = cut(&dir, log, 2, seed);
        let kept = [(1, 1), (2, 1), (3, 1)];
        assert_eq!(terms[..3], kept, "seed {seed}");
        let behind = &terms[3..];
        assert!(
            behind.is_empty() && after != After::Synced || *behind == [(4, 2)],
            "seed {seed}: {terms:?}"
        );
    }
}
