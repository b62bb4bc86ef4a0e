//! A damaged log gets back exactly what it lost, or stays as damaged as it was.

use std::sync::Arc;

use highwater_proto::LogIndex;

use super::*;
use crate::log::tests::{all, append_and_wait, batch_frame, local, open, tiny};
use crate::log::{Dir, Frame, FrameKind, Log, MemDir};

mod behind;
mod changed;
mod cuts;
mod short;
mod unreadable;
mod voted;

const ENTRIES: u64 = 40;

/// A log of several files; entry 0 founds it, as in every group.
fn built(entries: u64) -> (MemDir, Vec<Frame>) {
    let dir = MemDir::new();
    let mut log = open(&dir);
    append_and_wait(&mut log, vec![local(0, 0, FrameKind::Blank, Bytes::new())]);
    for index in 1..entries {
        append_and_wait(
            &mut log,
            vec![batch_frame(index, 2, 700 + index as usize * 7)],
        );
    }
    let frames = all(&log);
    (dir, frames)
}

/// Another replica of the log: what it gives from an index on, a few frames at a time.
struct Other<'a> {
    frames: &'a [Frame],
    committed: Option<LogIndex>,
    leads: bool,
    /// What it has purged.
    floor: Option<LastFrame>,
}

impl<'a> Other<'a> {
    fn leader(frames: &'a [Frame]) -> Self {
        let committed = frames.last().map(|frame| frame.head.index);
        Self {
            frames,
            committed,
            leads: true,
            floor: None,
        }
    }

    fn give(&self, from: LogIndex) -> Supply {
        let before = from.0.checked_sub(1).and_then(|index| {
            let frame = self
                .frames
                .iter()
                .find(|frame| frame.head.index.0 == index)?;
            Some(LastFrame::from(&frame.head))
        });
        let wanted = self.frames.iter().filter(|frame| frame.head.index >= from);
        let frames: Vec<_> = wanted.take(3).cloned().collect();
        let end = frames.last().or(self.frames.last());
        let complete = self.leads
            && end.is_none_or(|f| f.head.index == self.frames[self.frames.len() - 1].head.index);
        Supply {
            before,
            floor: self.floor.filter(|floor| from <= floor.index.next()),
            frames,
            committed: self.committed,
            complete,
        }
    }
}

/// Repairs everything that is damaged, and says which files that were.
fn repair(
    dir: &Arc<dyn Dir>,
    options: &LogOptions,
    other: &Other<'_>,
) -> Result<Vec<RepairedFile>, RepairError> {
    let mut repaired = Vec::new();
    while let Some(mut repair) = Repair::begin(dir, options)? {
        let mut step = repair.step(None)?;
        while let Step::Need(from) = step {
            step = repair.step(Some(other.give(from)))?;
        }
        if let Step::Repaired(file) = step {
            repaired.push(file);
        }
        assert!(
            repaired.len() < 20,
            "a repair changes nothing: {repaired:?}"
        );
    }
    Ok(repaired)
}

fn copy(dir: &MemDir) -> MemDir {
    let new = MemDir::new();
    for name in dir.list().unwrap() {
        let bytes = dir.open(&name).unwrap().slice(0..u64::MAX);
        put(&new, &name, &bytes);
    }
    new
}

fn put(dir: &MemDir, name: &str, bytes: &[u8]) {
    let file = dir.create(name, bytes.len() as u64).unwrap();
    file.write_at(&[std::io::IoSlice::new(bytes)], 0).unwrap();
    file.sync_now().unwrap();
    dir.sync_dir().unwrap();
}

/// The files that hold something; the one prepared for the next roll does not.
fn segments(dir: &MemDir) -> Vec<String> {
    let used =
        |name: &String| name.ends_with(".seg") && dir.open(name).unwrap().slice(0..1)[..] != [0];
    dir.list().unwrap().into_iter().filter(used).collect()
}

fn newest_number(dir: &MemDir) -> u32 {
    let newest = segments(dir).pop().unwrap();
    newest.strip_suffix(".seg").unwrap().parse().unwrap()
}

fn same(found: &[Frame], expected: &[Frame]) -> bool {
    found.len() == expected.len()
        && found
            .iter()
            .zip(expected)
            .all(|(a, b)| a.head == b.head && a.body == b.body)
}

