//! Dead files that become the next ones: their old bytes never count, and whoever still reads them
//! keeps them.

use super::*;
use crate::log::dir::{HeldDisk, MeteredDir};
use crate::log::dump::dump;
use crate::log::{File, LogError};
use crate::metrics::Metrics;

mod crashes;

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

#[test]
fn in_the_long_run_every_new_file_is_an_old_one() {
    on_both(|dir| {
        let mut log = Log::open(Arc::clone(&dir), tiny()).unwrap().0;
        go_on(&mut log, 100, &Calls::default()).unwrap();
        for _ in 0..20 {
            // A background thread has the next file ready long before it is needed.
            roll(&mut log, || until_settled(&*dir));
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

/// Appends until a file is begun. `between` comes before each entry and at the end.
fn roll(log: &mut Log, between: impl Fn()) {
    let file = log.newest_file();
    while log.newest_file() == file {
        between();
        go_on(log, 1, &Calls::default()).unwrap();
    }
    between();
}

#[test]
fn no_page_of_a_used_file_has_to_be_read_before_it_is_written() {
    let dir = MemDir::new();
    let mut log = recycled(&dir);
    roll(&mut log, || ());
    let file = log.newest_file();
    let name = format!("{file:08}.seg");
    let first = log.last().unwrap().index;
    let mut looks = 0;
    while log.newest_file() == file {
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
    roll(&mut log, || ());
    let file = log.newest_file();
    let names = segments(&dir);
    let prepared = dir.open(names.last().unwrap()).unwrap().slice(0..u64::MAX);
    assert!(prepared[..4096].iter().all(|byte| *byte == 0));
    assert!(prepared[4096..].starts_with(b"HW"), "old frames are there");
    assert!(!dump(&prepared, &mut Vec::new()).unwrap().damaged);
    let last = log.last();
    drop(log);
    let (log, recovered) = Log::open(Arc::new(dir.clone()), tiny()).unwrap();
    assert_eq!((log.last(), recovered.torn), (last, None));
    assert_eq!(log.newest_file(), file, "it is written on");
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
            roll(&mut log, || until_settled(&*dir));
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
    roll(&mut log, || ());
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

#[tokio::test]
async fn what_a_closed_log_still_had_to_recycle_leaves_the_files_of_the_next_one_alone() {
    let (mut disk, dir) = HeldDisk::new();
    let mut log = recycled(&dir);
    let before = log.newest_file();
    while log.newest_file() == before {
        let index = log.last().unwrap().index.0 + 1;
        log.append([entry(index)], ignore()).unwrap();
    }
    let oldest = log.reader().segments()[0];
    let newest = log.newest_file();
    disk.hold();
    log.purge(LogIndex(oldest.next_index.0 - 1)).unwrap();
    let recycling = tokio::time::timeout(Duration::from_secs(30), disk.next());
    let recycling = recycling.await.expect("it is recycled");
    assert_eq!(disk.release(), 0);
    let names = dir.list().unwrap();
    assert!(names.iter().any(|name| name.ends_with(".old")), "{names:?}");
    drop(log);

    let mut log = open(&dir);
    roll(&mut log, || ());
    assert_eq!(log.newest_file(), newest + 1);
    let (last, names) = (log.last(), dir.list().unwrap());
    recycling();
    assert_eq!(dir.list().unwrap(), names);
    drop(log);
    let log = open(&dir);
    assert_eq!(log.last(), last);
    check(&log);
}

#[tokio::test]
async fn what_a_closed_log_still_had_to_prepare_keeps_the_next_one_from_nothing() {
    let (mut disk, dir) = HeldDisk::new();
    let mut log = open(&dir);
    disk.hold();
    log.append([entry(1)], ignore()).unwrap();
    let preparing = tokio::time::timeout(Duration::from_secs(30), disk.next());
    let preparing = preparing.await.expect("it is prepared");
    disk.release();
    drop(log);

    let mut log = open(&dir);
    preparing();
    assert_eq!(segments(&dir), ["00000001.seg", "00000002.seg"]);
    append_and_wait(&mut log, (2..=20).map(entry).collect());
    assert!(log.newest_file() > 2);
    drop(log);
    let log = open(&dir);
    assert_eq!(log.last().unwrap().index, LogIndex(20));
    check(&log);
}

#[test]
fn a_purge_on_a_full_disk_gives_the_room_back() {
    let dir = MemDir::new();
    let mut log = recycled(&dir);
    while segments(&dir).last().unwrap() != &format!("{:08}.seg", log.newest_file() + 1) {
        go_on(&mut log, 1, &Calls::default()).unwrap();
    }
    let full = dir.disk_bytes().unwrap() + (2 << 20);
    // Less is left than what leaders keep free.
    dir.set_capacity(full - (2 << 20) + (1 << 20));
    roll(&mut log, || ());
    let newest = format!("{:08}.seg", log.newest_file());
    assert_eq!(segments(&dir).last(), Some(&newest), "none is kept");
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
