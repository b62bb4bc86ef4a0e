//! Dead files that become the next ones: their old bytes never count, and whoever still reads them
//! keeps them.

use super::*;
use crate::log::dir::MeteredDir;
use crate::log::dump::dump;
use crate::log::{File, LogError, OpenError};
use crate::metrics::Metrics;

const NAME: &str = "00000001.seg";
/// Where a header says that the file was used before.
const REUSED_AT: usize = 152;

fn is_reused(file: &dyn File) -> bool {
    file.slice(REUSED_AT as u64..REUSED_AT as u64 + 1)[0] == 1
}

fn segments(dir: &dyn Dir) -> Vec<String> {
    let names = dir.list().unwrap().into_iter();
    names.filter(|name| name.ends_with(".seg")).collect()
}

/// The names of the files with a header that says that they were used before.
fn reused(dir: &dyn Dir) -> Vec<String> {
    let is_reused = |name: &String| is_reused(&*dir.open(name).unwrap());
    segments(dir).into_iter().filter(is_reused).collect()
}

fn entry(index: u64) -> NewFrame {
    batch_frame(index, 1 + index as u32 % 3, 500 + index as usize * 37 % 400)
}

fn check(log: &Log) {
    for frame in all(log) {
        let NewFrame { body, .. } = entry(frame.head.index.0);
        assert_eq!(frame.body[16..], body[16..], "entry {}", frame.head.index);
    }
}

/// Appends `count` entries; whenever a file is begun, the log keeps only the two before it.
pub(super) fn go_on(log: &mut Log, count: u64, calls: &Calls) -> Result<(), LogError> {
    for _ in 0..count {
        let index = log.last().map_or(1, |last| last.index.0 + 1);
        let before = log.newest_file();
        log.append([entry(index)], calls.expect(index))?;
        if log.newest_file() != before {
            let segments = log.reader().segments();
            if let [.., through, _, _, _] = &segments[..] {
                log.purge(LogIndex(through.next_index.0 - 1))?;
            }
        }
    }
    Ok(())
}

/// A log that has recycled files, the newest one among them.
pub(super) fn recycled(dir: &MemDir) -> Log {
    let mut log = open(dir);
    go_on(&mut log, 100, &Calls::default()).unwrap();
    for _ in 0..100 {
        let newest = dir.open(&format!("{:08}.seg", log.newest_file())).unwrap();
        if is_reused(&*newest) {
            return log;
        }
        go_on(&mut log, 1, &Calls::default()).unwrap();
    }
    panic!("no file is recycled");
}

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

fn disk_with(bytes: &[u8]) -> MemDir {
    let dir = MemDir::new();
    dir.create(NAME, bytes.len() as u64).unwrap();
    dir.sync_dir().unwrap();
    dir.damage(NAME, |stored| stored.copy_from_slice(bytes))
        .unwrap();
    dir
}

#[test]
fn in_the_long_run_every_new_file_is_an_old_one() {
    on_both(|dir| {
        let mut log = Log::open(Arc::clone(&dir), tiny()).unwrap().0;
        go_on(&mut log, 100, &Calls::default()).unwrap();
        for _ in 0..20 {
            let file = log.newest_file();
            while log.newest_file() == file {
                // A background thread has the next file ready long before it is needed.
                until_settled(&*dir);
                go_on(&mut log, 1, &Calls::default()).unwrap();
            }
            let index = log.last().unwrap().index.0 + 1;
            append_and_wait(&mut log, vec![entry(index)]);
        }
        check(&log);
        until_settled(&*dir);
        let first = log.first_index();
        let last = log.last();
        let (names, of) = (reused(&*dir), segments(&*dir));
        // All but the next one, which has no header yet.
        assert_eq!(names, of[..of.len() - 1]);
        drop(log);
        let log = Log::open(Arc::clone(&dir), tiny()).unwrap().0;
        assert_eq!((log.first_index(), log.last()), (first, last));
        check(&log);
        for name in segments(&*dir) {
            let bytes = dir.open(&name).unwrap().slice(0..u64::MAX);
            let dumped = dump(&bytes, &mut Vec::new()).unwrap();
            assert!(!dumped.damaged, "{name}");
        }
    });
}

