//! What is not in memory is known before anybody touches it.

use super::*;

#[test]
fn what_was_not_read_lately_is_to_be_made_resident_first() {
    let jobs: Arc<Mutex<Vec<crate::log::dir::Job>>> = Arc::default();
    let queue = Arc::clone(&jobs);
    let dir = MemDir::with_schedule(Arc::new(move |job| queue.lock().unwrap().push(job)));
    let run_all = || {
        std::mem::take(&mut *jobs.lock().unwrap())
            .into_iter()
            .for_each(|job| job())
    };
    let mut log = open(&dir);
    for index in 1..=40 {
        log.append([batch_frame(index, 1, 600)], ignore()).unwrap();
        run_all();
    }
    let newest = log.next_offset();
    assert!(
        log.reader().cold(Offset(0), 1 << 20).is_none(),
        "just written"
    );
    drop(log);
    let log = open(&dir);
    run_all();
    let reader = log.reader();
    let last = Offset(newest.0 - 1);
    assert!(
        reader.cold(last, 1 << 20).is_none(),
        "the file that is written to"
    );
    assert!(reader.cold_frames(LogIndex(1), 1 << 20).is_some());
    reader.cold(Offset(0), 1).unwrap().read().unwrap();
    assert!(reader.cold(Offset(0), 1).is_none());
    assert_eq!(offsets(&log, 0, newest.0, 1), [(0, 1)]);
}

#[test]
fn resident_data_is_what_was_written() {
    on_both(|dir| {
        let mut log = Log::open(Arc::clone(&dir), tiny()).unwrap().0;
        for index in 1..=40 {
            append_and_wait(&mut log, vec![batch_frame(index, 1, 600)]);
        }
        drop(log);
        let log = Log::open(dir, tiny()).unwrap().0;
        let cold = log.reader().cold(Offset(3), usize::MAX).unwrap();
        cold.read().unwrap();
        assert_eq!(offsets(&log, 3, 5, 1 << 20), [(3, 4), (4, 5)]);
    });
}

#[test]
fn of_the_file_that_is_written_to_only_what_is_new_or_was_just_read_is_known_to_be_in_memory() {
    let dir = MemDir::new();
    let mut log = open(&dir);
    let reader = log.reader();
    let is_cold = |from: u64| reader.cold(Offset(from), 1 << 20).is_some();
    for index in 1..=4 {
        append_and_wait(&mut log, vec![batch_frame(index, 1, 600)]);
    }
    assert_eq!(reader.segments().len(), 1);
    assert!(!is_cold(0), "just written");
    long_after(&reader);
    assert!(is_cold(0) && is_cold(3));
    assert!(!is_cold(4), "nothing is there yet");
    append_and_wait(&mut log, vec![batch_frame(5, 1, 600)]);
    assert!(is_cold(3) && !is_cold(4));
    let cold = reader.cold_frames(LogIndex(1), 1).unwrap();
    cold.read().unwrap();
    assert!(!is_cold(0));
    // It is full now, and what is in it is as old as before.
    long_after(&reader);
    for index in 6..=10 {
        append_and_wait(&mut log, vec![batch_frame(index, 1, 600)]);
    }
    assert_eq!(reader.segments().len(), 2);
    assert!(is_cold(0) && !is_cold(9));
}

#[test]
fn a_read_of_many_small_files_is_made_resident_at_once_and_is_served_from_memory_then() {
    let dir = MemDir::new();
    let mut log = open(&dir);
    log.limits().set(16 << 10, Some(1));
    for index in 1..=30 {
        append_and_wait(&mut log, vec![batch_frame(index, 1, 600)]);
    }
    drop(log);
    let log = open(&dir);
    let reader = log.reader();
    assert_eq!(reader.segments().len(), 30);
    long_after(&reader);
    let cold = |bytes: usize| {
        reader
            .cold(Offset(3), bytes)
            .map_or(0, |cold| cold.wanted.len())
    };
    assert_eq!(
        cold(1 << 20),
        27,
        "the file of the first, and all later ones"
    );
    let all = reader.cold(Offset(3), 1 << 20).unwrap();
    all.read().unwrap();
    assert_eq!(cold(1 << 20), 0);
    let operations = dir.operations();
    assert_eq!(offsets(&log, 3, 30, 1 << 20).len(), 27);
    let frames = reader.frames(LogIndex(4), LogIndex(31), 1 << 20);
    assert_eq!(frames.unwrap().len(), 27);
    assert_eq!(dir.operations(), operations, "no index file was opened");
}

#[test]
fn what_another_read_has_made_resident_meanwhile_is_not_read_again() {
    let dir = MemDir::new();
    let mut log = open(&dir);
    append_and_wait(&mut log, vec![batch_frame(1, 1, 600)]);
    let reader = log.reader();
    long_after(&reader);
    let cold = || reader.cold(Offset(0), 1).unwrap();
    let (first, second) = (cold(), cold());
    first.read().unwrap();
    dir.make_unreadable("00000001.seg", 0..8192).unwrap();
    second.read().unwrap();
    long_after(&reader);
    assert!(cold().read().is_err());
}

