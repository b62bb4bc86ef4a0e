//! What the disk cannot give any more is damage, wherever it is met: not a torn tail, and never
//! touched through a map, which would end the process.

use super::*;
use crate::log::hard_state::HardStateError;
use crate::log::index::SegmentIndex;
use crate::log::segment::index_name;
use crate::log::small_file::{SmallFileError, read_file, write_file};
use crate::log::{HardKey, HardState, LogError, OpenError};

const PAGE: u64 = 4096;
const ENTRIES: u64 = 40;

fn built() -> MemDir {
    let dir = MemDir::new();
    let mut log = open(&dir);
    for index in 1..=ENTRIES {
        append_and_wait(&mut log, vec![batch_frame(index, 2, 700)]);
    }
    dir
}

/// The files that hold frames, oldest first.
fn files(dir: &MemDir) -> Vec<String> {
    let mut names = dir.list().unwrap();
    let stored = |name: &String| dir.open(name).unwrap().slice(0..1)[..] != [0];
    names.retain(|name| name.ends_with(".seg") && stored(name));
    names
}

fn pages(dir: &MemDir, name: &str) -> Vec<std::ops::Range<u64>> {
    let len = dir.open(name).unwrap().len();
    (0..len)
        .step_by(PAGE as usize)
        .map(|at| at..at + PAGE)
        .collect()
}

#[test]
fn a_newest_file_that_cannot_be_read_is_damaged_and_not_taken_for_torn() {
    let name = files(&built()).pop().unwrap();
    for page in pages(&built(), &name) {
        let dir = built();
        dir.make_unreadable(&name, page.clone()).unwrap();
        let opened = Log::open(Arc::new(dir), tiny());
        let Err(OpenError::Damaged(damage)) = opened else {
            panic!("{page:?}: {opened:?}");
        };
        let found = (damage.file, u64::from(damage.position));
        assert_eq!(found, (name.clone(), page.start));
        assert!(
            damage.reason.contains("cannot read it"),
            "{}",
            damage.reason
        );
    }
}

#[test]
fn a_full_file_that_cannot_be_read_is_found_by_readers_and_by_the_check() {
    let names = files(&built());
    assert!(names.len() > 3, "{names:?}");
    for page in &pages(&built(), &names[1])[1..2] {
        let dir = built();
        dir.make_unreadable(&names[1], page.clone()).unwrap();
        let is_damage = |result: Result<(), LogError>, reader: &LogReader| {
            assert!(matches!(result, Err(LogError::Damaged(_))), "{result:?}");
            assert_eq!(reader.damage().unwrap().file, names[1]);
        };
        let reader = open(&dir).reader();
        let (first, next, _) = reader.full_file_from(LogIndex(0)).unwrap();
        reader.check_file(first).unwrap();
        is_damage(reader.check_file(next), &reader);

        let reader = open(&dir).reader();
        let read = reader.frames(next, next.next(), usize::MAX);
        is_damage(read.map(drop), &reader);

        let reader = open(&dir).reader();
        let cold = reader.cold_frames(next, 1).unwrap();
        is_damage(cold.read(), &reader);
    }
}

/// Nobody touches what cannot be read of file `name`, for long neither written nor read, before the
/// disk was asked.
fn is_found_out(dir: &MemDir, name: &str, log: &Log) {
    let reader = log.reader();
    long_after(&reader);
    dir.make_unreadable(name, PAGE..2 * PAGE).unwrap();
    let is_lost = |result: Result<(), LogError>| match result {
        Err(LogError::Damaged(damage)) => {
            assert_eq!(damage.file, name);
            let reason = damage.reason;
            assert!(reason.contains("cannot read it"), "{reason}");
        }
        other => panic!("{other:?}"),
    };
    let all = Offset(0)..reader.last().unwrap().next_offset;
    is_lost(reader.head(LogIndex(1)).map(drop));
    is_lost(reader.frames(LogIndex(1), LogIndex(2), 1).map(drop));
    is_lost(reader.read_committed(all.start, all.end, 1).map(drop));
    is_lost(
        reader
            .offset_for_time(Timestamp(0), all.start, all.end)
            .map(drop),
    );
    is_lost(reader.offset_at(LogIndex(1), 0).map(drop));
    let cold = reader.cold(all.start, 1).expect("it is cold");
    is_lost(cold.read());
}

#[test]
fn a_file_that_is_written_to_for_days_is_read_from_the_disk_before_it_is_touched() {
    let dir = MemDir::new();
    let mut log = open(&dir);
    for index in 1..=4 {
        append_and_wait(&mut log, vec![batch_frame(index, 1, 600)]);
    }
    assert_eq!(log.reader().segments().len(), 1);
    is_found_out(&dir, &files(&dir)[0], &log);
}

#[test]
fn a_file_that_is_kept_by_a_cut_is_read_from_the_disk_before_it_is_touched() {
    let dir = MemDir::new();
    let mut log = open(&dir);
    for index in 1..=4 {
        append_and_wait(&mut log, vec![batch_frame(index, 1, 600)]);
    }
    let name = files(&dir).remove(0);
    log.truncate_after(Some(LogIndex(3))).unwrap();
    assert!(log.reader().segments()[0].sealed);
    is_found_out(&dir, &name, &log);
}

