//! The files of a log: how large they are made, what they give back, and how they go.

use super::*;
use crate::log::LogError;

#[test]
fn a_full_file_gives_back_what_no_batch_fitted_into() {
    on_both(|dir| {
        let (mut log, _) = Log::open(Arc::clone(&dir), tiny()).unwrap();
        // Two of them do not fit into a file of 16 KiB.
        for index in 1..=10 {
            append_and_wait(&mut log, vec![batch_frame(index, 1, 6_500)]);
        }
        let (ran, done) = mpsc::channel();
        dir.offload(Box::new(move || ran.send(()).unwrap()));
        done.recv_timeout(Duration::from_secs(30)).unwrap();
        let files = log.reader().segments();
        let full = files
            .iter()
            .filter(|file| file.sealed && file.end > 8 << 10);
        assert!(full.clone().count() > 3, "{files:?}");
        for file in full {
            assert_eq!((file.bytes, file.disk_bytes), (12 << 10, 12 << 10));
        }
        let all_bytes: u64 = files.iter().map(|file| file.disk_bytes).sum();
        let measured = dir.disk_bytes().unwrap();
        assert!(
            (all_bytes..all_bytes + (80 << 10)).contains(&measured),
            "{measured}, {all_bytes}"
        );
        drop(log);
        let (log, _) = Log::open(Arc::clone(&dir), tiny()).unwrap();
        assert_eq!(offsets(&log, 0, 10, 1 << 20).len(), 10);
    });
}

/// The sizes of the segment files in KiB, of those with a header.
fn sizes(dir: &MemDir, log: &Log) -> Vec<u64> {
    let files = log.reader().segments().len();
    let names = dir.list().unwrap().into_iter();
    let names = names.filter(|name| name.ends_with(".seg")).take(files);
    let sizes = names.map(|name| dir.open(&name).unwrap().len() >> 10);
    sizes.collect()
}

#[test]
fn each_file_is_twice_as_large_as_the_one_before_up_to_the_largest() {
    let dir = MemDir::new();
    let mut log = open(&dir);
    for index in 1..=100 {
        append_and_wait(&mut log, vec![batch_frame(index, 2, 300)]);
    }
    let small = sizes(&dir, &log);
    assert!(small.len() > 3 && small[0] == 8, "{small:?}");
    assert!(small[1..].iter().all(|size| *size == 16), "{small:?}");

    let dir = MemDir::volatile();
    let options = LogOptions::new(owner());
    let (mut log, _) = Log::open(Arc::new(dir.clone()), options).unwrap();
    let expected = [1, 2, 4, 8, 16, 32, 64, 64].map(|mib| mib << 10);
    for (index, size) in (1..).zip(expected) {
        // Each fills more than half of its file.
        let body = Bytes::from(vec![0; (size as usize * 5) << 7]);
        append_and_wait(&mut log, vec![local(1, index, FrameKind::Command, body)]);
    }
    assert_eq!(sizes(&dir, &log), expected);
}

#[test]
fn the_files_of_a_log_follow_each_other() {
    let mut log = open(&MemDir::new());
    assert_eq!(log.reader().segments(), []);
    for index in 1..=100 {
        append_and_wait(&mut log, vec![batch_frame(index, 2, 300)]);
    }
    let files = log.reader().segments();
    assert!(files.len() > 3);
    for pair in files.windows(2) {
        assert_eq!(pair[0].next_index, pair[1].first_index);
        assert_eq!(pair[0].next_offset, pair[1].first_offset);
        assert!(pair[0].sealed && pair[0].bytes <= pair[1].bytes);
    }
    let last = files.last().unwrap();
    assert!(!last.sealed);
    assert_eq!(
        (last.next_index, last.next_offset),
        (LogIndex(101), Offset(200))
    );
    assert_eq!(last.last_append_time, Timestamp(1_100));
    let second = files[1];
    log.purge(LogIndex(second.next_index.0 - 1)).unwrap();
    assert_eq!(log.reader().segments(), files[2..]);
}

#[test]
fn purging_moves_the_floor_and_unlinks_whole_files() {
    on_both(|dir| {
        let (mut log, _) = Log::open(Arc::clone(&dir), tiny()).unwrap();
        for index in 1..=100 {
            append_and_wait(&mut log, vec![batch_frame(index, 2, 300)]);
        }
        let files = |dir: &dyn Dir| {
            dir.list()
                .unwrap()
                .iter()
                .filter(|name| name.ends_with(".seg"))
                .count()
        };
        let before = files(&*dir);
        log.purge(LogIndex(70)).unwrap();
        assert!(files(&*dir) < before);
        assert_eq!(log.first_index(), LogIndex(71));
        let reader = log.reader();
        assert_eq!(reader.log_start_offset(), Offset(140));
        assert!(matches!(
            reader.frames(LogIndex(70), LogIndex(80), 1),
            Err(LogError::Purged { .. })
        ));
        assert!(matches!(
            reader.read_committed(Offset(139), Offset(200), 1),
            Err(LogError::BelowLogStart { .. })
        ));
        assert_eq!(offsets(&log, 140, 200, 1 << 20).len(), 30);
        drop(log);
        let (mut log, _) = Log::open(Arc::clone(&dir), tiny()).unwrap();
        assert!(log.first_index() <= LogIndex(71));
        log.purge(LogIndex(100)).unwrap();
        assert_eq!(log.last().unwrap().index, LogIndex(100));
        assert_eq!(all(&log).len(), 0);
        log.purge(LogIndex(500)).unwrap();
        assert_eq!(log.last(), None);
        append_and_wait(&mut log, vec![batch_frame(501, 2, 300)]);
        assert_eq!(log.first_index(), LogIndex(501));
    });
}