/// Waits until all background work is done.
fn until_settled(dir: &dyn Dir) {
    let (done, all_done) = mpsc::channel();
    dir.offload(Box::new(move || done.send(()).unwrap()));
    all_done.recv_timeout(Duration::from_secs(30)).unwrap();
}

#[test]
fn no_page_of_a_used_file_has_to_be_read_before_it_is_written() {
    let dir = MemDir::new();
    let mut log = recycled(&dir);
    let file = log.newest_file();
    while log.newest_file() == file {
        go_on(&mut log, 1, &Calls::default()).unwrap();
    }
    let name = format!("{:08}.seg", file + 1);
    let first = log.last().unwrap().index;
    let mut looks = 0;
    while log.newest_file() == file + 1 {
        let frames = log.reader().frames(first, LogIndex(u64::MAX), usize::MAX);
        let frames = frames.unwrap();
        let len: u64 = frames.iter().map(|frame| frame.head.frame_len()).sum();
        let end = 4096 + len as usize;
        let bytes = dir.open(&name).unwrap().slice(0..u64::MAX);
        let rest = &bytes[end..end.next_multiple_of(4096)];
        assert!(rest.iter().all(|byte| *byte == 0), "behind {end}");
        looks += 1;
        let index = log.last().unwrap().index.0 + 1;
        log.append([entry(index)], ignore()).unwrap();
    }
    assert!(looks > 5, "{looks}");
}

#[test]
fn a_prepared_file_full_of_old_frames_counts_as_empty() {
    let dir = MemDir::new();
    let mut log = recycled(&dir);
    let file = log.newest_file();
    while log.newest_file() == file {
        go_on(&mut log, 1, &Calls::default()).unwrap();
    }
    let names = segments(&dir);
    let prepared = dir.open(names.last().unwrap()).unwrap().slice(0..u64::MAX);
    assert!(prepared[..4096].iter().all(|byte| *byte == 0));
    assert!(prepared[4096..].starts_with(b"HW"), "old frames are there");
    assert!(!dump(&prepared, &mut Vec::new()).unwrap().damaged);
    let last = log.last();
    drop(log);
    let (log, recovered) = Log::open(Arc::new(dir.clone()), tiny()).unwrap();
    assert_eq!((log.last(), recovered.torn), (last, None));
    assert_eq!(log.newest_file(), file + 1, "it is written on");
    check(&log);
}

#[test]
fn whoever_reads_a_purged_file_keeps_its_bytes_and_the_file_is_not_reused() {
    for reopened in [false, true] {
        let home = tempfile::tempdir().unwrap();
        let dir: Arc<dyn Dir> = Arc::new(FsDir::open(home.path(), 2).unwrap());
        let mut log = Log::open(Arc::clone(&dir), tiny()).unwrap().0;
        go_on(&mut log, 100, &Calls::default()).unwrap();
        until_settled(&*dir);
        let first = log.reader().segments()[0];
        let held = log
            .reader()
            .frames(first.first_index, first.next_index, usize::MAX);
        let held = held.unwrap();
        let bodies: Vec<Vec<u8>> = held.iter().map(|frame| frame.body.to_vec()).collect();
        if reopened {
            // The slices are of a map that another log has made.
            drop(log);
            log = Log::open(Arc::clone(&dir), tiny()).unwrap().0;
        }
        let mut rounds = 0;
        let newest = log.newest_file();
        while log.first_index() < first.next_index || rounds < 8 {
            let file = log.newest_file();
            while log.newest_file() == file {
                go_on(&mut log, 1, &Calls::default()).unwrap();
                until_settled(&*dir);
            }
            rounds += 1;
        }
        let index = log.last().unwrap().index.0 + 1;
        append_and_wait(&mut log, vec![entry(index)]);
        for (frame, body) in held.iter().zip(&bodies) {
            assert!(frame.body == body, "entry {}", frame.head.index);
        }
        let later: Vec<String> = reused(&*dir);
        assert!(
            later.iter().any(|name| *name > format!("{newest:08}.seg")),
            "other files are recycled: {later:?}"
        );
    }
}