/// Damages a copy, repairs it, and compares it with what was there.
fn healed(
    dir: &MemDir,
    frames: &[Frame],
    options: &LogOptions,
    damage: impl FnOnce(&MemDir),
) -> Vec<RepairedFile> {
    let hurt = copy(dir);
    damage(&hurt);
    let shared: Arc<dyn Dir> = Arc::new(hurt.clone());
    let repaired = repair(&shared, options, &Other::leader(frames)).unwrap();
    let (log, recovered) = Log::open(shared, options.clone()).unwrap();
    assert!(same(&all(&log), frames), "repaired {repaired:?}");
    assert_eq!(recovered.torn, None);
    for file in &repaired {
        if let Some(kept) = &file.quarantined {
            let place = hurt.subdir(QUARANTINE).unwrap();
            assert!(
                kept.strip_prefix("quarantine/")
                    .is_some_and(|name| place.list().unwrap().contains(&name.to_owned()))
            );
        }
    }
    repaired
}

#[test]
fn damage_at_any_place_of_any_file_is_repaired_with_the_exact_frames() {
    let (dir, frames) = built(ENTRIES);
    let names = segments(&dir);
    assert!(names.len() >= 4, "several files: {names:?}");
    let mut repairs = 0;
    for name in &names {
        let original = dir.open(name).unwrap().slice(0..u64::MAX);
        let written = original
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |at| at + 1);
        let places = (0..256).step_by(7).chain((4096..written).step_by(61));
        for at in places {
            let repaired = healed(&dir, &frames, &tiny(), |hurt| {
                hurt.damage(name, |bytes| bytes[at] ^= 0x21).unwrap();
            });
            repairs += repaired.len();
            let after = repaired.first().map(|file| file.file.clone());
            assert!(
                after.is_none() || after.as_ref() == Some(name),
                "byte {at} of {name}: {after:?}"
            );
        }
    }
    assert!(repairs > 100, "{repairs} repairs");
}

#[test]
fn zeroed_pages_cut_files_and_missing_files_are_repaired() {
    let (dir, frames) = built(ENTRIES);
    let options = LogOptions {
        durable_file: newest_number(&dir),
        unpurged: Some(LogIndex(0)),
        ..tiny()
    };
    for name in &segments(&dir) {
        let len = dir.open(name).unwrap().len() as usize;
        for page in (0..len).step_by(4096) {
            healed(&dir, &frames, &options, |hurt| {
                hurt.damage(name, |bytes| bytes[page..page + 4096].fill(0))
                    .unwrap();
            });
        }
        for cut in [0, 100, 4096, 5000, 8192] {
            let cut = cut.min(len);
            let repaired = healed(&dir, &frames, &options, |hurt| {
                let bytes = hurt.open(name).unwrap().slice(0..cut as u64).to_vec();
                hurt.remove(name).unwrap();
                put(hurt, name, &bytes);
            });
            assert!(cut == len || repaired.len() <= 1, "{name} cut at {cut}");
        }
        let newest = *segments(&dir).last().unwrap() == *name;
        let repaired = healed(&dir, &frames, &options, |hurt| {
            hurt.remove(name).unwrap();
            hurt.sync_dir().unwrap();
        });
        assert_eq!(repaired.len(), 1, "{name} missing, newest: {newest}");
        assert_eq!(repaired[0].quarantined, None);
    }
}

#[test]
fn a_repaired_file_is_byte_equal_but_for_what_only_its_writer_knew() {
    let (dir, _) = built(ENTRIES);
    let name = &segments(&dir)[1];
    let frames = all(&open(&dir));
    let hurt = copy(&dir);
    hurt.damage(name, |bytes| bytes[4096..6000].fill(0xaa))
        .unwrap();
    let damaged = hurt.open(name).unwrap().slice(0..u64::MAX);
    let shared: Arc<dyn Dir> = Arc::new(hurt.clone());
    let repaired = repair(&shared, &tiny(), &Other::leader(&frames)).unwrap();
    let (before, after) = (
        dir.open(name).unwrap().slice(0..u64::MAX),
        hurt.open(name).unwrap().slice(0..u64::MAX),
    );
    let from = repaired[0].first.unwrap();
    let mut at = 4096;
    for frame in frames
        .iter()
        .filter(|frame| frame.head.index >= from && frame.head.index <= repaired[0].last.unwrap())
    {
        let end = at + frame.head.frame_len() as usize;
        assert_eq!(before[at..at + 72], after[at..at + 72]);
        assert_eq!(before[at + 88..end], after[at + 88..end]);
        at = end;
    }
    assert_eq!(before[at..], after[at..], "what was whole is as it was");
    let kept = hurt
        .subdir(QUARANTINE)
        .unwrap()
        .open(name)
        .unwrap()
        .slice(0..u64::MAX);
    assert_eq!(kept, damaged, "the damaged file is kept");
}

