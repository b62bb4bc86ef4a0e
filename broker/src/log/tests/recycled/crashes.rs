//! What a crash, a failing disk or rot may leave of a file that is used a second time.

use super::*;
use crate::log::OpenError;
use crate::log::tests::cuts::{After, cut};

const NAME: &str = "00000001.seg";

/// The example of a file that is used a second time, full of frames of its first use: three groups,
/// two of them synced, and where its frames begin and end.
fn example_bytes() -> (Vec<u8>, Vec<usize>) {
    let old = MemDir::new();
    let mut log = open(&old);
    go_on(&mut log, 40, &Calls::default()).unwrap();
    let names = segments(&old);
    let old = old
        .open(&names[names.len() - 2])
        .unwrap()
        .slice(0..u64::MAX);
    let dir = MemDir::new();
    let mut log = open(&dir);
    append_and_wait(
        &mut log,
        vec![batch_frame(1, 2, 100), batch_frame(2, 1, 50)],
    );
    append_and_wait(&mut log, vec![batch_frame(3, 3, 150)]);
    let last = [batch_frame(4, 2, 120), batch_frame(5, 1, 40)];
    log.append(last, ignore()).unwrap();
    let mut ends = vec![4096];
    for frame in all(&log) {
        ends.push(ends.last().unwrap() + frame.head.frame_len() as usize);
    }
    let mut bytes = dir.open(NAME).unwrap().slice(0..u64::MAX).to_vec();
    let end = *ends.last().unwrap();
    let len = bytes.len();
    bytes[end..].copy_from_slice(&old[end..len]);
    bytes[REUSED_AT] = 1;
    let crc = crc32fast::hash(&bytes[..252]);
    bytes[252..256].copy_from_slice(&crc.to_le_bytes());
    (bytes, ends)
}

/// What lies where nothing of the second use was written.
fn old_bytes(len: usize) -> Vec<u8> {
    let dir = MemDir::new();
    let mut log = open(&dir);
    go_on(&mut log, 60, &Calls::default()).unwrap();
    let names = segments(&dir);
    let old = dir.open(&names[names.len() - 3]).unwrap();
    old.slice(0..len as u64).to_vec()
}

#[test]
fn the_last_unsynced_group_torn_at_any_byte_of_a_used_file_vanishes_as_a_suffix() {
    let (bytes, ends) = example_bytes();
    let old = old_bytes(bytes.len());
    let (from, until) = (ends[3], ends[5]);
    type Way = fn(&mut [u8], &[u8], usize, usize);
    let ways: [Way; 5] = [
        // From here on, or only here, or only before, or one sector the disk has what was there before.
        |bytes, old, at, end| bytes[at..end].copy_from_slice(&old[at..end]),
        |bytes, old, at, _| bytes[at] = !old[at],
        |bytes, old, at, _| bytes[at] = old[at],
        |bytes, old, at, _| bytes[at & !511..at].copy_from_slice(&old[at & !511..at]),
        |bytes, _, at, end| bytes[at..end].fill(0),
    ];
    for (way, tear) in ways.iter().enumerate() {
        for at in from..until {
            let mut torn = bytes.clone();
            tear(&mut torn, &old, at, until);
            torn[..from].copy_from_slice(&bytes[..from]);
            let dir = disk_with(NAME, &torn);
            let (mut log, recovered) = Log::open(Arc::new(dir.clone()), tiny()).unwrap();
            let last = log.last().unwrap().index.0;
            let changed = (from..until).find(|at| torn[*at] != bytes[*at]);
            let whole = changed.map_or(5, |at| ends.iter().rposition(|end| *end <= at).unwrap());
            // Padding is covered by nothing, because it means nothing.
            assert!(
                last >= whole as u64 && (3..=5).contains(&last),
                "way {way}, byte {at}: entry {last}"
            );
            for (frame, index) in all(&log).iter().zip(1..) {
                let known = &bytes[ends[index - 1] + 88..];
                assert!(known.starts_with(&frame.body), "way {way}, byte {at}");
            }
            // What is left of a frame's header is found, or cannot be told from what was there.
            let generation = ends[last as usize] + 72..ends[last as usize] + 76;
            let told = last < 5 && torn[generation.clone()] == bytes[generation];
            assert!(!told || recovered.torn.is_some(), "way {way}, byte {at}");
            append_and_wait(&mut log, vec![batch_frame(last + 1, 1, 10)]);
            drop(log);
            let log = open(&dir);
            assert_eq!(log.last().unwrap().index.0, last + 1);
        }
    }
}

