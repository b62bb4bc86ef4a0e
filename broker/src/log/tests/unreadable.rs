//! What the disk cannot give any more is damage, wherever it is met: not a torn tail, and never
//! touched through a map, which would end the process.

use super::*;
use crate::log::hard_state::HardStateError;
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
        let is_damage = |result: Result<(), LogError>, reader: &crate::log::LogReader| {
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
        let (sender, receiver) = mpsc::channel();
        let cold = reader.cold_frames(next, 1).unwrap();
        cold.warm(Box::new(move |result| sender.send(result).unwrap()));
        is_damage(receiver.try_recv().unwrap(), &reader);
    }
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
