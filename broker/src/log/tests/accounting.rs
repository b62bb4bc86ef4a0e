//! What files take on the disk is what is counted, whatever could not be given back, was cut off, or
//! could not be removed.

use super::*;
use crate::log::SegmentInfo;
use crate::log::dir::Job;

/// Appends entries of which two do not fit into a file, so that each full one has a rest.
fn append_large(log: &mut Log, count: u64) {
    for _ in 0..count {
        let index = log.last().map_or(1, |last| last.index.0 + 1);
        append_and_wait(log, vec![batch_frame(index, 1, 6_500)]);
    }
}

/// What its files take by the log, now and settled, and by its room.
fn counted(log: &Log) -> (u64, u64, u64) {
    let files = log.reader().segments();
    let sum = |bytes: fn(&SegmentInfo) -> u64| files.iter().map(bytes).sum();
    let now = sum(|file| file.disk_bytes);
    (now, sum(|file| file.bytes), log.room().file_bytes())
}

/// What the segment files that are in use take by the file system.
fn measured(dir: &dyn Dir, log: &Log) -> u64 {
    let names = dir.list().unwrap().into_iter();
    let names = names.filter(|name| name.ends_with(".seg"));
    let used = names.filter(|name| *name <= format!("{:08}.seg", log.newest_file()));
    used.map(|name| dir.open(&name).unwrap().disk_bytes().unwrap())
        .sum()
}

/// A disk in memory whose background jobs wait until they are asked for.
fn late() -> (MemDir, impl Fn()) {
    let jobs: Arc<Mutex<Vec<Job>>> = Arc::default();
    let waiting = Arc::clone(&jobs);
    let dir = MemDir::with_schedule(Arc::new(move |job| waiting.lock().unwrap().push(job)));
    let run = move || loop {
        let due = std::mem::take(&mut *jobs.lock().unwrap());
        if due.is_empty() {
            return;
        }
        due.into_iter().for_each(|job| job());
    };
    (dir, run)
}

/// Appends without waiting.
fn append_late(log: &mut Log, count: u64) {
    for _ in 0..count {
        let index = log.last().map_or(1, |last| last.index.0 + 1);
        log.append([batch_frame(index, 1, 6_500)], ignore())
            .unwrap();
    }
}

#[test]
fn a_full_file_counts_what_it_is_about_to_keep_until_it_could_not_give_back_the_rest() {
    let (dir, run) = late();
    let mut log = open(&dir);
    append_late(&mut log, 3);
    let full = log.reader().segments()[1];
    assert_eq!((full.bytes, full.disk_bytes), (12 << 10, 16 << 10));
    dir.fail_from_operation(Some(0));
    run();
    dir.fail_from_operation(None);
    let full = log.reader().segments()[1];
    assert_eq!((full.bytes, full.disk_bytes), (16 << 10, 16 << 10));
    let (now, settled, room) = counted(&log);
    assert_eq!((now, settled), (room, room));
    assert!(!log.room().is_giving_back());
}

#[test]
fn after_a_restart_files_count_what_they_take() {
    on_both(|dir| {
        let mut log = Log::open(Arc::clone(&dir), tiny()).unwrap().0;
        append_large(&mut log, 8);
        until_settled(&*dir);
        drop(log);
        let log = Log::open(Arc::clone(&dir), tiny()).unwrap().0;
        let files = log.reader().segments();
        let (last, sealed) = files.split_last().unwrap();
        assert!(sealed.len() > 3, "{files:?}");
        for file in &sealed[1..] {
            assert_eq!((file.bytes, file.disk_bytes), (12 << 10, 12 << 10));
        }
        assert_eq!(last.bytes, 16 << 10);
        let (now, settled, room) = counted(&log);
        assert_eq!((now, settled), (room, room));
        assert_eq!(now, measured(&*dir, &log));
    });
}

#[test]
fn a_crash_before_a_file_gave_back_its_rest_leaves_it_counted_whole() {
    let (dir, run) = late();
    let mut log = open(&dir);
    append_late(&mut log, 5);
    drop(log);
    let again = dir.next_process();
    // Nothing of what the first process left to do is done any more.
    run();
    let log = open(&again);
    run();
    let files = log.reader().segments();
    let (_, sealed) = files.split_last().unwrap();
    assert!(sealed.len() > 2);
    for file in &sealed[1..] {
        assert_eq!((file.bytes, file.disk_bytes), (16 << 10, 16 << 10));
    }
    let (now, settled, room) = counted(&log);
    assert_eq!((now, settled, room), (room, room, measured(&again, &log)));
}

