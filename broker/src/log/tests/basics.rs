//! Append, read, cut, reopen: on both disks.

use super::*;
use crate::log::{LogError, OpenError};

#[test]
fn what_is_appended_can_be_read_and_survives_reopening() {
    on_both(|dir| {
        let (mut log, _) = Log::open(Arc::clone(&dir), tiny()).unwrap();
        assert_eq!(log.last(), None);
        for index in 1..200 {
            append_and_wait(&mut log, vec![batch_frame(index, 3, 200)]);
        }
        let before = all(&log);
        assert_eq!(before.len(), 199);
        assert_eq!(log.next_offset(), Offset(199 * 3));
        let last = log.last();
        drop(log);
        let (log, recovered) = Log::open(dir, tiny()).unwrap();
        assert_eq!(recovered.torn, None);
        assert_eq!(log.last(), last);
        let after = all(&log);
        for (one, two) in before.iter().zip(&after) {
            assert_eq!((one.head, &one.body), (two.head, &two.body));
        }
        assert_eq!(after.len(), before.len());
    });
}

#[test]
fn batches_are_stamped_and_the_callers_bytes_are_left_alone() {
    on_both(|dir| {
        let (mut log, _) = Log::open(dir, tiny()).unwrap();
        let original = batch(5, 100, 77);
        let mut two = original.to_vec();
        two.extend_from_slice(&batch(2, 30, 78));
        let body = Bytes::from(two.clone());
        append_and_wait(&mut log, vec![batch_frame(4, 10, 10)]);
        append_and_wait(&mut log, vec![local(6, 5, FrameKind::Batch, body.clone())]);
        assert_eq!(body, two);
        let batches = log
            .reader()
            .read_committed(Offset(10), Offset(17), 1 << 20)
            .unwrap();
        let bases: Vec<i64> = batches
            .iter()
            .map(|batch| i64::from_be_bytes(batch.bytes[..8].try_into().unwrap()))
            .collect();
        assert_eq!(bases, [10, 15]);
        assert_eq!(batches[0].bytes[12..16], 6i32.to_be_bytes());
        assert_eq!(batches[0].bytes[16..], original[16..]);
        assert_eq!(batches[0].append_time, Timestamp(1005));
    });
}

#[test]
fn a_committed_read_ends_at_the_high_watermark_and_at_its_limit() {
    on_both(|dir| {
        let (mut log, _) = Log::open(dir, tiny()).unwrap();
        for index in 1..=60 {
            append_and_wait(&mut log, vec![batch_frame(index, 10, 300)]);
        }
        assert_eq!(offsets(&log, 0, 0, 1 << 20), []);
        assert_eq!(offsets(&log, 25, 40, 1 << 20), [(20, 30), (30, 40)]);
        assert_eq!(offsets(&log, 25, 600, 1), [(20, 30)]);
        assert_eq!(offsets(&log, 0, 600, 1 << 20).len(), 60);
        assert_eq!(offsets(&log, 595, 600, 1 << 20), [(590, 600)]);
        assert_eq!(offsets(&log, 600, 600, 1 << 20), []);
    });
}

#[test]
fn entries_that_are_no_batches_take_no_offsets() {
    on_both(|dir| {
        let (mut log, _) = Log::open(dir, tiny()).unwrap();
        let blank = local(1, 0, FrameKind::Blank, Bytes::new());
        let command = local(1, 2, FrameKind::Command, Bytes::from_static(b"do"));
        append_and_wait(
            &mut log,
            vec![blank, batch_frame(1, 4, 9), command, batch_frame(3, 1, 9)],
        );
        assert_eq!(log.next_offset(), Offset(5));
        assert_eq!(offsets(&log, 0, 5, 1 << 20), [(0, 4), (4, 5)]);
        let frames = all(&log);
        assert_eq!(frames[2].body, &b"do"[..]);
        assert_eq!(frames[2].head.base_offset, Offset(4));
    });
}

#[test]
fn indexes_must_follow_each_other_and_terms_must_not_fall() {
    let dir = MemDir::new();
    let mut log = open(&dir);
    log.append([batch_frame(7, 1, 10)], ignore()).unwrap();
    for frame in [
        batch_frame(7, 1, 10),
        batch_frame(9, 1, 10),
        local(0, 8, FrameKind::Blank, Bytes::new()),
    ] {
        let refused = log.append([frame], ignore());
        assert!(matches!(refused, Err(LogError::OutOfOrder { .. })));
    }
    let refused = log.append([batch_frame(8, 1, 10), batch_frame(10, 1, 10)], ignore());
    assert!(matches!(refused, Err(LogError::OutOfOrder { .. })));
    assert_eq!(all(&log).len(), 1);
}

