//! A disk that fails at any operation, or is full.

use super::*;
use crate::log::LogError;

#[test]
fn any_operation_may_fail_and_nothing_acknowledged_is_lost() {
    for n in 0.. {
        let dir = MemDir::new();
        let calls = Calls::default();
        let mut log = open(&dir);
        dir.fail_operation(n);
        let before = dir.operations();
        let finished = work(&mut log, &calls);
        let failed = dir.operations() - before > n;
        drop(log);
        let acked = calls
            .seen()
            .iter()
            .filter(|(_, ok)| *ok)
            .map(|(index, _)| *index)
            .max();
        let seen: Vec<u64> = calls.seen().iter().map(|(index, _)| *index).collect();
        assert!(
            seen.is_sorted(),
            "operation {n}: callbacks out of order: {seen:?}"
        );
        for seed in 0..8 {
            dir.fail_from_operation(None);
            dir.power_cut(seed);
            let log = open(&dir);
            let last = log.last().map_or(0, |last| last.index.0);
            assert!(
                last >= acked.unwrap_or(0),
                "operation {n}: {acked:?} lost, log ends at {last}"
            );
        }
        if !failed {
            assert!(finished.is_ok());
            return;
        }
    }
}

/// Appends over several files, cuts, purges, appends.
fn work(log: &mut Log, calls: &Calls) -> Result<(), LogError> {
    for index in 1..=30 {
        log.append([batch_frame(index, 1, 600)], calls.expect(index))?;
    }
    log.truncate_after(Some(LogIndex(30)))?;
    log.purge(LogIndex(12))?;
    for index in 31..=40 {
        log.append([batch_frame(index, 1, 600)], calls.expect(index))?;
    }
    Ok(())
}

#[test]
fn every_error_of_the_disk_while_opening_is_an_error_and_the_next_try_succeeds() {
    let build = || {
        let dir = MemDir::new();
        let mut log = open(&dir);
        for index in 1..=40 {
            append_and_wait(&mut log, vec![batch_frame(index, 1, 600)]);
        }
        drop(log);
        let name = dir
            .list()
            .unwrap()
            .into_iter()
            .rfind(|name| name.ends_with(".seg"))
            .unwrap();
        dir.damage(&name, |bytes| bytes[4096 + 600 * 4..].fill(7))
            .unwrap();
        dir
    };
    for n in 0.. {
        let dir = build();
        let before = dir.operations();
        dir.fail_operation(n);
        let opened = Log::open(Arc::new(dir.clone()), tiny());
        if dir.operations() - before <= n {
            assert!(opened.is_ok());
            return;
        }
        drop(opened);
        dir.power_cut(n);
        let first = last_index(&dir);
        assert!(first >= 30 && first == last_index(&dir), "operation {n}");
    }
}

#[test]
fn a_full_disk_refuses_the_append_and_the_log_goes_on_later() {
    let dir = MemDir::new();
    let mut log = open(&dir);
    append_and_wait(&mut log, vec![batch_frame(1, 1, 600)]);
    dir.set_capacity(8 << 10);
    let mut index = 2;
    let refused = loop {
        match log.append(
            [batch_frame(index, 1, 600), batch_frame(index + 1, 1, 600)],
            ignore(),
        ) {
            Ok(()) => index += 2,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, LogError::Full { .. }), "{refused}");
    assert_eq!(log.last().unwrap().index, LogIndex(index - 1));
    dir.set_capacity(u64::MAX);
    append_and_wait(&mut log, vec![batch_frame(index, 1, 600)]);
    drop(log);
    assert_eq!(last_index(&dir), index);
}

#[test]
fn a_log_with_a_torn_tail_opens_on_a_full_disk_in_place_of_a_file_that_was_never_used() {
    let (dir, big) = (MemDir::new(), 1 << 20);
    let options = || LogOptions {
        first_segment_bytes: big,
        ..tiny()
    };
    let open = || Log::open(Arc::new(dir.clone()), options()).unwrap().0;
    let mut log = open();
    append_and_wait(&mut log, vec![batch_frame(1, 1, 600)]);
    append_and_wait(&mut log, vec![batch_frame(2, 1, 600)]);
    drop(log);
    dir.create("00000002.seg", big).unwrap();
    dir.sync_dir().unwrap();
    dir.damage("00000001.seg", |bytes| {
        let end = 4096 + 2 * 768;
        let torn = bytes[..end].iter().rposition(|byte| *byte != 0).unwrap();
        bytes[torn] ^= 1;
        bytes[2048..2064].fill(0);
    })
    .unwrap();
    dir.set_capacity(2 * big);
    let mut log = open();
    assert_eq!(log.last().unwrap().index, LogIndex(1));
    let names = ["00000001.idx", "00000001.seg", "00000003.seg"];
    assert_eq!(dir.list().unwrap(), names);
    assert_eq!(dir.open("00000003.seg").unwrap().len(), 128 << 10);
    append_and_wait(&mut log, vec![batch_frame(2, 1, 600)]);
    drop(log);
    assert_eq!(open().last().unwrap().index, LogIndex(2));
}

#[test]
fn a_file_grows_older_than_it_should_rather_than_fail_on_a_full_disk() {
    let dir = MemDir::new();
    let options = LogOptions {
        segment_ms: Some(1),
        first_segment_bytes: 64 << 10,
        ..tiny()
    };
    let mut log = Log::open(Arc::new(dir.clone()), options).unwrap().0;
    append_and_wait(&mut log, vec![batch_frame(1, 1, 600)]);
    dir.set_capacity(0);
    append_and_wait(&mut log, vec![batch_frame(2, 1, 600)]);
    assert_eq!(dir.list().unwrap(), ["00000001.seg"]);
    dir.set_capacity(u64::MAX);
    append_and_wait(&mut log, vec![batch_frame(3, 1, 600)]);
    assert_eq!(dir.list().unwrap().len(), 3, "with an index of the first");
}