#[test]
fn a_file_that_a_cut_ended_counts_what_it_takes() {
    on_both(|dir| {
        let mut log = Log::open(Arc::clone(&dir), tiny()).unwrap().0;
        append_and_wait(
            &mut log,
            (1..=3).map(|index| batch_frame(index, 1, 600)).collect(),
        );
        log.truncate_after(Some(LogIndex(1))).unwrap();
        // A file may have been on its way for what was cut off; it is not needed, and removed.
        until_settled(&*dir);
        let files = log.reader().segments();
        assert_eq!((files.len(), files[0].sealed), (2, true));
        assert_eq!((files[0].bytes, files[0].disk_bytes), (8 << 10, 8 << 10));
        let (now, settled, room) = counted(&log);
        assert_eq!((now, settled), (room, room));
        assert_eq!(now, measured(&*dir, &log));
    });
}

#[test]
fn what_files_give_back_that_a_cut_or_a_snapshot_took_away_is_not_counted_again() {
    let cuts: [fn(&mut Log); 4] = [
        |log| log.truncate_after(Some(LogIndex(1))).unwrap(),
        |log| log.truncate_after(None).unwrap(),
        |log| log.purge(LogIndex(500)).unwrap(),
        |log| {
            let last = log.last().unwrap();
            log.reset(last).unwrap();
        },
    ];
    for cut in cuts {
        let (dir, run) = late();
        let mut log = open(&dir);
        append_late(&mut log, 6);
        assert!(log.room().is_giving_back());
        cut(&mut log);
        run();
        assert!(!log.room().is_giving_back());
        let (now, settled, room) = counted(&log);
        assert_eq!((now, settled), (room, room));
        assert_eq!(now, measured(&dir, &log), "{:?}", dir.list());
        let indexes = dir.list().unwrap().into_iter();
        let indexes = indexes.filter(|name| name.ends_with(".idx"));
        let of = log.reader().segments().len() - 1;
        assert!(indexes.count() <= of, "none of a file that is gone");
        append_late(&mut log, 1);
        run();
    }
}

/// A log of several full files.
fn filled(dir: &MemDir) -> Log {
    let mut log = open(dir);
    append_large(&mut log, 9);
    log
}

#[test]
fn a_purge_that_could_not_remove_a_file_leaves_all_that_is_there_in_the_log() {
    for n in 0.. {
        let dir = MemDir::new();
        let mut log = filled(&dir);
        let end = log.last().unwrap().index;
        let wanted = log.reader().segments()[5].first_index;
        dir.fail_operation(n);
        let before = dir.operations();
        let purged = log.purge(LogIndex(wanted.0 - 1));
        let reached = dir.operations() - before > n;
        dir.fail_from_operation(None);
        let first = log.first_index();
        let files = log.reader().segments();
        assert!(first <= wanted && first >= files[0].first_index, "{n}");
        assert_eq!(purged.is_ok(), first == wanted, "{n}: {purged:?}");
        let there: Vec<u64> = all(&log).iter().map(|frame| frame.head.index.0).collect();
        assert!(there.iter().copied().eq(first.0..=end.0), "{n}: {there:?}");
        let start = log.reader().log_start_offset();
        assert_eq!(start, Offset(first.0 - 1), "{n}");
        let (now, _, room) = counted(&log);
        assert_eq!(now, room, "{n}");
        match log.purge(LogIndex(wanted.0 - 1)) {
            Ok(()) => {
                assert_eq!(log.first_index(), wanted, "{n}");
                assert_eq!(counted(&log).0, measured(&dir, &log), "{n}");
                append_large(&mut log, 1);
            }
            // Whether a name is gone for good is not known: nothing more is done with it.
            Err(error) => assert!(purged.is_err(), "{n}: {error}"),
        }
        drop(log);
        dir.power_cut(n);
        let log = open(&dir);
        assert!(log.first_index() <= wanted, "{n}");
        assert!(log.last().unwrap().index >= end, "{n}");
        if !reached {
            return;
        }
    }
}

#[test]
fn a_log_that_could_not_be_emptied_for_want_of_room_is_as_it_was() {
    let dir = MemDir::new();
    let options = LogOptions {
        first_segment_bytes: 64 << 10,
        ..tiny()
    };
    let mut log = Log::open(Arc::new(dir.clone()), options).unwrap().0;
    for index in 1..=3 {
        append_and_wait(&mut log, vec![batch_frame(index, 1, 600)]);
    }
    dir.set_capacity(0);
    let (first, last) = (log.first_index(), log.last());
    log.purge(LogIndex(500)).unwrap_err();
    log.reset(last.unwrap()).unwrap_err();
    assert_eq!((log.first_index(), log.last()), (first, last));
    assert_eq!(all(&log).len(), 3);
    dir.set_capacity(u64::MAX);
    append_and_wait(&mut log, vec![batch_frame(4, 1, 600)]);
    assert_eq!(all(&log).len(), 4);
    log.purge(LogIndex(500)).unwrap();
    assert_eq!(log.first_index(), LogIndex(501));
}