#[test]
fn an_index_file_that_was_read_long_ago_is_read_before_it_is_touched_and_made_anew_if_it_is_lost() {
    let dir = built();
    let log = open(&dir);
    let reader = log.reader();
    let segment = Arc::clone(&reader.view.load().sealed[1].segment);
    let (first, name) = (segment.header.first_index, segment.header.number);
    let is_stored = || matches!(**segment.index.load(), SegmentIndex::Stored(_));
    let search = || assert!(reader.head(first.next()).unwrap().is_some());
    search();
    assert!(is_stored());
    dir.make_unreadable(&index_name(name), 0..1).unwrap();
    search();
    assert!(is_stored(), "just read");
    long_after(&reader);
    search();
    assert!(!is_stored());
}

#[test]
fn an_index_for_which_the_system_lacks_memory_stays_what_it_was_and_is_read_later() {
    let dir = built();
    let reader = open(&dir).reader();
    let view = reader.view.load();
    let (segment, end) = (&view.sealed[1].segment, view.sealed[1].end);
    let inside = segment.header.first_index.next();
    let search = || reader.head(inside);
    let is_put_off = || {
        let before = segment.index.load_full();
        dir.refuse_reads(true);
        let cold = reader.cold_frames(inside, 1).expect("it is cold");
        for read in [search().map(drop), cold.read()] {
            assert!(matches!(read, Err(LogError::Io { .. })), "{read:?}");
        }
        dir.refuse_reads(false);
        assert!(Arc::ptr_eq(&before, &segment.index.load()));
        assert!(reader.damage().is_none());
    };
    is_put_off();
    assert!(search().unwrap().is_some());
    let stored = segment.index.load_full();
    assert!(matches!(*stored, SegmentIndex::Stored(_)));
    long_after(&reader);
    is_put_off();
    // Although it could be built anew.
    segment.warmth.mark(&(0..end));
    is_put_off();
    long_after(&reader);
    // Nor is a part of one taken for one that is built anew.
    dir.remove(&index_name(segment.header.number)).unwrap();
    is_put_off();
    assert!(search().unwrap().is_some());
    let built = segment.index.load_full();
    assert!(matches!(*built, SegmentIndex::Growing(_)));
    assert_eq!(built.entries_below(end), stored.entries_below(end));
    assert!(built.entries_below(end).len() > 1);
}

#[test]
fn what_is_taken_to_be_in_memory_was_read_to_its_last_byte() {
    let dir = MemDir::new();
    let mut options = tiny();
    options.first_segment_bytes = 8 << 20;
    options.max_segment_bytes = 8 << 20;
    options.max_unsynced_bytes = 8 << 20;
    let mut log = Log::open(Arc::new(dir.clone()), options).unwrap().0;
    for index in 1..=12 {
        append_and_wait(&mut log, vec![batch_frame(index, 1, 500_000)]);
    }
    let reader = log.reader();
    assert_eq!(reader.segments().len(), 1);
    long_after(&reader);
    // Where some is read ahead, and not all, of what is noted as one.
    let bytes = (3 << 20) + (900 << 10);
    dir.make_unreadable(&files(&dir)[0], bytes..bytes + PAGE)
        .unwrap();
    let cold = reader.cold(Offset(0), 1).unwrap();
    let _ = cold.read();
    let there = reader.cold(Offset(8), 1).is_some();
    assert!(there || reader.damage().is_some());
}

#[test]
fn a_map_that_would_end_the_process_is_found_out_without_touching_it() {
    let home = tempfile::tempdir().unwrap();
    let dir = FsDir::open(home.path(), 2).unwrap();
    let file = dir.create("file", 4 * PAGE).unwrap();
    let behind_its_back = std::fs::File::options()
        .write(true)
        .open(home.path().join("file"));
    // Beyond the end of a file that was cut a map cannot be read, as on a bad sector.
    behind_its_back.unwrap().set_len(2 * PAGE).unwrap();
    file.make_resident(0..2 * PAGE).unwrap();
    for lost in [0..4 * PAGE, 2 * PAGE..3 * PAGE, PAGE..2 * PAGE + 1] {
        let error = file.make_resident(lost.clone()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(5), "{lost:?}: {error}");
    }
}

#[test]
fn votes_and_small_files_that_cannot_be_read_are_errors() {
    let dir = MemDir::new();
    write_file(&dir, "small", b"payload").unwrap();
    dir.make_unreadable("small", 0..1).unwrap();
    let read = read_file(&dir, "small");
    let is_error = matches!(&read, Err(SmallFileError::Io { action: "read", .. }));
    assert!(is_error, "{read:?}");

    let dir = MemDir::new();
    let state = HardState::open(Arc::new(dir.clone())).unwrap();
    let replica = ReplicaId(1);
    state.put(
        HardKey { replica, slot: 1 },
        Bytes::from_static(b"vote"),
        ignore(),
    );
    drop(state);
    for name in dir.list().unwrap() {
        dir.make_unreadable(&name, 0..PAGE).unwrap();
    }
    let opened = HardState::open(Arc::new(dir));
    let is_error = matches!(&opened, Err(HardStateError::Io { action: "read", .. }));
    assert!(is_error, "{:?}", opened.err());
}