#[test]
fn damage_at_any_byte_of_what_was_durable_in_a_used_file_is_refused() {
    let (bytes, ends) = example_bytes();
    let old = old_bytes(bytes.len());
    type Way = fn(&mut [u8], &[u8], usize);
    let ways: [Way; 2] = [
        |bytes, _, at| bytes[at] ^= 0x10,
        |bytes, old, at| bytes[at..at + 64].copy_from_slice(&old[at..at + 64]),
    ];
    for rot in ways {
        for at in 4096..ends[3] - 64 {
            let mut rotten = bytes.clone();
            rot(&mut rotten, &old, at);
            let dir = disk_with(NAME, &rotten);
            match Log::open(Arc::new(dir.clone()), tiny()) {
                Err(OpenError::Damaged(damage)) => {
                    assert!(ends.contains(&(damage.position as usize)), "byte {at}");
                    let stored = dir.open(NAME).unwrap().slice(0..u64::MAX);
                    assert!(stored == rotten, "byte {at}: the file was changed");
                }
                Ok((log, _)) => {
                    for (frame, index) in all(&log).iter().zip(1..) {
                        let known = &bytes[ends[index - 1] + 88..];
                        assert!(known.starts_with(&frame.body), "byte {at}");
                    }
                    assert_eq!(log.last().unwrap().index, LogIndex(5), "byte {at}");
                }
                Err(error) => panic!("byte {at}: {error}"),
            }
        }
    }
}

#[test]
fn a_used_file_whose_header_was_never_written_does_not_count() {
    let dir = MemDir::new();
    let mut log = recycled(&dir);
    roll(&mut log, || ());
    let last = log.reader().segments().pop().unwrap();
    let before = LogIndex(last.first_index.0 - 1);
    let name = format!("{:08}.seg", log.newest_file());
    assert!(reused(&dir).contains(&name));
    drop(log);
    dir.damage(&name, |bytes| bytes[..4096].fill(0)).unwrap();
    let log = open(&dir);
    assert_eq!(log.last().map(|last| last.index), Some(before));
    check(&log);
}

#[test]
fn what_was_cut_off_in_a_used_file_never_comes_back() {
    for seed in 0..60 {
        let dir = MemDir::new();
        let log = recycled(&dir);
        let last = log.last().unwrap().index.0;
        let (after, mut ids) = cut(&dir, log, last, seed);
        ids.retain(|(index, _)| *index > last);
        assert_eq!(ids[0], (last + 1, 1), "seed {seed}");
        let behind = &ids[1..];
        assert!(
            behind.is_empty() && after != After::Synced || *behind == [(last + 2, 2)],
            "seed {seed}: {behind:?}"
        );
    }
}

/// One operation of the disk fails, or all from one on, at every step of files being recycled; then
/// the power goes.
#[test]
fn any_step_of_recycling_may_fail_or_be_the_last_and_nothing_acknowledged_is_lost() {
    for all_fail in [false, true] {
        for n in 0.. {
            let dir = MemDir::new();
            let mut log = recycled(&dir);
            let floor = log.first_index().0;
            let calls = Calls::default();
            let before = dir.operations();
            match all_fail {
                true => dir.fail_from_operation(Some(n)),
                false => dir.fail_operation(n),
            }
            let finished = go_on(&mut log, 45, &calls);
            let failed = dir.operations() - before > n;
            drop(log);
            dir.fail_from_operation(None);
            let seen = calls.seen();
            let acked = seen.iter().filter(|(_, ok)| *ok).map(|(index, _)| *index);
            let acked = acked.max().unwrap_or(0);
            for seed in 0..4 {
                dir.power_cut(seed);
                let mut log = open(&dir);
                let last = log.last().map_or(0, |last| last.index.0);
                assert!(
                    last >= acked,
                    "operation {n}: {acked} lost, it ends at {last}"
                );
                assert!(log.first_index().0 >= floor.min(last));
                check(&log);
                let left = dir.list().unwrap();
                assert!(!left.iter().any(|name| name.ends_with(".old")), "{left:?}");
                go_on(&mut log, 1, &Calls::default()).unwrap();
            }
            if !failed {
                finished.unwrap();
                assert!(reused(&dir).len() > 1);
                break;
            }
        }
    }
}

#[test]
fn a_dead_file_that_a_crash_left_is_removed_at_the_next_start() {
    let dir = MemDir::new();
    let log = recycled(&dir);
    let last = log.last();
    drop(log);
    let old = segments(&dir)[0].clone();
    let bytes = dir.open(&old).unwrap().slice(0..u64::MAX);
    let dead = dir.create("00000001.old", bytes.len() as u64).unwrap();
    dead.write_at(&[std::io::IoSlice::new(&bytes)], 0).unwrap();
    dir.create("notes.old", 5).unwrap();
    let log = open(&dir);
    assert_eq!(log.last(), last);
    let names = dir.list().unwrap();
    assert!(!names.contains(&"00000001.old".to_owned()), "{names:?}");
    assert!(names.contains(&"notes.old".to_owned()), "not one of ours");
}