#[test]
fn a_dead_file_that_is_read_is_removed() {
    let dir = MemDir::new();
    let mut log = recycled(&dir);
    let oldest = segments(&dir)[0].clone();
    let reader = dir.open(&oldest).unwrap();
    let before = reader.slice(0..u64::MAX);
    let file = log.newest_file();
    while log.newest_file() == file {
        go_on(&mut log, 1, &Calls::default()).unwrap();
    }
    let names = dir.list().unwrap();
    assert!(!names.contains(&oldest), "{names:?}");
    assert!(
        !names.iter().any(|name| name.ends_with(".old")),
        "{names:?}"
    );
    let newest = format!("{:08}.seg", log.newest_file());
    assert_eq!(segments(&dir).last(), Some(&newest), "none is prepared yet");
    assert!(reader.slice(0..u64::MAX) == before);
}

#[test]
fn a_purge_on_a_full_disk_gives_the_room_back() {
    let dir = MemDir::new();
    let mut log = recycled(&dir);
    while segments(&dir).last().unwrap() != &format!("{:08}.seg", log.newest_file() + 1) {
        go_on(&mut log, 1, &Calls::default()).unwrap();
    }
    let file = log.newest_file();
    let full = dir.disk_bytes().unwrap() + (2 << 20);
    // Less is left than what leaders keep free.
    dir.set_capacity(full - (2 << 20) + (1 << 20));
    while log.newest_file() == file {
        go_on(&mut log, 1, &Calls::default()).unwrap();
    }
    let newest = format!("{:08}.seg", log.newest_file());
    assert_eq!(segments(&dir).last(), Some(&newest), "none is kept");
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
            let dir = disk_with(&torn);
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
            let dir = disk_with(&rotten);
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
    let file = log.newest_file();
    let mut before = log.last();
    while log.newest_file() == file {
        before = log.last();
        go_on(&mut log, 1, &Calls::default()).unwrap();
    }
    let name = format!("{:08}.seg", log.newest_file());
    assert!(reused(&dir).contains(&name));
    drop(log);
    dir.damage(&name, |bytes| bytes[..4096].fill(0)).unwrap();
    let log = open(&dir);
    assert_eq!(log.last(), before);
    check(&log);
}

#[test]
fn what_was_cut_off_in_a_used_file_never_comes_back() {
    for seed in 0..60 {
        let dir = MemDir::new();
        let mut log = recycled(&dir);
        let last = log.last().unwrap().index.0;
        let old = (last + 1..last + 5).map(|index| batch_frame(index, 2, 200));
        append_and_wait(&mut log, old.collect());
        log.truncate_after(Some(LogIndex(last + 1))).unwrap();
        let new = local(2, last + 2, FrameKind::Batch, batch(1, 20, 5_000));
        let cut = seed % 3;
        match cut {
            0 => {}
            1 => append_and_wait(&mut log, vec![new]),
            _ => log.append([new], ignore()).unwrap(),
        }
        dir.power_cut(seed);
        drop(log);
        let frames = all(&open(&dir));
        let behind: Vec<_> = frames
            .iter()
            .map(|frame| (frame.head.index.0, frame.head.term.0))
            .filter(|(index, _)| *index > last)
            .collect();
        assert_eq!(behind[0], (last + 1, 1), "seed {seed}");
        let behind = &behind[1..];
        assert!(
            behind.is_empty() && cut != 1 || *behind == [(last + 2, 2)],
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

#[test]
fn it_is_counted_which_files_are_made_and_which_are_reused() {
    let (dir, metrics) = (MemDir::new(), Arc::new(Metrics::new([])));
    let metered = MeteredDir::new(Arc::new(dir.clone()), Arc::clone(&metrics));
    let mut log = Log::open(Arc::new(metered), tiny()).unwrap().0;
    go_on(&mut log, 3, &Calls::default()).unwrap();
    assert!(metrics.made_segments.get() > 0);
    assert_eq!(metrics.reused_segments.get(), 0);
    go_on(&mut log, 100, &Calls::default()).unwrap();
    let (made, reused) = (metrics.made_segments.get(), metrics.reused_segments.get());
    assert!(reused >= self::reused(&dir).len() as u64 && reused > 0);
    let newest = u64::from(log.newest_file());
    assert!(made < newest && made + reused >= newest, "{made}, {reused}");
}