#[test]
fn truncation_cuts_the_end_durably_and_the_log_goes_on_from_there() {
    on_both(|dir| {
        let (mut log, _) = Log::open(Arc::clone(&dir), tiny()).unwrap();
        for index in 1..=100 {
            append_and_wait(&mut log, vec![batch_frame(index, 2, 300)]);
        }
        for keep in [90, 89, 45, 44, 1] {
            let held = log
                .reader()
                .frames(LogIndex(keep), LogIndex(keep + 1), 0)
                .unwrap();
            log.truncate_after(Some(LogIndex(keep))).unwrap();
            assert_eq!(log.last().unwrap().index, LogIndex(keep));
            assert_eq!(log.next_offset(), Offset(keep * 2));
            assert_eq!(all(&log).len() as u64, keep);
            assert_eq!(held[0].head.index, LogIndex(keep));
            drop(log);
            log = Log::open(Arc::clone(&dir), tiny()).unwrap().0;
            assert_eq!(all(&log).len() as u64, keep);
            append_and_wait(
                &mut log,
                vec![local(keep, keep + 1, FrameKind::Blank, Bytes::new())],
            );
            assert_eq!(all(&log).len() as u64, keep + 1);
        }
        log.truncate_after(None).unwrap();
        assert_eq!((log.last(), all(&log).len()), (None, 0));
        append_and_wait(&mut log, vec![batch_frame(30, 2, 10)]);
        drop(log);
        let (log, _) = Log::open(dir, tiny()).unwrap();
        assert_eq!(log.first_index(), LogIndex(30));
        assert_eq!(offsets(&log, 0, 2, 100), [(0, 2)]);
    });
}

#[test]
fn truncating_above_the_tail_is_an_error() {
    let mut log = open(&MemDir::new());
    log.append([batch_frame(1, 1, 10), batch_frame(2, 1, 10)], ignore())
        .unwrap();
    log.truncate_after(Some(LogIndex(2))).unwrap();
    let refused = log.truncate_after(Some(LogIndex(3)));
    assert!(matches!(refused, Err(LogError::TruncateOutside { .. })));
}

#[test]
fn a_payload_that_copies_frames_of_another_secret_proves_nothing() {
    let (copied, dir) = (MemDir::new(), MemDir::new());
    let mut log = open(&copied);
    for index in 1..=3 {
        append_and_wait(&mut log, vec![batch_frame(index, 1, 100)]);
    }
    let fake = copied.open("00000001.seg").unwrap().slice(4096..5000);
    let mut options = tiny();
    options.salt = 0x5ec2_e7ed;
    let (mut log, _) = Log::open(Arc::new(dir.clone()), options.clone()).unwrap();
    log.append([local(1, 1, FrameKind::Command, fake)], ignore())
        .unwrap();
    let jobs = log.append([batch_frame(2, 1, 10)], ignore());
    jobs.unwrap();
    drop(log);
    // The header of the frame is torn; behind it lies what looks like later frames.
    let torn = |bytes: &mut Vec<u8>| {
        bytes[4096..4184].fill(0);
        bytes[2048..2064].fill(0);
        bytes[5080..].fill(0);
    };
    dir.damage("00000001.seg", torn).unwrap();
    let (log, recovered) = Log::open(Arc::new(dir), options).unwrap();
    assert_eq!(log.last(), None);
    assert!(recovered.torn.is_some());
}

#[test]
fn a_reset_log_goes_on_behind_the_snapshot() {
    on_both(|dir| {
        let (mut log, _) = Log::open(Arc::clone(&dir), tiny()).unwrap();
        append_and_wait(
            &mut log,
            vec![batch_frame(1, 2, 300), batch_frame(2, 2, 300)],
        );
        let mut last = log.last().unwrap();
        last.index = LogIndex(900);
        last.next_offset = Offset(7_000);
        log.reset(last).unwrap();
        assert_eq!((log.last(), log.first_index()), (Some(last), LogIndex(901)));
        drop(log);
        let (mut log, _) = Log::open(dir, tiny()).unwrap();
        assert_eq!((log.last(), log.first_index()), (Some(last), LogIndex(901)));
        append_and_wait(&mut log, vec![batch_frame(901, 2, 300)]);
        assert_eq!(log.reader().log_start_offset(), Offset(7_000));
        assert_eq!(offsets(&log, 7_000, 7_002, 100), [(7_000, 7_002)]);
    });
}

#[test]
fn a_time_finds_the_first_batch_that_reaches_it() {
    on_both(|dir| {
        let (mut log, _) = Log::open(dir, tiny()).unwrap();
        for (index, time) in [(1, 100), (2, 300), (3, 200), (4, 400)] {
            let frame = local(1, index, FrameKind::Batch, batch(10, 3_000, time));
            append_and_wait(&mut log, vec![frame]);
        }
        let find = |time, end| {
            log.reader()
                .offset_for_time(Timestamp(time), Offset::ZERO, Offset(end))
                .unwrap()
        };
        assert_eq!(find(0, 40), Some(Offset(0)));
        assert_eq!(find(100, 40), Some(Offset(0)));
        assert_eq!(find(101, 40), Some(Offset(10)));
        assert_eq!(find(250, 40), Some(Offset(10)));
        assert_eq!(find(301, 40), Some(Offset(30)));
        assert_eq!(find(301, 30), None);
        assert_eq!(find(401, 40), None);
    });
}

#[test]
fn the_files_of_another_replica_are_refused() {
    let dir = MemDir::new();
    let mut log = open(&dir);
    log.append([batch_frame(1, 1, 10)], ignore()).unwrap();
    let mut options = tiny();
    options.owner.replica = ReplicaId(43);
    let refused = Log::open(Arc::new(dir), options);
    assert!(matches!(refused, Err(OpenError::Foreign { .. })));
}
