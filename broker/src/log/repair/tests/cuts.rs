//! A lost newest file may have been begun by a truncation: then what the file before it ends with was
//! cut off, and must not come back.

use super::*;
use crate::log::tests::batch;

/// The log was cut behind this entry.
const CUT: u64 = 25;
/// Its last entry before the cut.
const OLD_END: u64 = 29;

/// A log that had entries up to 29 in term 1, of which a leader of term 3 replaced those behind 25.
/// With all that a leader has by now whose log ends here.
fn replaced(end: u64) -> (MemDir, Vec<Frame>) {
    let (dir, _) = built(OLD_END + 1);
    let mut log = open(&dir);
    log.truncate_after(Some(LogIndex(CUT))).unwrap();
    for index in CUT + 1..=end {
        let body = batch(2, 40, 2_000);
        append_and_wait(&mut log, vec![local(3, index, FrameKind::Batch, body)]);
    }
    let frames = all(&log);
    (dir, frames)
}

fn options(dir: &MemDir, term: u64) -> LogOptions {
    LogOptions {
        durable_file: newest_number(dir),
        unpurged: Some(LogIndex(0)),
        max_segment_bytes: 64 << 10,
        voted: Some(Term(term)),
        ..tiny()
    }
}

/// Every way in which the newest file is lost so that it does not say where it went on from.
fn losses(dir: &MemDir) -> Vec<MemDir> {
    let name = segments(dir).pop().unwrap();
    let gone = copy(dir);
    gone.remove(&name).unwrap();
    gone.sync_dir().unwrap();
    let garbled = copy(dir);
    garbled.damage(&name, |bytes| bytes.fill(0xa5)).unwrap();
    let beginning = copy(dir);
    beginning
        .damage(&name, |bytes| {
            bytes[..256].fill(0xa5);
            bytes[4096..4180].fill(0xa5);
        })
        .unwrap();
    vec![gone, garbled, beginning]
}

/// Repairs the log and gives what it holds, after another restart as well.
fn after(
    hurt: &MemDir,
    options: &LogOptions,
    other: &Other<'_>,
) -> Result<Vec<Frame>, RepairError> {
    let shared: Arc<dyn Dir> = Arc::new(hurt.clone());
    repair(&shared, options, other)?;
    let (log, recovered) = Log::open(Arc::clone(&shared), options.clone()).unwrap();
    assert_eq!(recovered.torn, None);
    let frames = all(&log);
    drop(log);
    let (log, _) = Log::open(shared, options.clone()).unwrap();
    assert!(same(&all(&log), &frames));
    Ok(frames)
}

#[test]
fn what_was_cut_off_does_not_come_back_when_the_file_that_cut_it_off_is_lost() {
    // The leader ends before, at and behind the end of what was cut off.
    for end in [CUT + 2, OLD_END, OLD_END + 8] {
        let (dir, frames) = replaced(end);
        for (nth, hurt) in losses(&dir).iter().enumerate() {
            let found = after(hurt, &options(&dir, 3), &Other::leader(&frames)).unwrap();
            assert!(
                same(&found, &frames),
                "loss {nth}, end {end}: {}",
                found.len()
            );
        }
    }
}

#[test]
fn a_lost_file_that_cut_far_back_into_earlier_files_is_found_to_have_done_so() {
    let (dir, _) = built(OLD_END + 1);
    let mut log = open(&dir);
    log.truncate_after(Some(LogIndex(3))).unwrap();
    let body = batch(2, 40, 2_000);
    append_and_wait(&mut log, vec![local(3, 4, FrameKind::Batch, body)]);
    let frames = all(&log);
    drop(log);
    // A crash before the files that no longer count were removed.
    let (before, _) = built(OLD_END + 1);
    for name in segments(&before)
        .iter()
        .filter(|name| dir.open(name).is_err())
    {
        let bytes = before.open(name).unwrap().slice(0..u64::MAX);
        put(&dir, name, &bytes);
    }
    for hurt in losses(&dir) {
        let found = after(&hurt, &options(&dir, 3), &Other::leader(&frames)).unwrap();
        assert!(same(&found, &frames), "{} frames", found.len());
    }
}

#[test]
fn a_lost_file_that_cut_nothing_off_goes_on_where_the_one_before_it_ends() {
    let (dir, frames) = built(ENTRIES);
    for hurt in losses(&dir) {
        let found = after(&hurt, &options(&dir, 1), &Other::leader(&frames)).unwrap();
        assert!(same(&found, &frames), "{} frames", found.len());
    }
}

#[test]
fn what_was_cut_off_stays_so_when_others_were_elected_meanwhile() {
    let (_, theirs) = replaced(OLD_END + 8);
    // It voted in term 2 and had cut off, but nothing of term 3 reached it.
    let (dir, _) = replaced(CUT);
    for hurt in losses(&dir) {
        let mut other = Other::leader(&theirs);
        other.leads = false;
        let found = after(&hurt, &options(&dir, 2), &other).unwrap();
        assert!(same(&found, &theirs[..=CUT as usize]), "{}", found.len());
    }
}

#[test]
fn a_replica_that_knows_of_nothing_committed_behind_the_cut_does_not_help() {
    let (dir, frames) = replaced(OLD_END + 8);
    for hurt in losses(&dir) {
        let mut other = Other::leader(&frames);
        (other.committed, other.leads) = (Some(LogIndex(CUT)), false);
        let refused = after(&hurt, &options(&dir, 3), &other);
        assert!(refused.is_err());
        let shared: Arc<dyn Dir> = Arc::new(hurt);
        assert!(Repair::begin(&shared, &options(&dir, 3)).unwrap().is_some());
    }
}

#[test]
fn a_file_without_its_header_says_by_its_first_frame_what_it_cut_off() {
    let (dir, frames) = replaced(OLD_END + 8);
    let hurt = copy(&dir);
    let name = segments(&dir).pop().unwrap();
    hurt.damage(&name, |bytes| bytes[..256].fill(0xa5)).unwrap();
    let found = after(&hurt, &options(&dir, 3), &Other::leader(&frames)).unwrap();
    assert!(same(&found, &frames));
}

#[test]
fn where_the_others_have_purged_what_would_tell_the_log_begins_again() {
    let (dir, frames) = replaced(OLD_END + 8);
    for hurt in losses(&dir) {
        let floor = CUT as usize + 1;
        let mut other = Other::leader(&frames[floor + 1..]);
        other.floor = Some(LastFrame::from(&frames[floor].head));
        let refused = after(&hurt, &options(&dir, 3), &other).unwrap_err();
        assert!(matches!(refused, RepairError::Purged { .. }), "{refused}");
    }
}

#[test]
fn a_file_with_a_hole_before_a_lost_one_is_repaired_with_it_and_nothing_cut_off_comes_back() {
    for end in [CUT + 2, OLD_END, OLD_END + 8] {
        let (dir, frames) = replaced(end);
        let names = segments(&dir);
        let name = &names[names.len() - 2];
        let bytes = dir.open(name).unwrap().slice(0..u64::MAX);
        let written = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        for at in (4096..written).step_by(331) {
            for (nth, hurt) in losses(&dir).iter().enumerate() {
                hurt.damage(name, |bytes| bytes[at] ^= 0x21).unwrap();
                let found = after(hurt, &options(&dir, 3), &Other::leader(&frames)).unwrap();
                let found = same(&found, &frames);
                assert!(found, "loss {nth}, end {end}, byte {at}");
            }
        }
    }
}
