//! Group commit: few syncs, callbacks in order, and an end after the first failed sync.

use std::collections::VecDeque;

use super::*;
use crate::log::LogError;
use crate::log::dir::Job;

/// A disk whose syncs end when the test says so.
struct Slow {
    dir: MemDir,
    jobs: Arc<Mutex<VecDeque<Job>>>,
}

impl Slow {
    fn new() -> Self {
        let jobs: Arc<Mutex<VecDeque<Job>>> = Arc::default();
        let queue = Arc::clone(&jobs);
        let dir = MemDir::with_schedule(Arc::new(move |job| queue.lock().unwrap().push_back(job)));
        Self { dir, jobs }
    }

    fn waiting(&self) -> usize {
        self.jobs.lock().unwrap().len()
    }

    fn end(&self, at: usize) {
        let job = self.jobs.lock().unwrap().remove(at).unwrap();
        job();
    }

    fn end_all(&self) {
        while self.waiting() > 0 {
            self.end(0);
        }
    }
}

#[test]
fn appends_during_a_sync_share_the_next_one() {
    let slow = Slow::new();
    let calls = Calls::default();
    let dir = Arc::new(slow.dir.clone());
    let (mut log, _) = Log::open(dir, LogOptions::new(owner())).unwrap();
    for index in 1..=5 {
        log.append([batch_frame(index, 1, 50)], calls.expect(index))
            .unwrap();
    }
    assert_eq!((slow.waiting(), calls.seen().len()), (1, 0));
    slow.end(0);
    assert_eq!((slow.waiting(), calls.seen()), (1, vec![(1, true)]));
    slow.end(0);
    assert_eq!(calls.seen().last(), Some(&(5, true)));
    assert_eq!(slow.waiting(), 0);
}

#[test]
fn what_is_appended_can_be_read_before_it_is_synced() {
    let slow = Slow::new();
    let mut log = open(&slow.dir);
    log.append([batch_frame(1, 4, 50)], ignore()).unwrap();
    assert_eq!(offsets(&log, 0, 4, 1), [(0, 4)]);
}

#[test]
fn callbacks_of_later_files_wait_for_earlier_files() {
    let slow = Slow::new();
    let calls = Calls::default();
    let mut log = open(&slow.dir);
    let mut index = 0;
    while slow
        .dir
        .list()
        .unwrap()
        .iter()
        .filter(|name| name.ends_with(".seg"))
        .count()
        < 2
    {
        index += 1;
        log.append([batch_frame(index, 1, 600)], calls.expect(index))
            .unwrap();
    }
    // The newest jobs first: the second file is on the disk before the first one is.
    while slow.waiting() > 0 {
        slow.end(slow.waiting() - 1);
    }
    let seen: Vec<u64> = calls.seen().iter().map(|(index, _)| *index).collect();
    assert_eq!(seen, (1..=index).collect::<Vec<_>>());
}

#[test]
fn an_append_of_nothing_completes_after_what_came_before_it() {
    let slow = Slow::new();
    let calls = Calls::default();
    let mut log = open(&slow.dir);
    log.append([], calls.expect(0)).unwrap();
    assert_eq!(calls.seen(), [(0, true)]);
    log.append([batch_frame(1, 1, 50)], calls.expect(1))
        .unwrap();
    log.append([], calls.expect(2)).unwrap();
    assert_eq!(calls.seen().len(), 1);
    slow.end_all();
    assert_eq!(calls.seen(), [(0, true), (1, true), (2, true)]);
}