#[test]
fn what_was_just_written_is_in_memory_although_what_the_index_names_before_it_is_old() {
    let dir = MemDir::new();
    let mut log = open(&dir);
    let reader = log.reader();
    let mut rare = |index: u64| {
        long_after(&reader);
        append_and_wait(&mut log, vec![batch_frame(index, 1, 10)]);
        let (written, offset) = (LogIndex(index), Offset(index - 1));
        assert!(reader.cold_frames(written, 1 << 20).is_none(), "{index}");
        assert!(reader.cold(offset, 1 << 20).is_none(), "{index}");
        // Nothing else is looked at, and it is the right frame.
        dir.refuse_reads(true);
        let frames = reader.frames(written, written.next(), 1 << 20).unwrap();
        assert_eq!(frames[0].head.index, written);
        assert_eq!(reader.head(written).unwrap().unwrap(), frames[0].head);
        let read = reader.read_committed(offset, offset.plus(1), 1).unwrap();
        assert_eq!(read[0].base_offset, offset);
        let time = Timestamp(1_000 + index as i64);
        let found = reader.offset_for_time(time, offset, offset.plus(1));
        assert_eq!(found.unwrap(), Some(offset));
        dir.refuse_reads(false);
        if index > 1 {
            let before = Offset(index - 2);
            assert!(reader.cold_frames(LogIndex(index - 1), 1).is_some());
            assert!(reader.cold(before, 1).is_some(), "{index}");
        }
    };
    (1..=8).for_each(&mut rare);
    assert_eq!(offsets(&log, 0, 8, 1 << 20).len(), 8);
}

const MIB: u32 = 1 << 20;

/// A log of files so large that a frame has megabytes.
fn large(dir: &MemDir) -> Log {
    let mut options = tiny();
    options.first_segment_bytes = 4 << 20;
    options.max_segment_bytes = 4 << 20;
    options.max_unsynced_bytes = 8 << 20;
    Log::open(Arc::new(dir.clone()), options).unwrap().0
}

/// Notes of the first files, and of no other, that they were read up to this byte.
fn just_read(reader: &LogReader, ends: &[u32]) {
    long_after(reader);
    let view = reader.view.load();
    for (part, end) in view.sealed.iter().chain(&view.active).zip(ends) {
        part.segment.warmth.mark(&(0..*end));
    }
}

#[test]
fn a_batch_is_in_memory_only_with_its_last_byte_however_little_is_asked_for() {
    let mut log = large(&MemDir::new());
    append_and_wait(&mut log, vec![batch_frame(1, 1, 2_500_000)]);
    append_and_wait(&mut log, vec![batch_frame(2, 1, 10)]);
    let reader = log.reader();
    let is_cold = |from: u64| {
        let frames = reader.cold_frames(LogIndex(from + 1), 1).is_some();
        assert_eq!(reader.cold(Offset(from), 1).is_some(), frames);
        frames
    };
    for read in [MIB, 2 * MIB] {
        just_read(&reader, &[read]);
        assert!(is_cold(0), "{read}");
    }
    just_read(&reader, &[3 * MIB]);
    assert!(!is_cold(0) && !is_cold(1));
    just_read(&reader, &[MIB]);
    reader.cold(Offset(0), 1).unwrap().read().unwrap();
    assert!(!is_cold(0));
}

#[test]
fn a_large_batch_behind_those_that_are_asked_for_is_looked_for_in_the_next_file_too() {
    let dir = MemDir::new();
    let mut log = large(&dir);
    append_and_wait(&mut log, vec![batch_frame(1, 1, 3_000_000)]);
    append_and_wait(&mut log, vec![batch_frame(2, 1, 10)]);
    append_and_wait(&mut log, vec![batch_frame(3, 1, 2_500_000)]);
    append_and_wait(&mut log, vec![batch_frame(4, 1, 3_000_000)]);
    drop(log);
    let reader = large(&dir).reader();
    assert_eq!(reader.segments().len(), 3);
    let is_cold = || reader.cold(Offset(1), 200_000).is_some();
    just_read(&reader, &[4 * MIB]);
    // The index of the first file is in memory, and that of the next one is not.
    reader.cold(Offset(1), 1).unwrap().read().unwrap();
    for (read, cold) in [(MIB, true), (2 * MIB, true), (3 * MIB, false)] {
        just_read(&reader, &[4 * MIB, read]);
        let view = reader.view.load();
        view.sealed[0].segment.warmth.mark_index();
        assert_eq!(is_cold(), cold, "{read}");
    }
}

#[test]
fn a_read_does_not_look_at_a_batch_for_which_it_has_no_room() {
    let dir = MemDir::new();
    let mut log = large(&dir);
    for index in 1..=2 {
        append_and_wait(&mut log, vec![batch_frame(index, 1, 1_200_000)]);
    }
    let reader = log.reader();
    just_read(&reader, &[2 * MIB]);
    dir.refuse_reads(true);
    assert!(reader.cold(Offset(0), 1).is_none());
    for bytes in [1, 1_200_000] {
        assert_eq!(offsets(&log, 0, 2, bytes), [(0, 1)]);
        let frames = reader.frames(LogIndex(1), LogIndex(3), bytes);
        assert_eq!(frames.unwrap().len(), 1);
    }
    assert!(reader.cold(Offset(0), 1_300_000).is_some());
}