#[test]
fn a_crash_or_an_error_anywhere_in_a_repair_leaves_the_log_damaged_or_repaired() {
    let (dir, frames) = built(ENTRIES);
    let mut finished = 0;
    for name in [&segments(&dir)[1], segments(&dir).last().unwrap()] {
        for operation in 0..400 {
            let hurt = copy(&dir);
            hurt.damage(name, |bytes| bytes[4200] ^= 1).unwrap();
            let shared: Arc<dyn Dir> = Arc::new(hurt.clone());
            hurt.fail_operation(operation);
            let done = repair(&shared, &tiny(), &Other::leader(&frames)).is_ok();
            hurt.fail_from_operation(None);
            hurt.power_cut(operation);
            match Repair::begin(&shared, &tiny()).unwrap() {
                Some(_) => {
                    assert!(!done, "operation {operation}: a finished repair was lost");
                    repair(&shared, &tiny(), &Other::leader(&frames)).unwrap();
                }
                None => finished += 1,
            }
            let (log, recovered) = Log::open(shared, tiny()).unwrap();
            assert!(same(&all(&log), &frames), "operation {operation}");
            assert_eq!(recovered.torn, None, "operation {operation}");
            if done {
                break;
            }
            assert!(operation < 399, "the repair takes more operations");
        }
    }
    assert!(finished >= 2);
}

#[test]
fn what_is_not_committed_is_not_taken_at_the_end_of_the_log() {
    let (dir, frames) = built(12);
    let name = segments(&dir).last().unwrap().clone();
    let hurt = copy(&dir);
    let stored = dir.open(&name).unwrap().slice(0..u64::MAX);
    let last = frames[frames.len() - 1].head.frame_len() as usize;
    let end = stored.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let from = end.next_multiple_of(8) - last;
    hurt.damage(&name, |bytes| bytes[from..].fill(0)).unwrap();
    let shared: Arc<dyn Dir> = Arc::new(hurt);
    let mut other = Other::leader(&frames);
    (other.committed, other.leads) = (Some(LogIndex(9)), false);
    let refused = repair(&shared, &tiny(), &other).unwrap_err();
    assert!(
        refused.to_string().contains("not known to be committed"),
        "{refused}"
    );
    assert!(Repair::begin(&shared, &tiny()).unwrap().is_some());
    // A leader that has no more, and says so with a majority, proves that it never was committed.
    let shorter = &frames[..11];
    repair(&shared, &tiny(), &Other::leader(shorter)).unwrap();
    let (log, _) = Log::open(shared, tiny()).unwrap();
    assert!(same(&all(&log), shorter));
}

#[test]
fn frames_of_another_history_are_refused() {
    let (dir, frames) = built(ENTRIES);
    let (_, mut others) = built(ENTRIES);
    let foreign = {
        let dir = MemDir::new();
        let mut log = open(&dir);
        append_and_wait(&mut log, vec![local(0, 0, FrameKind::Blank, Bytes::new())]);
        for index in 1..ENTRIES {
            append_and_wait(&mut log, vec![batch_frame(index, 1, 300)]);
        }
        all(&log)
    };
    let name = &segments(&dir)[1];
    let hurt = copy(&dir);
    hurt.damage(name, |bytes| bytes[4096..6000].fill(0))
        .unwrap();
    let shared: Arc<dyn Dir> = Arc::new(hurt.clone());
    let before = hurt.open(name).unwrap().slice(0..u64::MAX);
    let refused = repair(&shared, &tiny(), &Other::leader(&foreign)).unwrap_err();
    assert!(
        matches!(refused, RepairError::Disagrees { .. }),
        "{refused}"
    );
    let lost = frames
        .iter()
        .position(|f| f.head.index == LogIndex(0))
        .unwrap();
    others.drain(lost..lost + 12);
    let refused = repair(&shared, &tiny(), &Other::leader(&others)).unwrap_err();
    assert!(
        matches!(
            refused,
            RepairError::NotThere { .. } | RepairError::Mismatch { .. }
        ),
        "{refused}"
    );
    assert_eq!(
        hurt.open(name).unwrap().slice(0..u64::MAX),
        before,
        "nothing was changed"
    );
}