#[test]
fn after_a_failed_sync_everything_fails_and_no_sync_is_tried_again() {
    let slow = Slow::new();
    let calls = Calls::default();
    let mut log = open(&slow.dir);
    log.append([batch_frame(1, 1, 50)], calls.expect(1))
        .unwrap();
    slow.end_all();
    for index in 2..=4 {
        log.append([batch_frame(index, 1, 50)], calls.expect(index))
            .unwrap();
    }
    slow.dir.fail_operation(0);
    slow.end(0);
    assert_eq!(
        calls.seen(),
        [(1, true), (2, false), (3, false), (4, false)]
    );
    let operations = slow.dir.operations();
    let refused = log.append([batch_frame(5, 1, 50)], calls.expect(5));
    assert!(matches!(refused, Err(LogError::Poisoned(_))));
    assert!(matches!(
        log.truncate_after(Some(LogIndex(1))),
        Err(LogError::Poisoned(_))
    ));
    assert!(matches!(log.purge(LogIndex(1)), Err(LogError::Poisoned(_))));
    slow.end_all();
    assert_eq!(
        slow.dir.operations(),
        operations,
        "the disk is not touched again"
    );
    drop(log);
    slow.dir.power_cut(3);
    assert_eq!(open(&slow.dir).last().unwrap().index, LogIndex(1));
}

#[test]
fn a_failed_write_ends_the_log() {
    let dir = MemDir::new();
    let calls = Calls::default();
    let mut log = open(&dir);
    append_and_wait(&mut log, vec![batch_frame(1, 1, 50)]);
    dir.fail_operation(0);
    let failed = log.append([batch_frame(2, 1, 50)], calls.expect(2));
    assert!(matches!(failed, Err(LogError::Io { .. })));
    let refused = log.append([batch_frame(2, 1, 50)], calls.expect(2));
    assert!(matches!(refused, Err(LogError::Poisoned(_))));
    assert_eq!(all(&log).len(), 1);
    assert_eq!(calls.seen(), []);
}

#[test]
fn more_than_the_limit_is_never_unsynced() {
    let slow = Slow::new();
    let calls = Calls::default();
    let mut log = open(&slow.dir);
    for index in 1..=10 {
        log.append([batch_frame(index, 1, 5_000)], calls.expect(index))
            .unwrap();
        let unsynced = index as usize - calls.seen().len();
        assert!(unsynced * 5_000 <= tiny().max_unsynced_bytes as usize);
    }
    let large = batch_frame(11, 1, 40_000);
    log.append([large, batch_frame(12, 1, 5_000)], calls.expect(12))
        .unwrap();
    slow.end_all();
    assert_eq!(calls.seen().last(), Some(&(12, true)));
    drop(log);
    assert_eq!(open(&slow.dir).last().unwrap().index, LogIndex(12));
}

#[test]
fn the_next_file_is_prepared_before_it_is_needed() {
    let slow = Slow::new();
    let mut log = open(&slow.dir);
    let segments = || {
        slow.dir
            .list()
            .unwrap()
            .iter()
            .filter(|name| name.ends_with(".seg"))
            .count()
    };
    for index in 1.. {
        let before = segments();
        log.append([batch_frame(index, 1, 600)], ignore()).unwrap();
        slow.end_all();
        let rolled = log.reader().next_boundary(LogIndex(1)).is_some();
        if rolled {
            assert_eq!((before, segments()), (2, 2), "the prepared file was taken");
            return;
        }
    }
}

#[test]
fn readers_read_while_the_writer_rolls_cuts_and_purges() {
    let home = tempfile::tempdir().unwrap();
    let dir: Arc<dyn Dir> = Arc::new(FsDir::open(home.path(), 2).unwrap());
    let (mut log, _) = Log::open(dir, tiny()).unwrap();
    let reader = log.reader();
    let stop = Arc::new(Mutex::new(false));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let (reader, stop) = (reader.clone(), Arc::clone(&stop));
            scope.spawn(move || {
                while !*stop.lock().unwrap() {
                    let first = reader.first_index();
                    match reader.frames(first, LogIndex(u64::MAX), 20_000) {
                        Ok(frames) => {
                            for pair in frames.windows(2) {
                                assert_eq!(pair[0].head.index.next(), pair[1].head.index);
                            }
                        }
                        Err(LogError::Purged { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
        let mut index = 0;
        for round in 0..30 {
            for _ in 0..20 {
                index += 1;
                log.append([batch_frame(index, 1, 700)], ignore()).unwrap();
            }
            if round % 3 == 2 {
                index -= 7;
                log.truncate_after(Some(LogIndex(index))).unwrap();
            }
            if round % 4 == 3 {
                log.purge(LogIndex(index - 15)).unwrap();
            }
        }
        *stop.lock().unwrap() = true;
    });
}
